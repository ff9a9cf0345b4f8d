"""Each table format against the one contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.data.delta_table import DeltaLake
from pipelines.data.lance_table import LanceTable
from pipelines.data.table import Table
from tests.support.table_suite import TableSuite


class TestLance(TableSuite):
    @pytest.fixture
    def table(self, tmp_path: Path) -> Table:
        return LanceTable(str(tmp_path / "table.lance"))


class TestDelta(TableSuite):
    @pytest.fixture
    def table(self, tmp_path: Path) -> Table:
        return DeltaLake(str(tmp_path / "table.delta"))
