"""What a user reads first when their code fails, and how a file is run as Python would."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from pipelines.failure import Ended, describe
from pipelines.script.runner import run_main


@pytest.fixture(autouse=True)
def _own_interpreter_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [*sys.path])


def ended_by(folder: Path, code: str) -> Ended:
    (folder / "job.py").write_text(code)
    with pytest.raises(BaseException) as raised:  # noqa: PT011  whatever the user's code raises
        run_main(["job.py"], folder)
    return describe(raised.value, folder)


def test_the_users_line_comes_first_and_only_their_frames_follow(tmp_path: Path) -> None:
    ended = ended_by(tmp_path, "import json\ndef read():\n    return json.loads('{')\nread()\n")
    assert ended.message.startswith("job.py:3: JSONDecodeError: Expecting property name")
    assert ended.detail.splitlines()[-2:] == ["job.py:4 in <module>", "job.py:3 in read"]
    assert "decoder.py" not in ended.detail
    assert ended.code == 1


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    assert ended_by(tmp_path, "a = 1\nb = = 2\n").message.startswith("job.py:2: SyntaxError: ")


def test_an_error_without_words_is_named(tmp_path: Path) -> None:
    assert ended_by(tmp_path, "raise RuntimeError\n").message == "job.py:1: RuntimeError"


def test_an_error_of_another_process_is_placed_by_its_text(tmp_path: Path) -> None:
    frames = f'  File "{tmp_path}/job.py", line 5, in g\n  File "{sysconfig.get_path("purelib")}/x.py", line 9, in f'
    text = f"Traceback:\n{frames}\nValueError: no"
    assert describe(ValueError("no"), tmp_path, text).message == "job.py:5: ValueError: no"


def test_a_file_runs_as_main_with_its_arguments_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "near_job.py").write_text("WORD = 'near'\n")
    (tmp_path / "job.py").write_text(
        "import sys, near_job, pathlib\n"
        "if __name__ == '__main__':\n"
        "    pathlib.Path(sys.argv[2]).write_text(f'{sys.argv[1]} {near_job.WORD}')\n"
    )
    run_main(["-u", "job.py", "--lr", str(tmp_path / "out")], tmp_path)
    assert (tmp_path / "out").read_text() == "--lr near"


def test_code_and_modules_run_too(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_main(["-c", "import sys; sys.exit(int(sys.argv[1]))", "7"], tmp_path)
    assert exit_.value.code == 7
    (tmp_path / "their_module.py").write_text("raise SystemExit(8)\n")
    with pytest.raises(SystemExit) as exit_:
        run_main(["-m", "their_module"], tmp_path)
    assert exit_.value.code == 8


def test_a_file_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_main(["none.py"], tmp_path)
    assert "none.py: no such file" in str(exit_.value.code)
