"""Finds pickles among a model's files: reading one runs whatever code its author put into it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

ENDINGS = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle"})
_TORCH = frozenset({".pt", ".pth", ".bin", ".ckpt"})


def pickles(folder: Path) -> Iterator[str]:
    """Yield the paths of files that are pickles by their name or by their first bytes, torch's archives among them."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_pickle(path):
            yield path.relative_to(folder).as_posix()


def is_pickle(path: Path) -> bool:
    if path.suffix.lower() in ENDINGS:
        return True
    with path.open("rb") as file:
        head = file.read(2)
    if head[:1] == b"\x80" and head[1:2] and 2 <= head[1] <= 5:  # PROTO opcode of pickle protocols 2 to 5
        return True
    if head != b"PK" or not zipfile.is_zipfile(path):
        return path.suffix.lower() in _TORCH and head[:1] in (b"(", b"c")  # protocol 0
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())
