"""Whether the cluster of this head may get nodes that it does not have yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

KUBERAY = "RAY_USAGE_STATS_KUBERAY_IN_USE"
"""Set by KubeRay, whose autoscaler runs in a container of its own, where it cannot be seen from here."""


def may_grow(environment: Mapping[str, str] = os.environ, command_lines: Iterable[bytes] | None = None) -> bool:
    """Return whether an autoscaler is at work, as far as the head's own machine shows it.

    Parameters
    ----------
    environment : mapping
        Of this process, which the head's raylet started.
    command_lines : iterable of bytes, optional
        Of all processes here, arguments ended by NUL; those of ``/proc`` by default.
    """
    lines = _command_lines() if command_lines is None else command_lines
    return environment.get(KUBERAY) == "1" or any(b"\0--autoscaling-config=" in line for line in lines)


def _command_lines() -> Iterable[bytes]:
    for pid in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if pid.isdecimal():
            try:
                yield Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
