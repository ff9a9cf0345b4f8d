"""Checkpoints: any change after the seal is noticed, and the latest whole one is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.checkpoints import SEAL, Begin, damage, seal, where_to_begin


def made(folder: Path, content: bytes = b"weights") -> Path:
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "state").write_bytes(content)
    seal(folder)
    return folder


def test_a_sealed_checkpoint_is_whole_wherever_it_lies(tmp_path: Path) -> None:
    assert damage(str(made(tmp_path / "a"))) == ""
    (tmp_path / "a").rename(tmp_path / "b")
    assert damage(str(tmp_path / "b")) == ""


@given(at=st.integers(0, 199), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    folder = made(tmp_path_factory.mktemp("c") / "a", bytes(range(200)))
    content = bytearray((folder / "part" / "state").read_bytes())
    content[at] ^= 1 << bit
    (folder / "part" / "state").write_bytes(content)
    assert "torn" in damage(str(folder))


@pytest.mark.parametrize("length", [0, 1, 6])
def test_a_file_that_was_cut_is_noticed(tmp_path: Path, length: int) -> None:
    folder = made(tmp_path / "a")
    (folder / "part" / "state").write_bytes(b"weights"[:length])
    assert "torn" in damage(str(folder))


def test_what_is_missing_added_or_renamed_is_noticed(tmp_path: Path) -> None:
    for name in ("removed", "added", "renamed"):
        made(tmp_path / name)
    (tmp_path / "removed" / "part" / "state").unlink()
    (tmp_path / "added" / "more").write_text("x")
    (tmp_path / "renamed" / "part" / "state").rename(tmp_path / "renamed" / "part" / "other")
    assert all("torn" in damage(str(tmp_path / name)) for name in ("removed", "added", "renamed"))
    assert damage(str(tmp_path / "nowhere")) == "it is gone"


def test_one_without_a_seal_is_its_authors_affair_unless_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    assert damage(str(tmp_path / "theirs")) == "it is empty"
    (tmp_path / "theirs" / "x").touch()
    assert damage(str(tmp_path / "theirs")) == ""


def test_the_one_before_is_used_and_said_and_without_any_it_begins_anew(tmp_path: Path) -> None:
    late, early = made(tmp_path / "late"), made(tmp_path / "early")
    both = ((str(late), 8), (str(early), 5))
    assert where_to_begin(both) == Begin(str(late), 8)
    (late / SEAL).write_text("0")
    found = where_to_begin(both)
    assert (found.checkpoint, found.step) == (str(early), 5)
    assert "step 8 cannot be used: it is torn" in found.why
    shutil.rmtree(early)
    found = where_to_begin(both)
    assert (found.checkpoint, found.step) == ("", 0)
    assert "step 5 cannot be used: it is gone" in found.why
    assert where_to_begin((("", 0), ("", 0))) == Begin()
