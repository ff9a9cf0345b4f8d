"""The export tools of the command line: see ``aios.exports`` for what each promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aios.engines import WorkloadFailed
from aios.errors import Rejected
from aios.exports import Imported

TEST_S = 300.0


class Tools:
    def write(self, folder: Path, reference: str, to: Path, key: bytes) -> int:
        from pipelines.export.bundle import write_bundle

        try:
            return write_bundle(folder, reference, to, key)
        except WorkloadFailed as error:
            raise Rejected(error.message, hint="export a version that was made by configuration") from None

    def tested(self, folder: Path) -> str:
        command = [sys.executable, "-B", str(folder / "run.py"), "--self-test"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_S, check=False)
        if done.returncode:
            raise Rejected(
                f"what was exported does not answer as the original: {done.stderr.strip()[-500:]}",
                hint="nothing was written",
            )
        return done.stdout.strip()

    def take(self, file: Path, name: str, said: Mapping[str, Any], storage: Path, by: str) -> Imported:
        try:
            from pipelines.export.foreign import take
        except ModuleNotFoundError as error:
            raise Rejected(f"{error.name} is not installed here", hint="pip install 'aios[optimise]'") from None
        return take(file, name, said, storage, by)
