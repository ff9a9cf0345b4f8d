"""One backup, made by a process of its own with little claim to the CPU: an order on stdin, an answer on stdout."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from aios.errors import AiosError
from aios.store.backups import backup_into


def main() -> None:
    order = json.load(sys.stdin)
    os.nice(10)
    try:
        made = backup_into(order["url"], Path(order["folder"]), order["keep"], datetime.now(UTC))
        answer = {"path": str(made.path), "seq": made.head.seq}
    except AiosError as error:
        answer = {"problem": f"{error.message}; {error.hint}" if error.hint else error.message}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
