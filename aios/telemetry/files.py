"""A file of lines that only its owner reads, and that is rotated by size."""

from __future__ import annotations

import io
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import cast

MAX_BYTES = 16 * 2**20
N_KEPT = 3


class PrivateRotatingFile(RotatingFileHandler):
    """Log records as lines in ``path`` (0600); the ``n_kept`` full files before it are ``path.1``, ``path.2``, ..."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, n_kept: int = N_KEPT) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(path, maxBytes=max_bytes, backupCount=n_kept, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> io.TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_CLOEXEC, 0o600)

        # The handler closes it; text mode always gives a TextIOWrapper.
        opened = open(  # noqa: SIM115
            self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=private
        )
        return cast(io.TextIOWrapper, opened)
