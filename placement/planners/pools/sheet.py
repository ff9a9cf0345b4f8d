"""A linear programme as it is written down: rows, columns and entries, for the solvers to read as arrays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from placement.planners.pools.view import Floats, Ints

INFINITY = float("inf")


class Sheet:
    """Rows ``low <= a x <= high`` and columns ``low <= x <= high`` with their worth; all columns are whole numbers."""

    def __init__(self) -> None:
        self.row_low, self.row_high = list[float](), list[float]()
        self.worth, self.low, self.high = list[float](), list[float](), list[float]()
        self._rows, self._columns, self._entries = list[int](), list[int](), list[float]()
        self._bulk: list[tuple[Ints, Ints, Floats]] = []

    @property
    def n_rows(self) -> int:
        return len(self.row_high)

    @property
    def n_columns(self) -> int:
        return len(self.worth)

    def row(self, high: float, low: float = -INFINITY) -> int:
        """Add a row and return its number."""
        self.row_low.append(low)
        self.row_high.append(high)
        return len(self.row_high) - 1

    def rows(self, highs: Iterable[float]) -> int:
        """Add rows without a lower bound; return the first one's number."""
        first = len(self.row_high)
        self.row_high.extend(highs)
        self.row_low.extend([-INFINITY] * (len(self.row_high) - first))
        return first

    def column(self, worth: float, high: float, entries: Iterable[tuple[int, float]]) -> int:
        """Add a column from 0 to ``high`` with its entries, and return its number."""
        number = len(self.worth)
        self.worth.append(worth)
        self.low.append(0.0)
        self.high.append(high)
        for row, coefficient in entries:
            self._rows.append(row)
            self._columns.append(number)
            self._entries.append(coefficient)
        return number

    def choices(self, worth: Floats, rows: Ints, columns: Ints, entries: Floats) -> None:
        """Add columns from 0 to 1 all at once; ``columns`` count from the first of them."""
        first = len(self.worth)
        self.worth.extend(worth.tolist())
        self.low.extend([0.0] * len(worth))
        self.high.extend([1.0] * len(worth))
        self._bulk.append((rows, columns + first, entries))

    def enter(self, row: int, column: int, coefficient: float) -> None:
        self._rows.append(row)
        self._columns.append(column)
        self._entries.append(coefficient)

    def triplets(self) -> tuple[Ints, Ints, Floats]:
        """Return rows, columns and coefficients of all entries."""
        parts = [
            *self._bulk,
            (np.array(self._rows, np.int64), np.array(self._columns, np.int64), np.array(self._entries, float)),
        ]
        return (
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )
