"""A private Ray cluster with a control plane on it, and the faults that can be done to it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

HOME = Path(tempfile.mkdtemp(prefix="chaos-", dir=os.environ.get("AIOS_CHAOS_DIR", "/tmp")))
SOURCE = Path(__file__).parents[2]
for _name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "PYTHONDONTWRITEBYTECODE"):  # installed packages have their bytecode
    os.environ.pop(_name, None)
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": str(HOME / "ray_token"),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TMPDIR": str(HOME / "r"),
    "RAY_gcs_storage": "rocksdb",
    "RAY_gcs_storage_path": str(HOME / "gcs"),
    "AIOS_EXTRA_ENGINES": "tests.chaos.engine:TickEngine",
    "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]),
}

import ray  # noqa: E402  # Ray reads its authentication when it is first imported
from ray.cluster_utils import Cluster  # noqa: E402

from aios.adapters import embedded  # noqa: E402
from aios.adapters.folder import live_folders  # noqa: E402
from aios.adapters.heartbeat import Living  # noqa: E402
from aios.adapters.keeper import HEALTH  # noqa: E402
from aios.adapters.processes import adopt_orphans, descendants, kill_descendants, reap, started_at  # noqa: E402
from aios.adapters.ray_nodes import NODE_NAME_LABEL  # noqa: E402
from aios.client import Client  # noqa: E402
from aios.config import Settings  # noqa: E402
from aios.control import actor  # noqa: E402
from aios.errors import AiosError  # noqa: E402
from aios.main import ClusterInfo, up  # noqa: E402
from tests.support.polling import eventually  # noqa: E402

CPUS = 4
TRIES = 3


class World:
    """Three nodes of four CPUs beside a head, all on this machine."""

    def __init__(self, n_nodes: int = 3) -> None:
        adopt_orphans()  # agents of a killed raylet would outlive this process
        (HOME / "r").mkdir()
        (HOME / "gcs").mkdir()
        self.settings = Settings.from_env({"AIOS_HOME": str(HOME / "a"), "AIOS_API_PORT": "0"})
        embedded.make_private(self.settings.home)
        shutil.copy(self.settings.ray_token_file, HOME / "ray_token")
        self.cluster = Cluster(shutdown_at_exit=True)
        self.n_made = 0
        self._add(num_cpus=0, include_dashboard=False, _system_config=HEALTH)
        self.nodes: dict[str, Any] = {}
        for _ in range(n_nodes):
            self.join()
        self.info: ClusterInfo = up(self.settings, self.cluster.address, insecure=True, echo=lambda line: None)
        ray.init(address=self.cluster.address, namespace="aios", log_to_driver=False, logging_level="ERROR")

    def close(self) -> None:
        with suppress(Exception):
            ray.shutdown()
        for node in [*self.cluster.worker_nodes, self.cluster.head_node]:
            with suppress(Exception):
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        kill_descendants(os.getpid())
        if os.environ.get("AIOS_CHAOS_KEEP"):
            print(f"kept: {HOME}")
        else:
            shutil.rmtree(HOME, ignore_errors=True)

    def client(self, retry_s: float = 120.0) -> Client:
        return Client(
            self.info.api_url, self.settings.api_token_file.read_text(encoding="utf-8").strip(), retry_s=retry_s
        )

    # Nodes.

    def _add(self, **arguments: Any) -> Any:
        """Add a node; on a busy machine Ray's own time limits make that fail now and then."""
        for attempt in range(1, TRIES + 1):
            try:
                return self.cluster.add_node(object_store_memory=80 * 2**20, wait=False, **arguments)
            except Exception:  # whatever Ray raises: time-outs, dead agents, taken ports
                if attempt == TRIES:
                    raise
        raise AssertionError("unreachable")

    def join(self) -> str:
        self.n_made += 1
        name = f"n-{self.n_made}"
        self.nodes[name] = self._add(num_cpus=CPUS, labels={NODE_NAME_LABEL: name})
        return name

    def node_of(self, node_id: str) -> str:
        return next(name for name, node in self.nodes.items() if node.node_id == node_id)

    def raylet_of(self, name: str) -> int:
        return int(self.nodes[name].all_processes["raylet"][0].process.pid)

    def kill_node(self, name: str) -> None:
        """Kill a node's raylet, and reap it: one that nobody reaps would keep its workers."""
        node = self.nodes.pop(name)
        node.kill_raylet(check_alive=False)
        self.cluster.worker_nodes.discard(node)

    def freeze_node(self, name: str) -> tuple[int, set[int]]:
        """Stop a raylet and the processes of attempts on it, as a host that hangs; returns whom to thaw."""
        node = self.nodes.pop(name)
        pids = {one.pid for one in self.living() if one.node == node.node_id}
        raylet = int(node.all_processes["raylet"][0].process.pid)
        for pid in (raylet, *pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return raylet, pids

    def thaw(self, frozen: tuple[int, set[int]]) -> None:
        for pid in (frozen[0], *frozen[1]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill_gcs(self, down_s: float) -> None:
        """Kill the GCS for a while; what it knew is on its disk."""
        head = self.cluster.head_node
        head.kill_gcs_server()
        time.sleep(down_s)
        head._gcs_address = None
        head.start_gcs_server()

    def drain(self, name: str, deadline_s: float) -> None:
        """Have Ray itself drain a node, as for a spot node that is taken away."""
        from ray._private.worker import global_worker
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        accepted, why = global_worker.gcs_client.drain_node(
            self.nodes[name].node_id,
            DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
            "the spot node is taken away",
            int((time.time() + deadline_s) * 1000),
        )
        assert accepted, why

    # Processes.

    def plane_pid(self) -> int:
        return int(actor.health()["pid"])

    def kill_plane(self, pid: int | None = None) -> float:
        """Kill the control plane; returns how long nobody acted: until a new request was recorded."""
        pid = pid or self.plane_pid()
        began = started_at(pid)
        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: started_at(pid) != began, every_s=0.005)
        with self.client(retry_s=0.0) as client:
            eventually(lambda: self._acts(client), timeout_s=120, every_s=0.05, what="a control plane that acts")
        return time.monotonic() - killed_s

    def _acts(self, client: Client) -> bool:
        try:
            client.apply_tenants({"kind": "tenant", "name": "pulse", "weight": 1 + self._pulse()})
        except AiosError:
            return False
        return True

    def _pulse(self) -> int:
        self.n_pulses = getattr(self, "n_pulses", 0) + 1
        return self.n_pulses

    def replica_pids(self) -> list[int]:
        """Return the replicas of all endpoints; all of Ray's processes here descend from this one."""
        found = []
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ServeReplica:"):
                    found.append(pid)
        return found

    def living(self) -> list[Living]:
        """Return the processes of attempts that give signs of life."""
        reap()
        found = []
        for folder in live_folders(self.settings.storage):
            with suppress(OSError):
                names = os.listdir(folder.beats) if folder.ended() is None else []
                found += [one for name in names if (one := Living.of_name(name)) is not None]
        return [one for one in found if started_at(one.pid) == one.started]
