"""What a client is given to submit: files, documents and descriptions, with their places and their packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from aios.documents import Document, read_file, render
from aios.errors import AiosError, InvalidSpec, NotFound
from aios.packages import Package, pack


class Describes(Protocol):
    """Anything that can say what is to be run, such as ``aios.Pipeline``."""

    def to_dict(self) -> dict[str, Any]: ...


Source = str | Path | Mapping[str, Any] | Describes | Iterable[Any]
"""A file, a document, something that describes one, or several of them."""


class Documents(tuple[Document, ...]):
    """Documents that were read already, with their places."""


def documents_of(source: Source) -> list[Document]:
    """Return the documents of a file, a mapping, a description, or several of them."""
    if isinstance(source, Documents):
        return list(source)
    if isinstance(source, (str, Path)):
        return read_file(source)
    if isinstance(source, Mapping):
        return [Document(dict(source))]
    if hasattr(source, "to_dict"):
        return [Document(cast(Describes, source).to_dict())]
    if isinstance(source, Iterable):
        return [document for one in source for document in documents_of(cast(Source, one))]
    raise InvalidSpec(f"cannot submit a {type(source).__name__}", hint="give a file, a dict, a Pipeline or a list")


def text_of(path: str | Path) -> str:
    """Return a file's text; raises InvalidSpec."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None


def with_packages(documents: Iterable[Document]) -> tuple[list[Document], list[Package]]:
    """Return the documents with their local folders named as packages, and these packages."""
    packages: dict[Path, Package] = {}

    def packaged(value: Any, base: Path) -> Any:
        folder = value.get("working_dir") if isinstance(value, dict) else None
        if not isinstance(folder, str) or "://" in folder:
            return value
        path = base / folder
        if path not in packages:
            packages[path] = pack(path)
        return {**value, "working_dir": packages[path].uri}

    ready = []
    for document in documents:
        base = Path(document.file).parent if document.file else Path()
        value = dict(document.value)
        if isinstance(value.get("stages"), list):
            value["stages"] = [packaged(stage, base) for stage in value["stages"]]
        ready.append(Document(packaged(value, base), document.file, document.lines))
    return ready, list(packages.values())


def located(error: AiosError, documents: list[Document]) -> AiosError:
    """Return the error with every problem's file, line and path in its message."""
    if not error.problems or not error.problems[0].loc:
        return error
    text = "\n".join(render(problem, documents) for problem in error.problems)
    hint = "" if any(problem.hint for problem in error.problems) else error.hint
    return type(error)(text, hint=hint, problems=error.problems)


def checked(ref: str) -> str:
    if not ref or not ref.isascii() or any(c in "/?#%\\ \n\r\t" for c in ref) or ref in (".", ".."):
        raise NotFound(f"there is no workload {ref[:63]!r}", hint="list them: aios ps -a")
    return ref
