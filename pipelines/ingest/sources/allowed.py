"""What an ingest may read: folders and buckets, and hosts of the internet. Set by the operator, on the nodes.

``AIOS_DATA_ROOTS``
    Folders and bucket prefixes, ``:`` (``;`` on Windows) between two; unset: all that the node's user can read. The
    state folder of AIOS itself, with its tokens, is never to be read; its storage is.
``AIOS_DATA_HOSTS``
    Hosts for ``http`` and ``https``, commas between: ``example.org``, ``*.example.org``, ``10.0.0.7:8000``. Unset:
    every host with a public address. Private, loopback and link-local addresses are read only where they are listed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from aios.config import Settings
from pipelines.ingest.sources.errors import BadSource, listed

ROOTS = "AIOS_DATA_ROOTS"
HOSTS = "AIOS_DATA_HOSTS"
BETWEEN = re.compile(rf"{os.pathsep}(?!//)")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The operator's rules; None: no rule."""

    roots: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    home: Path | None = None
    storage: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Allowed:
        env = os.environ if env is None else env
        settings = Settings.from_env(env)
        roots, hosts = env.get(ROOTS), env.get(HOSTS)
        return cls(
            tuple(filter(None, BETWEEN.split(roots))) if roots is not None else None,
            tuple(h.strip().lower() for h in hosts.split(",") if h.strip()) if hosts is not None else None,
            settings.home,
            settings.storage,
        )

    def path(self, path: str | Path) -> Path:
        """Return a local path with its links resolved; raises BadSource where it leads out of what is allowed."""
        real = Path(path).expanduser().resolve()
        roots = self._local_roots()
        inside_state = self.home is not None and real.is_relative_to(_real(self.home))
        in_storage = self.storage is not None and real.is_relative_to(_real(self.storage))
        if inside_state and not in_storage and not (roots and any(real.is_relative_to(root) for root in roots)):
            raise BadSource(
                f"{path}: lies in the state folder of AIOS, which is not to be read: put the data elsewhere"
            )
        if roots is not None and not any(real.is_relative_to(root) for root in roots):
            leads = f" (leads to {real})" if str(real) != str(path) else ""
            raise BadSource(
                f"{path}{leads}: outside of what may be read: {listed(self.roots or ['nothing'])}; "
                f"put the data there, or ask the operator to add its folder to {ROOTS}"
            )
        return real

    def bucket(self, address: str) -> None:
        """Raise BadSource where an object store's address is outside of what is allowed."""
        if self.roots is None:
            return
        wanted = address.rstrip("/") + "/"
        if "/../" in wanted or not any(wanted.startswith(root.rstrip("/") + "/") for root in self.roots):
            raise BadSource(
                f"{address}: outside of what may be read: {listed(self.roots)}; ask the operator to add it to {ROOTS}"
            )

    def host(self, host: str, port: int) -> str:
        """Return the address to connect to; raises BadSource where the host, or what its name means, is forbidden."""
        known = self._named(host.lower(), port)
        if self.hosts is not None and not known:
            raise BadSource(
                f"host {host}:{port} is none of those that may be read from ({listed(self.hosts) or 'none'}): "
                f"ask the operator to add it to {HOSTS}"
            )
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise BadSource(f"host {host}: its name means no address ({error}): check the spelling") from None
        addresses = [str(entry[4][0]) for entry in found]
        if not known:
            inner = [a for a in addresses if not ipaddress.ip_address(a.partition("%")[0]).is_global]
            if inner:
                raise BadSource(
                    f"host {host} has the address {inner[0]}, which is not public: ask the operator to add "
                    f"{host}:{port} to {HOSTS} if it is meant to be read"
                )
        return addresses[0]

    def _named(self, host: str, port: int) -> bool:
        return any(fnmatch(host, rule) or fnmatch(f"{host}:{port}", rule) for rule in self.hosts or ())

    def _local_roots(self) -> list[Path] | None:
        if self.roots is None:
            return None
        return [_real(Path(root)) for root in self.roots if "://" not in root]


@cache
def _real(path: Path) -> Path:
    return path.expanduser().resolve()
