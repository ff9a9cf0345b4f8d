"""The folder of an attempt: requests to end, whatever clocks say, and names that are none of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from aios.adapters.folder import Folder, Held, live_folders


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    one = Folder(tmp_path, "a-1234", 1)
    one.prepare(Held(1, (), ()))
    one.mark_live()
    return one


def test_who_is_asked_to_end_is_told_how_long_it_has_and_not_until_when(folder: Folder) -> None:
    assert folder.asked_to_end() is None
    folder.ask_to_end("preempt", 1_000_000.0, 30.0)
    assert folder.asked_to_end() == ("preempt", 30.0)


def test_asked_again_the_earlier_deadline_and_a_stop_stand(folder: Folder) -> None:
    folder.ask_to_end("preempt", 100.0, 30.0)
    folder.ask_to_end("stop", 110.0, 60.0)
    assert folder.asked_to_end() == ("stop", 20.0)
    folder.ask_to_end("preempt", 112.0, 5.0)
    assert folder.asked_to_end() == ("stop", 5.0)


def test_a_request_that_cannot_be_read_is_none_and_can_be_made_again(folder: Folder) -> None:
    (folder.path / "stop.json").write_text("[", encoding="utf-8")
    assert folder.asked_to_end() is None
    folder.ask_to_end("stop", 100.0, 3.0)
    assert folder.asked_to_end() == ("stop", 3.0)


def test_files_of_others_among_the_live_attempts_are_no_attempts(folder: Folder) -> None:
    (folder.storage / "attempts" / ".live" / ".nfs0001").touch()
    assert live_folders(folder.storage) == (folder,)
