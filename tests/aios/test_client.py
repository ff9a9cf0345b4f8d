"""The SDK: patience with a control plane that restarts, errors with their places, packages, pipelines in Python."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import aios
from aios.client import Client
from aios.errors import InvalidSpec, NameTaken, NoControlPlane, NotFinished, NotFound, Unauthorized
from aios.follow import exit_code
from aios.packages import pack
from aios.views import Submission, WorkloadView, to_json

VIEW = WorkloadView("x-1a2b", "x", "script", "default", 0, "QUEUED")
SCRIPT = {"kind": "script", "name": "x", "entrypoint": "python x.py"}


def client(handler: Callable[[httpx.Request], httpx.Response], **more: Any) -> Client:
    return Client("http://127.0.0.1:1", "token", transport=httpx.MockTransport(handler), **more)


def refusal(status: int, code: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "what", "hint": "how", **more})


def test_a_submission_survives_a_restart_with_the_same_key() -> None:
    """1. The connection breaks; 2. the control plane is not ready; 3. it answers: one key throughout, told once."""
    requests: list[httpx.Request] = []
    told: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 1:
            raise httpx.ReadError("connection reset")
        if len(requests) == 2:
            return refusal(503, "no_control_plane")
        return httpx.Response(201, json=to_json(Submission((VIEW,))))

    submission = client(handler, on_trouble=told.append).submit(SCRIPT)
    assert submission.workloads == (VIEW,)
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    assert len({request.content for request in requests}) == 1
    assert len(told) == 1
    assert requests[0].headers["Authorization"] == "Bearer token"


def test_two_submissions_have_two_keys() -> None:
    keys = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx.Response(201, json=to_json(Submission((VIEW,))))

    one = client(handler)
    one.submit(SCRIPT)
    one.submit(SCRIPT)
    one.submit(SCRIPT, key="mine")
    assert keys[0] != keys[1]
    assert keys[2] == "mine"


def test_patience_ends() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(NoControlPlane, match="no control plane answers at"):
        client(handler, retry_s=0.2).status()


@pytest.mark.parametrize(
    "answer, error",
    [
        (refusal(404, "not_found"), NotFound),
        (refusal(409, "name_taken"), NameTaken),
        (refusal(401, "unauthorized"), Unauthorized),
        (refusal(422, "of_a_newer_version"), InvalidSpec),
        (httpx.Response(200, text="<html>hello</html>"), NoControlPlane),
        (httpx.Response(404, text="<html>nothing</html>"), NoControlPlane),
    ],
)
def test_refusals_are_errors_of_the_tree(answer: httpx.Response, error: type[Exception]) -> None:
    with pytest.raises(error):
        client(lambda request: answer, retry_s=0.0).status()


def test_problems_come_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("kind: script\nname: x\nentrypont: y\n")
    problem = {"loc": [0, "entrypont"], "message": "unknown key", "hint": "did you mean 'entrypoint'?"}
    with pytest.raises(InvalidSpec) as caught:
        client(lambda request: refusal(422, "invalid_spec", problems=[problem])).submit(file)
    assert str(caught.value) == f"{file}:3: entrypont: unknown key; did you mean 'entrypoint'?"


def test_a_folder_is_uploaded_only_when_it_is_asked_for(tmp_path: Path) -> None:
    """1. The submission names the folder by its content; 2. it is missing; 3. it is sent; 4. the same again."""
    (tmp_path / "x.py").write_text("print(1)")
    (tmp_path / "w.yaml").write_text("kind: script\nname: x\nentrypoint: python x.py\nworking_dir: .\n")
    seen: list[tuple[str, str]] = []
    stored: dict[str, bytes] = {}

    def handler(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        seen.append((request.method, path.partition("/packages/")[0] or "/packages"))
        digest = path.rpartition("/")[2]
        if request.method == "PUT":
            stored[digest] = request.content
            return httpx.Response(201, json={"uri": f"package://{digest}", "size": 1})
        if request.method == "GET":
            return refusal(404, "not_found")
        (document,) = json.loads(request.content)["documents"]
        if document["working_dir"].removeprefix("package://") not in stored:
            return refusal(422, "missing_package")
        return httpx.Response(201, json=to_json(Submission((VIEW,))))

    client(handler).submit(tmp_path / "w.yaml")
    assert seen == [("POST", "/workloads"), ("GET", "/packages"), ("PUT", "/packages"), ("POST", "/workloads")]
    (content,) = stored.values()
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["w.yaml", "x.py"]


def test_a_wait_that_ends_too_early_says_what_goes_on() -> None:
    answer = {"done": False, "seen": "s", "workloads": [to_json(VIEW)]}
    with pytest.raises(NotFinished, match="x-1a2b is QUEUED"):
        client(lambda request: httpx.Response(200, json=answer)).wait("x", timeout=0.05)


@pytest.mark.parametrize("ref", ["", "a/b", "a b", "../x", "ü", "a?b", "%2e"])
def test_what_cannot_be_an_id_is_never_asked_for(ref: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("it was asked for")

    with pytest.raises(NotFound):
        client(handler).get(ref)


def test_where_there_is_no_cluster_file_there_is_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOS_HOME", str(tmp_path))
    monkeypatch.delenv("AIOS_ADDRESS", raising=False)
    with pytest.raises(NoControlPlane, match="no cluster is running here") as caught:
        Client()
    assert "aios up" in caught.value.hint


def test_a_client_finds_its_cluster_by_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOS_HOME", str(tmp_path))
    monkeypatch.delenv("AIOS_ADDRESS", raising=False)
    (tmp_path / "cluster.json").write_text('{"api_url": "http://127.0.0.1:7"}')
    (tmp_path / "api_token").write_text("t\n")
    assert Client().url == "http://127.0.0.1:7"


def test_a_pipeline_is_written_in_python() -> None:
    digits = (
        aios.Pipeline("digits", tenant="vision", priority=3)
        .stage(kind="ingest", source={"sklearn": "digits"})
        .stage("fit", kind="train", epochs=2)
    )
    assert digits.to_dict() == {
        "kind": "pipeline",
        "name": "digits",
        "tenant": "vision",
        "priority": 3,
        "labels": {},
        "stages": [
            {"kind": "ingest", "name": "ingest", "source": {"sklearn": "digits"}},
            {"kind": "train", "name": "fit", "epochs": 2},
        ],
    }
    with pytest.raises(InvalidSpec, match="two stages are named 'fit'"):
        digits.stage("fit", kind="train")


def view(status: str, exit_code: int | None = None, **more: Any) -> WorkloadView:
    over = status in ("SUCCEEDED", "FAILED", "STOPPED")
    return WorkloadView("x", "x", "script", "t", 0, status, exit_code=exit_code, over=over, **more)


@pytest.mark.parametrize(
    "views, code",
    [
        ([view("SUCCEEDED", 0)], 0),
        ([view("FAILED", 3)], 3),
        ([view("FAILED")], 100),
        ([view("FAILED", 0)], 100),
        ([view("FAILED", -9)], 137),
        ([view("FAILED", 143)], 143),
        ([view("FAILED", 70_000)], 100),
        ([view("STOPPED")], 103),
        ([view("RUNNING")], 101),
        ([view("RUNNING", service=True, ready=True)], 0),
        ([view("SUCCEEDED", 0), view("STOPPED"), view("FAILED", 5)], 5),
        ([view("SUCCEEDED", 0), view("QUEUED")], 101),
        ([], 0),
    ],
)
def test_exit_codes(views: list[WorkloadView], code: int) -> None:
    assert exit_code(views) == code


def test_the_same_files_are_the_same_package(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, names in ((one, "ab"), (other, "ba")):
        (folder / "sub").mkdir(parents=True)
        for name in names:
            (folder / "sub" / name).write_text(name)
    assert pack(one).digest == pack(other).digest
    (one / "sub" / "a").write_text("changed")
    assert pack(one).digest != pack(other).digest


def test_a_package_leaves_out_what_is_no_code(tmp_path: Path) -> None:
    ignored = "# caches\n*.log\n/data\nout/\n!keep.log\nsub/*.tmp\n"
    (tmp_path / ".gitignore").write_text(ignored)
    for name in (
        "train.py", "x.log", "keep.log", "data/big.bin", "sub/data/kept.bin", "out/x", ".git/HEAD", ".venv/bin/python",
        "sub/__pycache__/y.pyc", "sub/y.pyc", "sub/a.tmp", "sub/a.py",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    names = zipfile.ZipFile(io.BytesIO(pack(tmp_path).content)).namelist()
    assert names == [".gitignore", "keep.log", "sub/a.py", "sub/data/kept.bin", "train.py"]


def test_a_folder_that_is_too_large_names_its_largest_files(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(b"x" * 3000)
    (tmp_path / "small.py").write_text("x")
    with pytest.raises(InvalidSpec, match="more than 0 MiB") as caught:
        pack(tmp_path, largest=1000)
    assert "big.bin" in caught.value.hint


def test_importing_aios_loads_nothing() -> None:
    program = "import sys, aios; sys.exit(','.join({'httpx', 'yaml', 'ray', 'pydantic'} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
