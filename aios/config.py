"""Where AIOS keeps its things and where it listens: settings from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aios.errors import InvalidSpec

API_HOST = "127.0.0.1"
API_PORT = 8420
NAMESPACE = "aios"
"""The Ray namespace of everything AIOS starts."""
PLANE_NAME = "aios/control-plane"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one control plane and its clients.

    Attributes
    ----------
    home : Path
        State directory (``AIOS_HOME``, default ``~/.aios``): tokens, ``cluster.json``, the event log, logs.
    storage : Path
        Artefacts and attempts' folders (``AIOS_STORAGE``, default ``<home>/storage``); on a cluster of several
        machines a folder that all of them mount.
    store_url : str
        SQLAlchemy URL of the event log (``AIOS_STORE_URL``, default SQLite in ``<home>``).
    backups : Path
        Where backups of the event log are kept (``AIOS_BACKUPS``, default ``<home>/backups``); better on another disk.
    backup_every_s : float
        How often the control plane makes one (``AIOS_BACKUP_EVERY``: ``30m``, ``1h``; default ``1h``); 0: never.
    backup_keep : int
        How many of them stay (``AIOS_BACKUP_KEEP``, default 24).
    keep_ended_s : float
        How long the control plane holds in memory what ended (``AIOS_KEEP_ENDED``, default ``7d``).
    keep_ended_most : int
        How much of it at most (``AIOS_KEEP_ENDED_MOST``, default 10,000): the oldest goes first.
    keep_down_s : float
        How long it knows a node that is gone (``AIOS_KEEP_NODES``, default ``1d``).
    api_url : str or None
        Where clients find the control plane (``AIOS_ADDRESS``); None: as ``<home>/cluster.json`` says.
    """

    home: Path
    storage: Path
    store_url: str
    api_url: str | None = None
    api_port: int = API_PORT
    backups_at: Path | None = None
    backup_every_s: float = 3600.0
    backup_keep: int = 24
    keep_ended_s: float = 7 * 86_400.0
    keep_ended_most: int = 10_000
    keep_down_s: float = 86_400.0

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        env = os.environ if env is None else env
        home = Path(env.get("AIOS_HOME") or Path.home() / ".aios").expanduser().absolute()
        storage = Path(env.get("AIOS_STORAGE") or home / "storage").expanduser().absolute()
        return cls(
            home=home,
            storage=storage,
            store_url=env.get("AIOS_STORE_URL") or f"sqlite:///{home / 'aios.db'}",
            api_url=env.get("AIOS_ADDRESS") or None,
            api_port=int(env.get("AIOS_API_PORT") or API_PORT),
            backups_at=Path(env["AIOS_BACKUPS"]).expanduser().absolute() if env.get("AIOS_BACKUPS") else None,
            backup_every_s=_duration_s(env, "AIOS_BACKUP_EVERY", 3600.0),
            backup_keep=_count(env, "AIOS_BACKUP_KEEP", 24),
            keep_ended_s=_duration_s(env, "AIOS_KEEP_ENDED", 7 * 86_400.0),
            keep_ended_most=_count(env, "AIOS_KEEP_ENDED_MOST", 10_000),
            keep_down_s=_duration_s(env, "AIOS_KEEP_NODES", 86_400.0),
        )

    @property
    def backups(self) -> Path:
        return self.backups_at or self.home / "backups"

    @property
    def cluster_file(self) -> Path:
        """JSON that ``aios up`` leaves for clients: address, api_url, ray_version, python_version, pids."""
        return self.home / "cluster.json"

    @property
    def api_token_file(self) -> Path:
        return self.home / "api_token"

    @property
    def ray_token_file(self) -> Path:
        return self.home / "ray_token"


def _duration_s(env: Mapping[str, str], name: str, default_s: float) -> float:
    """Return a setting in seconds, such as ``30m``; raises InvalidSpec."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)(s|m|h|d)?", (env.get(name) or f"{default_s:g}").strip())
    if match is None:
        raise InvalidSpec(f"{name} is {env[name]!r}, which is no duration", hint=f"such as {name}=30m, 1h, 2d or 0")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2] or "s"]


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    """Return a setting that is a positive number; raises InvalidSpec."""
    text = (env.get(name) or str(default)).strip()
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise InvalidSpec(f"{name} is {env[name]!r}, which is no positive number", hint=f"such as {name}={default}")
    return int(text)
