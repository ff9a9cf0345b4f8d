"""A working directory as a package: a zip that is the same bytes for the same files, named by its SHA-256."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aios.errors import InvalidSpec

SCHEME = "package://"
LARGEST = 100 * 2**20
_ALWAYS = (
    ".git/", ".hg/", ".svn/", ".venv/", "venv/", "__pycache__/", "*.pyc", "*.egg-info/", ".mypy_cache/",
    ".pytest_cache/", ".ruff_cache/", ".hypothesis/", ".ipynb_checkpoints/", "node_modules/",
    "build/", "dist/", ".tox/", ".nox/", ".DS_Store",
)  # fmt: skip
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Package:
    digest: str
    content: bytes
    n_files: int

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.digest}"


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: str
    folders_only: bool
    anchored: bool
    again: bool  # begins with `!`: taken in after all

    @classmethod
    def parse(cls, line: str) -> _Rule:
        again = line.startswith("!")
        body = line.removeprefix("!")
        pattern = body.rstrip("/")
        return cls(pattern.lstrip("/"), body.endswith("/"), "/" in pattern, again)

    def fits(self, path: str, is_folder: bool) -> bool:
        if self.folders_only and not is_folder:
            return False
        if self.anchored:
            return fnmatch.fnmatchcase(path, self.pattern)
        return fnmatch.fnmatchcase(path.rpartition("/")[2], self.pattern)


def pack(folder: Path, largest: int = LARGEST) -> Package:
    """Zip a folder without caches, environments, builds and what its ``.gitignore`` names (``!build/`` takes it in).

    Raises
    ------
    InvalidSpec
        There is no such folder, or it holds more than ``largest`` bytes; then it names the largest files.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise InvalidSpec(f"working_dir: {folder} is no folder", hint="give the folder that holds the script")
    files = sorted(_files(folder.resolve()))
    sizes = {name: path.stat().st_size for name, path in files}
    if sum(sizes.values()) > largest:
        biggest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        named = ", ".join(f"{name} ({sizes[name] / 2**20:.0f} MiB)" for name in biggest)
        raise InvalidSpec(
            f"working_dir: {folder} holds {sum(sizes.values()) / 2**20:.0f} MiB, more than {largest / 2**20:.0f} MiB",
            hint=f"name data in .gitignore or keep it elsewhere; the largest are {named}",
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in files:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (0o755 if os.access(path, os.X_OK) else 0o644) << 16
            archive.writestr(info, path.read_bytes())
    content = buffer.getvalue()
    return Package(hashlib.sha256(content).hexdigest(), content, len(files))


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    rules = [_Rule.parse(line) for line in (*_ALWAYS, *_ignored(root))]
    for here, folders, files in os.walk(root):
        base = Path(here).relative_to(root).as_posix()
        prefix = "" if base == "." else f"{base}/"
        folders[:] = sorted(name for name in folders if not _left_out(rules, prefix + name, True))
        for name in files:
            path = Path(here, name)
            if not _left_out(rules, prefix + name, False) and path.is_file():
                yield prefix + name, path


def _left_out(rules: Sequence[_Rule], path: str, is_folder: bool) -> bool:
    out = False
    for rule in rules:
        if rule.fits(path, is_folder):
            out = not rule.again
    return out


def _ignored(root: Path) -> list[str]:
    try:
        lines = (root / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
