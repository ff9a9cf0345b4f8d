"""A Ray cluster of several nodes on this machine: its shape, and starting and stopping the process that keeps it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import aios
from aios.adapters.fence import write_atomically
from aios.adapters.processes import signal_all, started_at, wait_gone
from aios.config import Settings
from aios.errors import AiosError, InvalidSpec
from aios.spec import Amounts, Memory, Name
from placement.model import ACCELERATOR_KEY, parse_amount

START_S = 180.0
"""How long the cluster may take to start; a busy machine needs several attempts per node."""
STOP_S = 20.0
_TEMPORARY = "/tmp"  # Ray's sockets need short paths: 107 bytes in all


class NodeShape(BaseModel):
    """One node: what it has (logically), and its labels. Field names are Ray's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    num_cpus: Annotated[int, Field(ge=0, le=1024)] = 2
    num_gpus: Annotated[int, Field(ge=0, le=64)] = 0
    memory: Memory = "4GiB"
    resources: Amounts = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


class EmbeddedShape(BaseModel):
    """The nodes of an embedded cluster, beside a head that holds no work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: tuple[NodeShape, ...] = Field(min_length=1)

    @classmethod
    def demo(cls) -> EmbeddedShape:
        """Return three nodes with accelerators of two types in two zones."""
        return cls(nodes=(_demo("a-1", "H100", "z1"), _demo("a-2", "H100", "z2"), _demo("b-1", "A100", "z1")))

    @classmethod
    def from_file(cls, path: Path) -> EmbeddedShape:
        """Read a shape from YAML; raises InvalidSpec."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise InvalidSpec(
                f"{path}: {error}", hint="give nodes: a list with name, num_cpus, num_gpus, labels"
            ) from None


def _demo(name: str, accelerator: str, zone: str) -> NodeShape:
    return NodeShape(name=name, num_cpus=2, num_gpus=1, labels={ACCELERATOR_KEY: accelerator, "zone": zone})


@dataclass(frozen=True, slots=True)
class Keeper:
    """A running embedded cluster, as its keeper left it in ``<home>/keeper.json``."""

    pid: int
    started: int
    tmp: str
    address: str = ""
    dashboard_url: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return started_at(self.pid) == self.started

    @classmethod
    def read(cls, home: Path) -> Keeper | None:
        try:
            return cls(**json.loads(_keeper_file(home).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def write(self, home: Path) -> None:
        write_atomically(_keeper_file(home), json.dumps(asdict(self)))


def make_private(home: Path) -> None:
    """Make the home directory and both tokens, readable by their owner alone."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "logs").mkdir(exist_ok=True, mode=0o700)
    for name in ("ray_token", "api_token"):
        path = home / name
        if not path.exists():
            write_atomically(path, secrets.token_hex(32))
        path.chmod(0o600)


def own_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of processes of ours that start or use the embedded cluster."""
    dropped = {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON", "RAY_NAMESPACE"}
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(settings.ray_token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "AIOS_HOME": str(settings.home),
        "AIOS_STORAGE": str(settings.storage),
        "PYTHONPATH": os.pathsep.join(filter(None, [_source(), os.environ.get("PYTHONPATH", "")])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def start(settings: Settings, shape: EmbeddedShape) -> Keeper:
    """Start the cluster in the background and wait until all its nodes are there."""
    stop(settings.home)
    tmp = tempfile.mkdtemp(prefix="aios-", dir=_TEMPORARY)
    kept = Path(tmp, "gcs")  # what the GCS knows outlives it
    kept.mkdir()
    gcs = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(kept)}
    environment = own_environment(settings) | {"RAY_TMPDIR": tmp} | gcs
    log_file = settings.home / "logs" / "cluster.log"
    command = [sys.executable, "-m", "aios.adapters.keeper", "--home", str(settings.home), "--tmp", tmp]
    with open(log_file, "ab") as log:
        process = subprocess.Popen(
            [*command, "--shape", shape.model_dump_json()],
            env=environment,
            cwd=settings.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline_s:
        keeper = Keeper.read(settings.home)
        if keeper is not None and keeper.pid == process.pid:
            return keeper
        time.sleep(0.05)
    process.terminate()
    process.wait()
    said = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise AiosError(
        f"the embedded cluster did not start: {said[-1] if said else 'it said nothing'}",
        hint=f"see {log_file}; try again",
    )


def stop(home: Path) -> bool:
    """Stop the cluster of this home, if any, and clear away what a killed one left; returns whether one ran."""
    keeper = Keeper.read(home)
    if keeper is None:
        return False
    ran = keeper.alive
    if ran:
        signal_all([keeper.pid], signal.SIGTERM)
        if not wait_gone(keeper.pid, keeper.started, STOP_S):
            signal_all([keeper.pid], signal.SIGKILL)
            wait_gone(keeper.pid, keeper.started, STOP_S)
    _clear(keeper.tmp)
    _keeper_file(home).unlink(missing_ok=True)
    return ran


def processes_of(tmp: str) -> set[int]:
    """Return the living processes of the cluster with this temporary directory: by environment or by open files."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return {pid for pid in pids if pid != os.getpid() and started_at(pid) and _belongs(Path("/proc", str(pid)), tmp)}


def _belongs(process: Path, tmp: str) -> bool:
    """Ray's processes write their titles over their environment, but all of them have their logs or sockets open."""
    try:
        if f"RAY_TMPDIR={tmp}".encode() in (process / "environ").read_bytes().split(b"\0"):
            return True
        return any(os.readlink(link.path).startswith(f"{tmp}/") for link in os.scandir(process / "fd"))
    except OSError:  # it has ended
        return False


def _clear(tmp: str) -> None:
    deadline_s = time.monotonic() + STOP_S
    while (left := processes_of(tmp)) and time.monotonic() < deadline_s:
        signal_all(left, signal.SIGKILL)
        time.sleep(0.05)
    if Path(tmp).name.startswith("aios-") and str(Path(tmp).parent) == _TEMPORARY:
        shutil.rmtree(tmp, ignore_errors=True)


def ray_arguments(node: NodeShape) -> dict[str, Any]:
    """Return a node's shape as Ray's start-up takes it."""
    return {
        "num_cpus": node.num_cpus,
        "num_gpus": node.num_gpus,
        "memory": parse_amount("memory", node.memory),
        "resources": {name: float(amount) for name, amount in node.resources.items()},
        "labels": node.labels,
    }


def _keeper_file(home: Path) -> Path:
    return home / "keeper.json"


def _source() -> str:
    return str(Path(aios.__file__).parent.parent)
