"""The image's entry point, run for real: a head and a worker in network namespaces of their own, as two machines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = ROOT / "deploy/docker/aios-node"
ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]

# Two namespaces joined by a pair of virtual cards. All of it ends with the first one, whatever happens in between.
STORY = r"""
set -eu
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add 10.9.9.1/24 dev v0
ip link set v0 up
ip route add default via 10.9.9.2

cat > worker.sh <<'END'
until ip link show v1 > /dev/null 2>&1; do sleep 0.1; done
ip link set lo up; ip addr add 10.9.9.2/24 dev v1; ip link set v1 up; ip route add default via 10.9.9.1
until [ -s home/cluster.json ]; do sleep 0.2; done
export RAY_TMPDIR="$PWD/b" RAY_AUTH_TOKEN_PATH="$PWD/home/ray_token" AIOS_LABELS=zone=z2
exec "$NODE" worker 10.9.9.1:6379
END
unshare --net bash worker.sh > worker.log 2>&1 &
worker=$!
until [ "$(readlink /proc/$worker/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link set v1 netns $worker

RAY_TMPDIR="$PWD/a" AIOS_LABELS=zone=z1 "$NODE" head > head.log 2>&1 &
export RAY_AUTH_TOKEN_PATH="$PWD/home/ray_token"
until grep -q 'Ray runtime started' worker.log; do sleep 0.5; done
until aios status 2> /dev/null | grep -q '1 of 1 ready'; do sleep 0.5; done
echo 'import ray; print("ran on", ray.get(ray.remote(ray.util.get_node_ip_address).remote()))' > hello.py
aios run --num-cpus 1 -- python hello.py 2>&1
echo "the run ended with $?"
cat /proc/net/tcp /proc/net/tcp6 > listening
aios down 2>&1
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short name, since Ray's sockets lie below it."""
    path = Path(tempfile.mkdtemp(prefix="an-", dir="/tmp"))
    for name in ("home", "storage", "a", "b"):
        (path / name).mkdir(mode=0o700)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _listening(table: str) -> set[tuple[str, int]]:
    """Return address (hexadecimal) and port of each listener in the form of ``/proc/net/tcp``."""
    rows = [line.split() for line in table.splitlines()]
    sockets = [row[1].split(":") for row in rows if len(row) > 3 and row[3] == "0A"]
    return {(address, int(port, 16)) for address, port in sockets}


@pytest.mark.ray
@pytest.mark.skipif(
    not shutil.which("ip") or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="needs iproute2 and the right to make network namespaces",
)
def test_a_head_and_a_worker_make_a_cluster_on_which_work_runs(folder: Path) -> None:
    """A head makes its token and starts AIOS; a worker joins with it; a script runs there; AIOS goes."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "NODE": str(NODE),
        "AIOS_HOME": str(folder / "home"),
        "AIOS_STORAGE": str(folder / "storage"),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [*ALONE, "bash", "-c", STORY], cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    logs = "\n".join(
        f"{path.name}: {path.read_text()[-2000:]}" for path in [*folder.glob("*.log"), *folder.glob("home/logs/*")]
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    assert "ran on 10.9.9.2" in done.stdout
    assert "the run ended with 0" in done.stdout
    assert "stopped AIOS; the Ray cluster at 10.9.9.1:6379 goes on" in done.stdout
    assert os.stat(folder / "home/ray_token").st_mode & 0o777 == 0o600
    addresses = {
        port: {a for a, p in _listening((folder / "listening").read_text()) if p == port} for port in (8420, 8265)
    }
    assert addresses == {8420: {"0100007F"}, 8265: {"0100007F"}}, "the API and the dashboard are on loopback alone"
