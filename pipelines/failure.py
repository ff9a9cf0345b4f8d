"""What an exception of the user's code says to its author: their own line first, their own frames behind it."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ray.exceptions import RayTaskError

FRAME = re.compile(r'File "([^"]+)", line (\d+)')
COLOR = re.compile(r"\x1b\[[0-9;]*m")
_PATHS = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
_FOREIGN = ("<frozen", str(Path(__file__).parent), *_PATHS)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code and, where it failed, a sentence and the user's frames."""

    code: int
    message: str = ""
    detail: str = ""
    interrupted: bool = False


def describe(error: BaseException, folder: Path, remote: str = "") -> Ended:
    """Return ``file:line: Type: message``, from the deepest frame that is the user's, in whatever process it was.

    ``remote`` is the traceback as text where the error comes from another process.
    """
    cause = getattr(error, "cause", None)
    remote = remote or (str(error) if isinstance(error, RayTaskError) else "")
    root = cause if isinstance(cause, BaseException) else error
    frames = [(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(root, SyntaxError) and root.filename:
        frames.append((root.filename, root.lineno or 0, ""))
    users = [frame for frame in frames if is_users(frame[0])]
    there = [(name, int(line)) for name, line in FRAME.findall(remote) if is_users(name)]
    place = there[-1] if there else users[-1][:2] if users else None
    what = f"{type(root).__name__}: {_one_line(root)}".rstrip(": ")
    message = f"{_shown(place[0], folder)}:{place[1]}: {what}" if place else what
    return Ended(1, message, "\n".join(_lines(users, remote, folder)))


def is_users(filename: str) -> bool:
    """Return whether a file is neither Python's, nor installed, nor this engine's."""
    return not filename.startswith(_FOREIGN)


def _lines(users: Iterable[tuple[str, int, str]], remote: str, folder: Path) -> Iterable[str]:
    for filename, line, name in users:
        yield f"{_shown(filename, folder)}:{line} in {name}" if name else f"{_shown(filename, folder)}:{line}"
    if remote:
        yield COLOR.sub("", remote).strip()


def _shown(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else filename


def _one_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else ""
