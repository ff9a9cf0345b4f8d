"""Durable files: written whole or not at all, and digests of what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """Make everything below a folder durable: contents first, then names, then the folder's own name."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
    sync_folder(folder.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content, the new content, or none."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder ``path`` appear at once with what ``fill`` writes into it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    fill(part)
    sync_tree(part)
    part.replace(path)
    sync_folder(path.parent)
    return path


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(folder: Path) -> str:
    """Return ``sha256:…`` over the names and contents of all files below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{digest_of_file(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def name_by_content(folder: Path, suffix: str) -> None:
    """Rename a folder's files to ``part-00000…`` in the order of their digests: equal content gets equal names."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    for i, path in enumerate(sorted(files, key=lambda p: (digest_of_file(p), p.name))):
        path.rename(folder / f"part-{i:05d}{suffix}")
