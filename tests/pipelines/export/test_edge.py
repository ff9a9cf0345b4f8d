"""An exported folder answers without PyTorch and Ray, and edge nodes follow an alias: verified, tested, and back."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import threading
import venv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.cli.exporting import _point, _written
from aios.engines import Input
from aios.models.keys import pem_of, signing_key
from pipelines.export import fetcher
from pipelines.export.fetcher import Refused, update
from pipelines.export.preparation import plain_steps
from pipelines.export.runner import prepared
from pipelines.ingest.prepare.recipe import Recipe
from pipelines.models.onnx import export
from pipelines.train.network import load, predict
from tests.support.models import made, signed

ROWS = [[0.0], [0.49], [0.51], [2.0], [-7.5]]


class Site:
    """Where versions of one model are published for edge nodes."""

    def __init__(self, root: Path) -> None:
        self.storage, self.site = root / "storage", root / "site"
        self.storage.mkdir()
        self.key = signing_key(root / "home", self.storage)
        self.public = root / "key.pub"
        self.public.write_bytes(pem_of(self.key.public_key()))
        self.home = root / "home"

    def version(self, version: int, above: float = 0.5) -> Input:
        folder = self.storage / "models" / "m" / str(version)
        folder.mkdir(parents=True)
        made_of = made(folder, above=above)
        return signed(made_of, self.home, self.storage, version)

    def publish(self, version: int, above: float = 0.5, break_it: bool = False) -> Path:
        model = self.version(version, above)
        folder = self.site / "m" / str(version)
        _written(Path(model.uri), model.reference, "m", folder, self.key, self.public.read_bytes())
        if break_it:
            self.answer_wrongly(folder)
        _point(self.site, "m", "prod", version, folder, self.key)
        return folder

    def answer_wrongly(self, folder: Path) -> None:
        """Sign a folder whose model does not answer as its sample says."""
        from aios.models.bundle import sign
        from aios.models.manifest import statement_of

        sample = json.loads((folder / "sample.json").read_text())
        sample["expected"]["predictions"] = sample["expected"]["predictions"][::-1]
        sample["expected"]["probabilities"] = sample["expected"]["probabilities"][::-1]
        (folder / "sample.json").write_text(json.dumps(sample))
        statement = statement_of(folder, "m")
        (folder / "manifest.json").write_bytes(statement)
        (folder / "model.sig").write_text(sign(statement, self.key))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has ONNX Runtime and numpy, and neither PyTorch nor Ray nor this project."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for module in (np, onnxruntime):
        assert module.__file__ is not None
        package = Path(module.__file__).parent
        for path in (package, package.with_name(f"{package.name}.libs")):
            if path.exists():
                (packages / path.name).symlink_to(path)
    return folder / "bin" / "python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *arguments], capture_output=True, text=True, env=environment, cwd="/", check=False
    )


def test_an_exported_folder_answers_as_the_original_where_neither_pytorch_nor_ray_is(site: Site, bare: Path) -> None:
    model = site.version(1)
    folder = site.site / "out"
    said = _written(Path(model.uri), model.reference, "m", folder, site.key, site.public.read_bytes())
    assert said == "32 rows are answered as expected"
    for absent in ("torch", "ray", "aios", "pipelines"):
        assert run(bare, "-c", f"import {absent}").returncode != 0

    (site.storage / "rows.json").write_text(json.dumps({"rows": [*ROWS, {"x": 3.0}]}))
    done = run(bare, str(folder / "run.py"), str(site.storage / "rows.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    predictions, probabilities = predict(*load(Path(model.uri)), [*ROWS, [3.0]])
    assert found["predictions"] == predictions == ["no", "no", "yes", "yes", "no", "yes"]
    assert np.allclose(found["probabilities"], probabilities, atol=1e-6)
    assert run(bare, str(folder / "run.py"), "--self-test").stdout == "32 rows are answered as expected\n"

    (site.storage / "rows.json").write_text(json.dumps({"rows": [[1.0, 2.0]]}))
    wrong = run(bare, str(folder / "run.py"), str(site.storage / "rows.json"))
    assert (wrong.returncode, wrong.stderr) == (1, "run.py: row 0 has 2 values: 1 are needed\n")


def test_a_changed_byte_of_any_file_is_refused_by_its_name(site: Site, bare: Path) -> None:
    folder = site.publish(1)
    for name in ("model.onnx", "edge.json", "sample.json", "run.py"):
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        done = run(bare, str(folder / "run.py"), "--verify")
        assert (done.returncode, done.stderr) == (1, f"run.py: {name} was changed after it was signed\n")
        with pytest.raises(Refused, match=f"{name} of m@1 is not what was signed"):
            update(str(site.site), "m", "prod", site.home / "node", site.public)
        path.write_bytes(before)
    assert not (site.home / "node" / "current").exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    site.site.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_node_follows_its_alias_and_goes_back_by_itself(site: Site, url: str, tmp_path: Path) -> None:
    """
    1. It fetches what prod means over HTTP, and a second time does nothing.
    2. It follows the alias to the next version.
    3. A version that fails its self-test never becomes the current one, and is not tried again.
    4. By hand it goes back to the version before.
    """
    root = tmp_path / "node"

    def bound() -> int:
        return int(json.loads((root / "current" / "edge.json").read_text())["version"])

    def follow() -> str:
        return update(url, "m", "prod", root, site.public)

    site.publish(1)
    assert follow() == "m@1 is current now"
    assert follow() == "m@1 is current already"
    site.publish(2, above=0.9)
    assert follow() == "m@2 is current now"
    assert bound() == 2

    site.publish(3, break_it=True)
    with pytest.raises(Refused, match=r"m@3 failed its self-test, so 2 stays: run\.py: sample row"):
        follow()
    with pytest.raises(Refused, match="failed its self-test here before"):
        follow()
    assert bound() == 2

    assert fetcher.rollback(root) == "version 1 is current again"
    assert bound() == 1


def test_one_that_fails_only_where_it_is_used_is_taken_back(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "node"
    site.publish(1)
    update(str(site.site), "m", "prod", root, site.public)
    site.publish(2)
    really = fetcher.tested
    monkeypatch.setattr(fetcher, "tested", lambda folder: "no camera" if folder.name == "current" else really(folder))
    with pytest.raises(Refused, match="m@2 failed its self-test, so 1 stays: no camera"):
        update(str(site.site), "m", "prod", root, site.public)
    assert (root / "current").resolve().name == "1"


def test_words_of_another_key_or_of_the_past_are_not_followed(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "node"
    folder = site.publish(1)
    old = (site.site / "m" / "prod.json").read_bytes()
    site.publish(2)
    update(str(site.site), "m", "prod", root, site.public)
    (site.site / "m" / "prod.json").write_bytes(old)
    with pytest.raises(Refused, match="older than the one that was followed"):
        update(str(site.site), "m", "prod", root, site.public)
    stranger = signing_key(tmp_path / "stranger", site.storage)
    _point(site.site, "m", "prod", 1, folder, stranger)
    with pytest.raises(Refused, match="not signed by the key that this node trusts"):
        update(str(site.site), "m", "prod", root, site.public)
    shutil.copy(site.site / "m" / "prod.json", site.site / "m" / "canary.json")
    _point(site.site, "m", "prod", 2, site.site / "m" / "2", site.key)
    shutil.copy(site.site / "m" / "prod.json", site.site / "m" / "canary.json")
    with pytest.raises(Refused, match="is signed for m@prod, not m@canary"):
        update(str(site.site), "m", "canary", tmp_path / "other", site.public)


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 2**16 - 1))
def test_signatures_are_judged_as_the_reference_judges_them(message: bytes, flip: int) -> None:
    key = ec.derive_private_key(1 + flip, ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    public = (numbers.x, numbers.y)
    assert fetcher.signed(message, signature, public)
    assert not fetcher.signed(message + b"x", signature, public)
    at = flip % len(signature)
    changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
    assert not fetcher.signed(message, changed, public)


STEPS: list[dict[str, Any]] = [
    {"rename": {"t": "temperature"}},
    {"convert": {"temperature": {"from": "degF", "to": "degC"}}},
    {"impute": {"temperature": "mean"}},
    {"standardise": ["temperature"]},
    {"minmax": ["speed"]},
    {"one_hot": ["light"]},
]
STATES: list[Any] = [
    None, None, {"temperature": 12.5}, {"temperature": [11.0, 4.0]}, {"speed": [0.0, 50.0]},
    {"light": ["day", "night"]},
]  # fmt: skip
FEATURES = ["temperature", "speed", "light=day", "light=night"]


@given(st.one_of(st.none(), st.floats(-50, 120)), st.floats(0, 200), st.sampled_from(["day", "night", "dusk", None]))
@settings(max_examples=40, deadline=None)
def test_raw_rows_become_features_at_the_edge_as_they_do_here(t: float | None, speed: float, light: str | None) -> None:
    recipe = {
        "format": 1, "steps": STEPS, "states": STATES, "inputs": {"t": "double", "speed": "double", "light": "string"},
    }  # fmt: skip
    row = {"t": t, "speed": speed, "light": light}
    (here,) = Recipe.from_json(recipe).serve([row], FEATURES).to_pylist()
    there = prepared(row, plain_steps(recipe), 0)
    assert [there[name] for name in FEATURES] == pytest.approx([here[name] for name in FEATURES], abs=1e-9)


def test_a_recipe_that_the_edge_has_no_words_for_is_not_guessed() -> None:
    recipe = {"format": 1, "steps": [{"derive": {"b": "a * 2"}}], "states": [None], "inputs": {"a": "double"}}
    assert plain_steps(recipe) is None
    with pytest.raises(ValueError, match="give the prepared features"):
        prepared({"a": 1.0}, None, 0)


def test_an_export_that_answers_otherwise_than_the_original_is_not_written(site: Site) -> None:
    """The version has an ONNX file that is not its network: signed all the same, and found out."""
    model = site.version(1)
    other = made(site.storage / "other", name="o", above=-1.0)
    export(load(Path(other.uri))[0], 1, Path(model.uri))
    folder = site.site / "out"
    with pytest.raises(Exception, match="does not answer as the original"):
        _written(Path(model.uri), model.reference, "m", folder, site.key, site.public.read_bytes())
    assert not folder.exists()
    assert not list(site.site.glob(".*"))
