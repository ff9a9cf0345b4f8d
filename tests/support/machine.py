"""A control plane in a process of its own, with its home and cluster.

``python -m tests.support.machine URL HOME PORT NAME`` prints ``ready`` once it serves, and leaves by itself when
another one has taken over its log.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from aios.api.app import create_app
from aios.store.sql import SqlLog
from tests.support.building import node
from tests.support.plane import TOKEN, build


def main(url: str, home: Path, port: int, name: str) -> None:
    nodes = [node(f"{name}-{i}", cpu=4) for i in range(3)]
    plane, _ = build(home, nodes, SqlLog(url))
    ended = threading.Event()
    plane.start(create_app(plane, TOKEN), "127.0.0.1", port, on_end=ended.set)
    print("ready", flush=True)
    ended.wait()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
