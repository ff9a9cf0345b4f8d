"""Files that are whole or not there, digests that tell content, and packages that cannot do harm."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from aios.engines import WorkloadFailed
from pipelines import package
from pipelines.files import digest_of, digest_of_file, name_by_content, read_json, write_folder, write_json, write_whole
from pipelines.script.output import Follow


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"n": 1})
    write_json(path, {"n": 2})
    assert (read_json(path), [p.name for p in tmp_path.iterdir()]) == ({"n": 2}, ["a.json"])


def test_a_folder_whose_filling_fails_never_appears(tmp_path: Path) -> None:
    def fill(part: Path) -> None:
        (part / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(tmp_path / "checkpoint", fill)
    assert not (tmp_path / "checkpoint").exists()


def test_the_digest_tells_names_and_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        write_whole(tmp_path / name / "file", content)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b") != digest_of(tmp_path / "c")
    (tmp_path / "b" / "file").rename(tmp_path / "b" / "other")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")


def test_equal_parts_get_equal_names_whatever_they_were_called(tmp_path: Path) -> None:
    for folder, names in (("a", ("x", "y")), ("b", ("q", "p"))):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"1", b"2"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
        name_by_content(tmp_path / folder, ".bin")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")


def zipped(path: Path, name: str, content: bytes = b"print(1)", mode: int = stat.S_IFREG | 0o644) -> str:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return digest_of_file(path)


def test_a_package_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    digest = zipped(tmp_path / "p.zip", "src/train.py", mode=stat.S_IFREG | 0o755)
    package.unpack(tmp_path / "p.zip", digest, tmp_path / "work")
    assert (tmp_path / "work" / "src" / "train.py").read_bytes() == b"print(1)"


@pytest.mark.parametrize(
    "name, mode, word",
    [
        ("../out.py", stat.S_IFREG | 0o644, "points outside"),
        ("/etc/out.py", stat.S_IFREG | 0o644, "points outside"),
        ("a/../../out.py", stat.S_IFREG | 0o644, "points outside"),
        ("a\\..\\out.py", stat.S_IFREG | 0o644, "points outside"),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
        ("pipe", stat.S_IFIFO | 0o644, "is a link or a device"),
    ],
)
def test_a_package_that_reaches_outside_is_refused(tmp_path: Path, name: str, mode: int, word: str) -> None:
    digest = zipped(tmp_path / "p.zip", name, b"/etc/passwd", mode)
    with pytest.raises(WorkloadFailed, match=word):
        package.unpack(tmp_path / "p.zip", digest, tmp_path / "deep" / "work")
    assert not list(tmp_path.rglob("out.py"))


def test_a_package_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MOST_BYTES", 1000)
    digest = zipped(tmp_path / "p.zip", "zeros", bytes(2000))
    with pytest.raises(WorkloadFailed, match="at most 1000"):
        package.unpack(tmp_path / "p.zip", digest, tmp_path / "work")


def test_a_missing_an_altered_and_a_broken_package_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed, match="not uploaded"):
        package.unpack(tmp_path / "none.zip", "0" * 64, tmp_path / "work")
    zipped(tmp_path / "p.zip", "a.py")
    with pytest.raises(WorkloadFailed, match="another digest"):
        package.unpack(tmp_path / "p.zip", "0" * 64, tmp_path / "work")
    (tmp_path / "q.zip").write_bytes(b"no zip")
    with pytest.raises(WorkloadFailed, match="no zip file"):
        package.unpack(tmp_path / "q.zip", digest_of_file(tmp_path / "q.zip"), tmp_path / "work")


def test_output_is_passed_on_line_by_line_and_the_rest_at_the_end(tmp_path: Path) -> None:
    lines: list[str] = []
    follow = Follow(tmp_path / "log.txt", lines.append)
    follow.pass_on()
    with (tmp_path / "log.txt").open("a", encoding="utf-8") as log:
        log.write("one\ntw")
        log.flush()
        follow.pass_on()
        assert lines == ["one"]
        log.write("o\nthree")
        log.flush()
        follow.pass_on()
    follow.pass_on(to_the_end=True)
    assert lines == ["one", "two", "three"]
