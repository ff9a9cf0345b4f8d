"""The one place where AIOS is brought up and taken down: on a Ray cluster of its own, or on one that is there.

Ray reads its authentication from the environment when it is first imported, once per process. So what must be done on
a Ray cluster is done by a child with the right environment (``aios.driver``), and this process never loads Ray.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from aios import errors
from aios.adapters import embedded
from aios.adapters.embedded import EmbeddedShape
from aios.adapters.fence import write_atomically
from aios.adapters.processes import descendants, listeners
from aios.config import API_HOST, Settings
from aios.errors import AiosError

DRIVER_S = 150.0

Echo = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A running AIOS, as ``<home>/cluster.json`` tells clients."""

    address: str
    api_url: str
    ray_version: str
    python_version: str
    embedded: bool
    dashboard_url: str = ""
    pids: tuple[int, ...] = ()
    storage: str = ""

    @classmethod
    def read(cls, settings: Settings) -> ClusterInfo | None:
        try:
            raw = json.loads(settings.cluster_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**{**raw, "pids": tuple(raw["pids"])})


def up(
    settings: Settings,
    address: str | None = None,
    *,
    workers: EmbeddedShape | None = None,
    insecure: bool = False,
    echo: Echo = print,
) -> ClusterInfo:
    """Start AIOS, on a Ray cluster of this machine's own or on the one at ``address``; running already, say so.

    Raises
    ------
    VersionMismatch
        The cluster at ``address`` has another Ray or Python version.
    Unauthorized
        It wants a token that we do not have, or wants none at all and ``insecure`` was not given.
    NoControlPlane
        Nothing answers there.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    running = ClusterInfo.read(settings)
    if running is not None and address in (None, running.address) and _runs(settings, running):
        echo(f"AIOS is running already: {running.api_url} on the Ray cluster at {running.address}")
        return running
    embedded.make_private(settings.home)
    settings.storage.mkdir(parents=True, exist_ok=True)
    keeper = None if address is not None else _keeper(settings, workers or EmbeddedShape.demo(), echo)
    where = address if keeper is None else keeper.address
    order = {
        "do": "start",
        "address": where,
        "port": _port(settings),
        "own": keeper is not None,
        "insecure": insecure,
        "environment": _environment(settings),
    }
    found = _drive(settings, order, own=keeper is not None)
    info = ClusterInfo(
        embedded=keeper is not None,
        pids=() if keeper is None else (keeper.pid,),
        storage=str(settings.storage),
        **found,
    )
    write_atomically(settings.cluster_file, json.dumps(asdict(info)))
    echo(f"AIOS is up: {info.api_url} on the Ray {info.ray_version} cluster at {info.address}")
    pids = set() if keeper is None else {keeper.pid, *descendants(keeper.pid)}
    for line in what_listens(settings, info, pids):
        echo(line)
    return info


def down(settings: Settings, echo: Echo = print) -> None:
    """Stop AIOS with all its attempts, and the Ray cluster where it is our own; nothing of ours is left."""
    info = ClusterInfo.read(settings)
    if info is not None and not info.embedded:
        _drive(settings, {"do": "end", "address": info.address}, own=False)
        echo(f"stopped AIOS; the Ray cluster at {info.address} goes on")
    elif embedded.stop(settings.home):
        echo("stopped AIOS and its Ray cluster")
    else:
        echo("AIOS was not running")
    settings.cluster_file.unlink(missing_ok=True)


def answers(url: str) -> bool:
    """Return whether a control plane answers there."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def what_listens(settings: Settings, info: ClusterInfo, pids: Iterable[int]) -> list[str]:
    """Return what can be reached from where, a line each: our API, Ray's dashboard, and the rest of these processes."""
    found = listeners(pids)
    named = {urlsplit(info.api_url).port, urlsplit(info.dashboard_url).port}
    here = sorted({one.port for one in found if one.loopback} - named)
    everywhere = sorted({one.port for one in found if not one.loopback} - named)
    lines = [f"listens on {_place(info.api_url)}: the AIOS API, which wants the token in {settings.api_token_file}"]
    if info.dashboard_url:
        lines.append(f"listens on {_place(info.dashboard_url)}: Ray's dashboard and Jobs API, which want Ray's token")
    if here:
        lines.append(f"listens on 127.0.0.1: agents of Ray, on {_ports(here)}")
    if everywhere:
        lines.append(
            f"listens on ALL interfaces, for Ray cannot keep them on loopback: its GCS, raylets and workers want "
            f"the token in {settings.ray_token_file}, on {_ports(everywhere)}"
        )
    return lines


def _place(url: str) -> str:
    return urlsplit(url).netloc or url


def _ports(ports: Sequence[int]) -> str:
    return f"{len(ports)} ports ({', '.join(map(str, ports))})" if len(ports) > 1 else f"port {ports[0]}"


def _runs(settings: Settings, info: ClusterInfo) -> bool:
    if info.embedded:  # a control plane may answer for some seconds after its cluster has gone
        keeper = embedded.Keeper.read(settings.home)
        if keeper is None or not keeper.alive:
            return False
    return answers(info.api_url)


def _keeper(settings: Settings, shape: EmbeddedShape, echo: Echo) -> embedded.Keeper:
    keeper = embedded.Keeper.read(settings.home)
    if keeper is not None and keeper.alive:
        return keeper
    echo(f"starting a Ray cluster of a head and {len(shape.nodes)} nodes on this machine")
    return embedded.start(settings, shape)


def _drive(settings: Settings, order: Mapping[str, Any], own: bool) -> dict[str, Any]:
    """Have a child do it on the Ray cluster; returns its answer, raises its error."""
    environment = embedded.own_environment(settings) if own else dict(os.environ)
    environment.pop("RAY_ADDRESS", None)
    backups = {"at": str(settings.backups), "every_s": settings.backup_every_s, "keep": settings.backup_keep}
    places = {"home": str(settings.home), "storage": str(settings.storage), "store_url": settings.store_url}
    asked = {**places, "backups": backups, **order}
    with open(settings.home / "logs" / "driver.log", "ab") as log:
        child = subprocess.run(
            [sys.executable, "-m", "aios.driver"],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            timeout=DRIVER_S,
            check=False,
        )
    lines = child.stdout.decode(errors="replace").strip().splitlines()
    answer = json.loads(lines[-1]) if child.returncode == 0 and lines else {"error": "error", "message": "it crashed"}
    if "error" in answer:
        hint = answer.get("hint") or f"see {log.name}"
        raise _error_class(answer["error"])(answer["message"], hint=hint)
    return dict(answer)


def _error_class(code: str) -> type[AiosError]:
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, AiosError) and thing.code == code:
            return thing
    return AiosError


def _environment(settings: Settings) -> dict[str, str]:
    """Return what the control plane passes on to the supervisors it starts."""
    extra = os.environ.get("AIOS_EXTRA_ENGINES")
    ours = {"AIOS_HOME": str(settings.home), "AIOS_STORAGE": str(settings.storage)}
    return ours if extra is None else {**ours, "AIOS_EXTRA_ENGINES": extra}


def _port(settings: Settings) -> int:
    """Return the port of the API: the one that was set, or a free one where it is taken."""
    for port in (settings.api_port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((API_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AiosError(f"no free port on {API_HOST}", hint="end something that listens")
