"""``python -m examples.demo [FOLDER]``: start an embedded cluster, tell the story, write ``FOLDER/report.json``."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

OUT = "build/demo"


def main(folder: str = OUT) -> int:
    out = Path(folder)
    home = out.absolute() / "home"
    os.environ["AIOS_HOME"] = str(home)
    for name in ("AIOS_ADDRESS", "AIOS_STORAGE", "AIOS_STORE_URL", "AIOS_TOKEN", "RAY_ADDRESS"):
        os.environ.pop(name, None)

    from aios import main as aios_main
    from aios.client import Client
    from aios.config import Settings
    from aios.errors import AiosError
    from examples.demo.report import text
    from examples.demo.screen import screen
    from examples.demo.story import Story, TookTooLong

    begun_s = time.monotonic()
    settings = Settings.from_env()
    if home.exists():
        aios_main.down(settings, echo=lambda line: None)
        shutil.rmtree(home)
    show = screen(begun_s)
    try:
        aios_main.up(settings, None, echo=show.say)
        with Client() as client:
            report = Story(client, show).tell()
    except (AiosError, TookTooLong) as error:
        show.close()
        hint = getattr(error, "hint", "")
        print(f"the demo did not come to its end: {error}{f' ({hint})' if hint else ''}", file=sys.stderr)
        print(f"look at {home}/logs", file=sys.stderr)
        return 1
    finally:
        show.close()
        aios_main.down(settings, echo=lambda line: None)
    report.seconds = time.monotonic() - begun_s
    report.write(out / "report.json")
    problems = report.find_problems()
    print("\n" + text(report) + "\n")
    for problem in problems:
        print(f"NOT AS IT SHOULD BE: {problem}", file=sys.stderr)
    if not problems:
        print(f"Everything ended as it should, each worker on the node that the plan gave it ({report.seconds:.0f} s).")
    print(f"The same as JSON: {out}/report.json. Events, logs and spans of this run: {out}/home")
    print("next: source .venv/bin/activate && aios up && aios run examples/demo/vision.yaml")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
