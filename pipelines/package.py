"""Unpacks a working directory that came as a zip file, trusting nothing in it."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from aios.engines import WorkloadFailed
from pipelines.files import digest_of_file

MOST_BYTES = 512 * 2**20
MOST_FILES = 20_000


def unpack(package: Path, digest: str, folder: Path) -> None:
    """Extract ``package`` into ``folder``; raises WorkloadFailed where it is missing, altered, too large or unsafe."""
    if not package.is_file():
        raise WorkloadFailed(f"working_dir package://{digest}: it was not uploaded, or is gone: submit it again")
    if digest_of_file(package) != digest:
        raise WorkloadFailed(f"working_dir package://{digest}: its content has another digest: submit it again")
    try:
        with zipfile.ZipFile(package) as archive:
            members = archive.infolist()
            check(members)
            folder.mkdir(parents=True, exist_ok=True)
            for member in members:
                _extract(archive, member, folder)
    except zipfile.BadZipFile as error:
        raise WorkloadFailed(f"working_dir package://{digest}: is no zip file: {error}") from None


def check(members: list[zipfile.ZipInfo]) -> None:
    """Refuse what could write elsewhere, point elsewhere, or fill the disk."""
    if len(members) > MOST_FILES:
        raise WorkloadFailed(f"working_dir has {len(members)} files: at most {MOST_FILES}; leave out what is not code")
    n_bytes = sum(member.file_size for member in members)
    if n_bytes > MOST_BYTES:
        raise WorkloadFailed(f"working_dir has {n_bytes} bytes: at most {MOST_BYTES}; put data on shared storage")
    for member in members:
        path = PurePosixPath(member.filename)
        mode = member.external_attr >> 16
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or "\0" in member.filename:
            raise WorkloadFailed(f"working_dir: {member.filename!r} points outside of it")
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
            raise WorkloadFailed(f"working_dir: {member.filename!r} is a link or a device: only files and folders")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as out:
        shutil.copyfileobj(source, out)
    if (member.external_attr >> 16) & stat.S_IXUSR:
        target.chmod(0o755)
