"""Where AIOS keeps its things and where it listens: settings from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    api_url : str or None
        Where clients find the control plane (``AIOS_ADDRESS``); None: as ``<home>/cluster.json`` says.
    """

    home: Path
    storage: Path
    store_url: str
    api_url: str | None = None
    api_port: int = API_PORT

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
        )

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
