"""A real PostgreSQL for tests: the one that AIOS_TEST_POSTGRES_URL names, else one of our own for this run.

The first worker that asks starts the server, on a free loopback port and under an unprivileged user (it refuses root);
the process that started the workers ends it by its pid. Where a run is killed, a shell that watches it does.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

GIVEN = "AIOS_TEST_POSTGRES_URL"
_OURS = "AIOS_TEST_POSTGRES_FOLDER"
"""The folder of this run's own server; set by the process that will end it."""
_RUN = "AIOS_TEST_POSTGRES_RUN"
"""The process that will end it."""
_TRIES = 5
_WATCH = """
while [ -d "$2/data" ]; do
    if ! kill -0 "$0" 2>/dev/null; then kill -INT "$1"; rm -rf "$2"; fi
    sleep 1
done
"""
"""Ends the server of a run that was killed; the folder of one that ended well is gone."""


def pytest_configure(config: pytest.Config) -> None:
    """Make a place for the server in the process that starts the others, and in no other."""
    if not os.environ.get(GIVEN) and _OURS not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="aios-postgres-"))
        folder.chmod(0o755)
        os.environ[_OURS], os.environ[_RUN] = str(folder), str(os.getpid())
        config.add_cleanup(lambda: _end(folder))


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """Return the URL of a database; skips where there is none and none can be started."""
    given = os.environ.get(GIVEN)
    if given:
        return given
    missing = why_none()
    if missing:
        pytest.skip(missing)
    return _started(Path(os.environ[_OURS]))


@contextmanager
def schema_of_its_own(server: str) -> Iterator[str]:
    """Give a URL whose tables live in a schema of their own, dropped afterwards."""
    schema = f"aios_{uuid4().hex}"
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.connect() as connection:
        for name in sa.inspect(connection).get_schema_names():
            if name.startswith(schema):  # and what a restore has set aside
                connection.execute(sa.schema.DropSchema(name, cascade=True))
    engine.dispose()


def why_none() -> str:
    """Return why no server can be had, empty where one can."""
    try:
        import psycopg  # noqa: F401  # the driver is what is asked for
    except ImportError as error:
        return f"no PostgreSQL: {error}"
    if _programs() is None:
        return f"no PostgreSQL: {GIVEN} names none, and initdb is not installed (apt-get install postgresql)"
    return ""


def _programs() -> Path | None:
    """Return the folder with initdb, the newest version's."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _started(folder: Path) -> str:
    """Return the URL of the server in the folder, started by whoever comes first."""
    state = folder / "server.json"
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not state.exists():
            state.write_text(json.dumps(_start(folder)), encoding="utf-8")
        return str(json.loads(state.read_text(encoding="utf-8"))["url"])


def _start(folder: Path) -> dict[str, object]:
    programs, password = _programs(), secrets.token_hex(16)
    assert programs is not None, "why_none() was asked before"
    user = _user()
    data, words = folder / "data", folder / "password"
    words.write_text(password, encoding="utf-8")
    words.chmod(0o600)
    data.mkdir(mode=0o700)
    if user is not None:
        for path in (data, words):
            os.chown(path, user.pw_uid, user.pw_gid)
    who: dict[str, object] = {"stdin": subprocess.DEVNULL, "cwd": "/"}
    if user is not None:
        who |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    order = [programs / "initdb", "-D", data, "-U", "aios", "-A", "scram-sha-256", "--pwfile", words, "--no-sync"]
    subprocess.run([*order, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, timeout=120, **who)  # type: ignore[call-overload]  # the same keywords twice
    for _ in range(_TRIES):  # another process may take the port first
        port = _free_port()
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        order = [programs / "postgres", "-D", data, *(f"--{key}={value}" for key, value in settings.items())]
        with open(folder / "server.log", "ab") as log:
            server = subprocess.Popen(order, stdout=log, stderr=log, start_new_session=True, **who)  # type: ignore[call-overload]  # as above
        url = f"postgresql+psycopg://aios:{password}@127.0.0.1:{port}/postgres"
        if _answers(server, url):
            watch = ["sh", "-c", _WATCH, os.environ[_RUN], str(server.pid), str(folder)]
            subprocess.Popen(watch, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=True)
            return {"pid": server.pid, "url": url}
    raise RuntimeError(f"PostgreSQL does not start: {(folder / 'server.log').read_text(errors='replace')[-2000:]}")


def _answers(server: subprocess.Popen[bytes], url: str) -> bool:
    """Return True once the server lets us in, False where it ended."""
    engine = sa.create_engine(url)
    try:
        while server.poll() is None:
            with suppress(sa.exc.OperationalError), engine.connect():
                return True
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.05)
        return False
    finally:
        engine.dispose()


def _end(folder: Path) -> None:
    """End the server of this run, if one was started, and remove its folder."""
    with suppress(OSError, ValueError):
        pid = int(json.loads((folder / "server.json").read_text(encoding="utf-8"))["pid"])
        os.kill(pid, signal.SIGINT)  # it ends its sessions and leaves
        _await_end(pid)
    os.environ.pop(_OURS, None)
    os.environ.pop(_RUN, None)
    shutil.rmtree(folder, ignore_errors=True)


def _await_end(pid: int) -> None:
    """Wait for a process that need not be a child of ours."""
    handle = os.pidfd_open(pid)
    try:
        import select

        select.select([handle], [], [], 30)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    finally:
        os.close(handle)


def _user() -> pwd.struct_passwd | None:
    """Return the user to run it as where we are root, who may not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
