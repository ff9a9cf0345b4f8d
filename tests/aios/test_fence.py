"""Fences on storage: they only rise, and who holds an old one writes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.adapters.fence import check_fence, raise_fence, read_fence, write_once
from aios.adapters.folder import Folder, Held, Report
from aios.errors import StaleFence
from placement.model import NodeId, Resources

HELD = Held(3, (NodeId("n1"),), (Resources.of({"CPU": 1000}),))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path, "train-1a2b", 1)
    folder.prepare(HELD)
    return folder


@given(fences=st.lists(st.integers(1, 50), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_a_fence_is_the_highest_that_was_ever_given(
    tmp_path_factory: pytest.TempPathFactory, fences: list[int]
) -> None:
    path = tmp_path_factory.mktemp("fence") / "w" / "fence"
    for n, fence in enumerate(fences, start=1):
        assert raise_fence(path, fence) == read_fence(path) == max(fences[:n])


def test_raised_by_many_at_once_the_highest_stands(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda fence: raise_fence(tmp_path / "w" / "fence", fence), range(40, 0, -1)))
    assert read_fence(tmp_path / "w" / "fence") == 40


def test_the_newest_attempt_may_write_and_an_older_one_may_not(tmp_path: Path) -> None:
    path = tmp_path / "w" / "fence"
    check_fence(path, 1, "aios/w/1")  # none was given yet
    raise_fence(path, 7)
    check_fence(path, 7, "aios/w/2")
    with pytest.raises(StaleFence, match="aios/w/1 holds fence 6, and 7 has been given since"):
        check_fence(path, 6, "aios/w/1")


def test_one_of_many_supervisors_gets_the_claim(folder: Folder) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(folder.claim, map(str, range(16)))) == 1
    assert not folder.claim("late")


def test_a_file_that_is_written_once_keeps_its_first_words(tmp_path: Path) -> None:
    assert write_once(tmp_path / "said", "first")
    assert not write_once(tmp_path / "said", "second")
    assert (tmp_path / "said").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["said"]


def test_an_attempt_that_was_ended_or_forgotten_writes_nothing_more(folder: Folder) -> None:
    folder.check_fence(3)
    assert folder.end(Report(phase="ended", outcome="lost", error="killed"))
    with pytest.raises(StaleFence, match="was ended before this write"):
        folder.check_fence(3)
    assert not folder.end(Report(phase="ended", outcome="succeeded")), "the first word is the last"
    ended = folder.ended()
    assert ended is not None
    assert ended.outcome == "lost"


def test_an_attempt_that_was_forgotten_writes_nothing_more(folder: Folder) -> None:
    folder.forget()
    with pytest.raises(StaleFence):
        folder.check_fence(3)


def test_a_newer_attempt_ends_the_right_of_the_older_one(folder: Folder) -> None:
    second = Folder(folder.storage, folder.workload, 2)
    assert second.prepare(Held(5, HELD.nodes, HELD.bundles)) == 5
    second.check_fence(5)
    with pytest.raises(StaleFence, match="holds fence 3, and 5"):
        folder.check_fence(3)
    assert folder.prepare(HELD) == 5, "a launch that comes late does not take the fence back"
