"""Files that users write: YAML or JSON text into plain documents that remember the line of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from aios.errors import InvalidSpec, Problem

Loc = tuple[str | int, ...]
_DEEPEST = 32
_MOST_VALUES = 200_000
_LARGEST_BYTES = 8 * 2**20
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_POWER = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,2}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: its value, and the line of each key and item in it."""

    value: dict[str, Any]
    file: str = ""
    lines: Mapping[Loc, int] = field(default_factory=dict)

    def line_of(self, loc: Loc) -> int | None:
        """Return the line of a path, or of the nearest thing above it that has one."""
        for end in range(len(loc), -1, -1):
            if (line := self.lines.get(loc[:end])) is not None:
                return line
        return None

    def path(self, loc: Loc) -> str:
        """Return a path as people read it: stages by their names, list items as ``[i]``."""
        parts: list[str] = []
        rest = loc
        if len(loc) >= 2 and loc[0] == "stages" and isinstance(loc[1], int):
            stages = self.value.get("stages")
            stage = stages[loc[1]] if isinstance(stages, list) and loc[1] < len(stages) else None
            name = stage.get("name") if isinstance(stage, dict) else None
            if isinstance(name, str):
                parts, rest = [name], loc[2:]
        for part in rest:
            if isinstance(part, int):
                parts.append(f"{parts.pop() if parts else ''}[{part}]")
            else:
                parts.append(part)
        return ".".join(parts)


def read_file(path: str | Path) -> list[Document]:
    """Read the documents of a file; raises InvalidSpec with the place of what is wrong."""
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InvalidSpec(f"{path}: larger than 8 MiB", hint="keep data out of workload files")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidSpec(f"{path}: no such file", hint="give the path of a YAML file") from None
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None
    return read_text(text, str(path))


def read_text(text: str, file: str = "<text>") -> list[Document]:
    """Parse YAML (JSON is YAML too) of one or more documents; empty ones are left out."""
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        documents = [_Reader(file).document(node) for node in nodes]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = error.problem or "cannot be parsed"
        hint = "check indentation, quotes and colons"
        raise InvalidSpec(f"{file}:{line}: no valid YAML: {what}", hint=hint) from None
    except (yaml.YAMLError, RecursionError, UnicodeError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise InvalidSpec(f"{file}: no valid YAML: {what}", hint="write plain UTF-8 text") from None
    documents = [document for document in documents if document is not None]
    if not documents:
        raise InvalidSpec(f"{file}: there is nothing in it", hint="write a document that begins with `kind:`")
    return [document for document in documents if document is not None]


def render(problem: Problem, documents: Sequence[Document]) -> str:
    """Return ``file:line: path: message; hint`` for a problem whose path begins with the document's number."""
    loc = problem.loc
    if not loc or not isinstance(loc[0], int) or loc[0] >= len(documents):
        place = ".".join(map(str, loc))
        return f"{place + ': ' if place else ''}{problem.message}{'; ' + problem.hint if problem.hint else ''}"
    document = documents[loc[0]]
    path = document.path(loc[1:])
    line = document.line_of(loc[1:])
    place = f"{document.file}:{line}: " if document.file and line else f"{document.file}: " if document.file else ""
    return f"{place}{path + ': ' if path else ''}{problem.message}{'; ' + problem.hint if problem.hint else ''}"


class _Reader:
    """Turns composed nodes into values and notes their lines."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Loc, int] = {}
        self._n_values = 0

    def document(self, node: yaml.Node) -> Document | None:
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return None
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, (), "a document is a mapping of `key: value` lines")
        value = self._value(node, ())
        self._lines[()] = node.start_mark.line + 1
        return Document(value, self._file, self._lines)

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self._n_values += 1
        if len(loc) > _DEEPEST:
            self._fail(node, loc[:3], f"nested deeper than {_DEEPEST} levels")
        if self._n_values > _MOST_VALUES:
            self._fail(node, loc[:3], f"more than {_MOST_VALUES} values")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            self._fail(node, loc, f"tag {node.tag[:60]} is not used here; write a plain list or mapping")
        if isinstance(node, yaml.MappingNode):
            return {key: self._value(value, (*loc, key)) for key, value in self._pairs(node, loc)}
        if isinstance(node, yaml.SequenceNode):
            items = []
            for i, item in enumerate(node.value):
                self._lines[(*loc, i)] = item.start_mark.line + 1
                items.append(self._value(item, (*loc, i)))
            return items
        return self._scalar(node, loc)

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fail(key, loc, "a key is a plain word")
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                self._fail(key, (*loc, name), f"given twice, first in line {seen[name]}; keep one of the two")
            seen[name] = line
            self._lines[(*loc, name)] = line
            yield name, value

    def _scalar(self, node: yaml.Node, loc: Loc) -> Any:
        text, tag = str(node.value), str(node.tag).removeprefix("tag:yaml.org,2002:")
        match tag:
            case "null":
                return None
            case "bool":
                return text.lower() in ("true", "yes", "on")
            case "int" if re.fullmatch(r"[-+]?[0-9]{1,30}", text):
                return int(text)
            case "float" if text.lstrip("-+").lower() in (".inf", ".nan"):
                self._fail(node, loc, f"{text} is not a finite number")
            case "float" if _FLOAT.fullmatch(text):
                return float(text)
            case "str" if getattr(node, "style", None) is None and _POWER.fullmatch(text):
                return float(text)  # 1e-3 is text in YAML 1.1, and a number to everybody else
            case "str" | "int" | "float" | "timestamp" | "value" | "merge":
                return text
        self._fail(node, loc, f"tag !{tag} is not used here; write a plain value")

    def _fail(self, node: yaml.Node, loc: Loc, message: str) -> NoReturn:
        path = Document({}, "").path(loc)
        text = f"{self._file}:{node.start_mark.line + 1}: {path + ': ' if path else ''}{message}"
        raise InvalidSpec(text, problems=(Problem(loc, message),))


def check_json(value: object, *, deepest: int = _DEEPEST, most_values: int = _MOST_VALUES) -> None:
    """Raise InvalidSpec where a parsed JSON value is too deep, too large, or has text that is no Unicode."""
    stack: list[tuple[object, int]] = [(value, 0)]
    n_values = 0
    while stack:
        item, depth = stack.pop()
        n_values += 1
        if depth > deepest:
            raise InvalidSpec(f"nested deeper than {deepest} levels", hint="flatten it")
        if n_values > most_values:
            raise InvalidSpec(f"more than {most_values} values", hint="send less at once")
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict):
            for key in item:
                _check_text(key)
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidSpec("text with a lone surrogate is no Unicode", hint="send valid UTF-8") from None
    if "\0" in text:
        raise InvalidSpec("text with a NUL character", hint="leave it out")
