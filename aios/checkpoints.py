"""Checkpoints that can be trusted: sealed by a digest when written, checked before anything continues from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SEAL = ".aios-digest"
"""In a checkpoint's folder; written last, with the digest of everything else there."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Begin:
    """Where an attempt begins: a checkpoint and its step, and why it is not the latest one; empty: anew."""

    checkpoint: str = ""
    step: int = 0
    why: str = ""


def seal(folder: Path) -> None:
    """Write a folder's digest into it, durable; what is changed afterwards is noticed."""
    part = folder / f"{SEAL}.part"
    with part.open("w", encoding="ascii") as file:
        file.write(_digest(folder))
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / SEAL)


def damage(checkpoint: str) -> str:
    """Return why a checkpoint cannot be used; empty where it can, as far as its seal tells.

    One without a seal is taken as it is: what it holds is its author's affair.
    """
    path = Path(checkpoint)
    if not path.exists():
        return "it is gone"
    if not path.is_dir():
        return ""
    try:
        written = (path / SEAL).read_text(encoding="ascii")
    except FileNotFoundError:
        return "" if any(path.iterdir()) else "it is empty"
    except (OSError, UnicodeDecodeError) as error:
        return f"its seal cannot be read: {error}"
    try:
        return "" if _digest(path) == written else "it is torn: its content is not what was sealed"
    except OSError as error:
        return f"it cannot be read: {error}"


def where_to_begin(candidates: Sequence[tuple[str, int]]) -> Begin:
    """Return the first usable of several checkpoints, the latest first, and say what was wrong with those before it."""
    wrong: list[str] = []
    for checkpoint, step in candidates:
        if not checkpoint:
            continue
        why = damage(checkpoint)
        if not why:
            return Begin(checkpoint, step, "; ".join(wrong))
        wrong.append(f"the checkpoint of step {step} cannot be used: {why} ({checkpoint})")
    return Begin(why="; ".join(wrong))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(SEAL):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()
