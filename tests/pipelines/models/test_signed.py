"""What is done to a model version after it was signed is found, and said by the file's name."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aios.engines import Input, WorkloadFailed
from aios.models.bundle import opened, sign, signed_by
from aios.models.keys import PUBLIC, public_key, signing_key
from aios.models.manifest import MANIFEST, SIGNATURE, files_of, statement_of
from aios.models.verify import verify
from pipelines.models.verified import verified
from tests.support.models import made, signed


@pytest.fixture
def model(tmp_path: Path) -> Input:
    return signed(made(tmp_path / "models" / "m" / "a"), tmp_path / "home", tmp_path)


def test_a_version_as_it_was_signed_is_used(model: Input, tmp_path: Path) -> None:
    assert verified(model, tmp_path) == Path(model.uri)
    found = verify(Path(model.uri), model.reference, dict(model.meta), tmp_path)
    assert found.n_files == len(files_of(Path(model.uri))) == 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_refused_by_the_files_name(model: Input, tmp_path: Path, data: Any) -> None:
    folder = Path(model.uri)
    name = data.draw(st.sampled_from([*files_of(folder), MANIFEST]))
    path = folder / name
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    flipped = bytes([before[at] ^ (1 << data.draw(st.integers(0, 7)))])
    try:
        path.write_bytes(before[:at] + flipped + before[at + 1 :])
        with pytest.raises(
            WorkloadFailed, match=rf"model://m@1: {name} (was changed|is not as it was signed|is a pickle)"
        ):
            verified(model, tmp_path)
    finally:
        path.write_bytes(before)
    verified(model, tmp_path)


def _add(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "more.py").write_text("1")


def _link(folder: Path) -> None:
    (folder / "model.json").rename(folder.parent / "elsewhere")
    (folder / "model.json").symlink_to(folder.parent / "elsewhere")


def _pickle(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "extra.bin")


def _unsigned(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


def _broken(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes(b"\xff{")


def _signature_byte(folder: Path) -> None:
    path = folder / SIGNATURE
    bundle = json.loads(path.read_text())
    sig = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:]
    path.write_text(json.dumps(bundle))


def _own_key(folder: Path) -> None:
    """Change the weights and sign them with a key of one's own."""
    (folder / "model.safetensors").write_bytes(b"other")
    statement = statement_of(folder, "m")
    (folder / MANIFEST).write_bytes(statement)
    (folder / SIGNATURE).write_text(sign(statement, signing_key(folder.parent / "evil", folder.parent / "evil")))


def _own_key_in_the_store(folder: Path) -> None:
    """Change the weights, sign them, and put the key among those that are trusted: the log knows another manifest."""
    (folder / "model.safetensors").write_bytes(b"other")
    statement = statement_of(folder, "m")
    (folder / MANIFEST).write_bytes(statement)
    (folder / SIGNATURE).write_text(sign(statement, signing_key(folder.parent / "evil", folder.parents[2])))


@pytest.mark.parametrize(
    "do, told",
    [
        (_add, "sub/more.py was added after it was signed"),
        (lambda folder: (folder / "model.json").unlink(), "model.json is missing"),
        (_link, "model.json is a link"),
        (_pickle, "extra.bin is a pickle"),
        (_unsigned, "is not signed"),
        (_broken, "cannot be read"),
        (_signature_byte, "does not fit what it signs"),
        (_own_key, "which .* does not have"),
        (_own_key_in_the_store, "of another version than the one registered"),
        (lambda folder: folder.rename(folder.parent / "b"), "its folder .* is gone"),
    ],
)
def test_what_is_wrong_is_told(model: Input, tmp_path: Path, do: Callable[[Path], object], told: str) -> None:
    do(Path(model.uri))
    with pytest.raises(WorkloadFailed, match=f"model://m@1.*{told}"):
        verified(model, tmp_path)


def test_a_signed_version_does_not_pass_for_another(model: Input, tmp_path: Path) -> None:
    other = signed(made(tmp_path / "models" / "m" / "b", above=0.1), tmp_path / "home", tmp_path, version=2)
    with pytest.raises(WorkloadFailed, match="of another version than the one registered"):
        verified(Input(model.reference, other.uri, model.meta), tmp_path)


def test_a_version_from_before_there_were_manifests_is_refused(model: Input, tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed, match=r"has no manifest of its files.*train it again"):
        verified(Input(model.reference, model.uri, {}), tmp_path)


def test_the_private_key_is_its_owners_alone_and_made_once(tmp_path: Path) -> None:
    home, storage = tmp_path / "home", tmp_path / "storage"
    first, second = (signing_key(home, storage).private_numbers() for _ in range(2))
    assert first == second
    assert (home / "keys" / "models.pem").stat().st_mode & 0o777 == 0o600
    (public,) = (storage / PUBLIC).iterdir()
    assert public.stat().st_mode & 0o777 == 0o644
    assert b"PRIVATE" not in public.read_bytes()


def test_a_key_that_is_not_what_it_is_called_is_not_trusted(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    signing_key(tmp_path / "home", mine)
    signing_key(tmp_path / "evil", other)
    (known,), (evil,) = ((folder / PUBLIC).iterdir() for folder in (mine, other))
    known.write_bytes(evil.read_bytes())
    assert public_key(mine, known.stem) is None
    assert public_key(mine, "../../x") is None


def test_a_bundle_carries_the_statement_and_fits_no_other(tmp_path: Path) -> None:
    key = signing_key(tmp_path, tmp_path)
    statement, signature, hint = opened(sign(b"it", key))
    assert (statement, public_key(tmp_path, hint)) == (b"it", key.public_key())
    assert signed_by(b"it", signature, key.public_key())
    assert not signed_by(b"is", signature, key.public_key())


class Evil:
    def __reduce__(self) -> Any:
        return (os.system, ("touch /nowhere/at/all",))


def test_pickles_of_tensors_become_safetensors_at_registration(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = tmp_path / "a"
    folder.mkdir()
    weight = torch.tensor([[1.0, 2.0]])
    torch.save({"net": {"0.weight": weight}, "epoch": 3}, folder / "checkpoint.pt")
    artefact = made(folder)
    assert torch.equal(load_file(folder / "checkpoint.safetensors")["net.0.weight"], weight)
    assert json.loads((folder / "checkpoint.values.json").read_text()) == {"epoch": 3}
    assert not (folder / "checkpoint.pt").exists()
    verified(signed(artefact, tmp_path / "home", tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.pkl", "weights"])
def test_a_pickle_with_code_is_not_registered_and_not_run(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps({"net": Evil()}))
    with pytest.raises(WorkloadFailed, match=f"{name} is a pickle of more than tensors"):
        made(folder)
    assert not (folder / MANIFEST).exists()
