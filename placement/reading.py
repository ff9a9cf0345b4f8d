"""A strict reader of YAML: every value knows its file, line and path, and every complaint says how to mend it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NoReturn, TypeVar

import yaml

from placement.model import parse_amount

_DEEPEST = 64
_MOST_CHARACTERS = 64_000_000
_TAG = "tag:yaml.org,2002:"
_NAME_HINT = "use 1 to 253 printable characters"
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_E = TypeVar("_E", bound=Enum)


class ScenarioError(ValueError):
    """A scenario file is wrong: where, what, and how to mend it."""

    def __init__(self, file: str, line: int | None, path: str, problem: str, hint: str = "") -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {path + ': ' if path else ''}{problem}{'; ' + hint if hint else ''}")
        self.file = file
        self.line = line
        self.path = path
        self.problem = problem
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Value:
    """One YAML value at a path such as ``nodes[2].resources.GPU``."""

    node: yaml.Node
    file: str
    path: str = ""

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        raise ScenarioError(self.file, self.node.start_mark.line + 1, self.path, problem, hint)

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self._tag == "null"

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def _tag(self) -> str:
        return str(self.node.tag).removeprefix(_TAG)

    @property
    def _shown(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return "nothing" if self.is_null else repr(_shortened(self.node.value))
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"

    def entries(self) -> dict[str, Value]:
        """Return a mapping with keys of the user's own choice, in the file's order."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"is {self._shown}, not a mapping", "write `key: value` lines or {key: value}")
        out: dict[str, Value] = {}
        for key, value in _pairs(self):
            if not isinstance(key, yaml.ScalarNode):
                Value(key, self.file, self.path).fail("a key is not a plain word")
            name = str(key.value)
            if not _is_name(name):
                Value(key, self.file, self.path).fail(f"{_shortened(name)!r} is no key", _NAME_HINT)
            if name in out:
                Value(key, self.file, _join(self.path, name)).fail("is given twice", "keep one of the two")
            out[name] = Value(value, self.file, _join(self.path, name))
        return out

    def fields(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, Value]:
        """Return a mapping whose keys are all ``known``; empty ones count as left out."""
        entries = self.entries()
        for name, value in entries.items():
            if name not in known:
                value.fail("unknown key", suggestion(name, known))
        given = {name: value for name, value in entries.items() if not value.is_null}
        for name in required:
            if name not in given:
                self.fail(f"has no {name!r}", f"add `{name}: ...`")
        return given

    def items(self) -> Iterator[Value]:
        """Yield the values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"is {self._shown}, not a list", "write `- ...` lines or [...]")
        for idx, item in enumerate(self.node.value):
            yield Value(item, self.file, f"{self.path}[{idx}]")

    def text(self) -> str:
        """Return a word: not empty, printable; numbers are taken as they are written."""
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null:
            self.fail(f"is {self._shown}, not a word")
        word = str(self.node.value)
        if self._tag == "bool":
            self.fail(f"{word!r} means true or false in YAML", f"put it in quotes: '{word}'")
        if not _is_name(word):
            self.fail(f"{_shortened(word)!r} is no name", _NAME_HINT)
        return word

    def flag(self) -> bool:
        if self._tag != "bool" or not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"is {self._shown}", "write true or false")
        return bool(yaml.SafeLoader("").construct_yaml_bool(self.node))

    def choice(self, kind: type[_E]) -> _E:
        """Return the member of an enum that is written by its value."""
        names = [str(member.value) for member in kind]
        word = str(self.node.value) if isinstance(self.node, yaml.ScalarNode) else ""
        if word not in names:
            self.fail(f"is {self._shown}", suggestion(word, names, "one of"))
        return kind(word)

    def scalar(self) -> object:
        """Return a number as a number and anything else as its text, for parsers of amounts."""
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null:
            self.fail(f"is {self._shown}, not an amount", "write a number such as 2 or 0.5")
        build = yaml.SafeLoader("")
        try:
            if self._tag == "int":
                return int(build.construct_yaml_int(self.node))
            if self._tag == "float":
                return float(build.construct_yaml_float(self.node))
            if self._tag == "bool":
                return bool(build.construct_yaml_bool(self.node))
        except (ValueError, OverflowError):
            self.fail(f"is {self._shown}, not a number")
        return str(self.node.value)

    def amounts(self) -> dict[str, int]:
        """Return a mapping of resource names to integer amounts; zeros stay."""
        out: dict[str, int] = {}
        for name, item in self.entries().items():
            try:
                out[name] = parse_amount(name, item.scalar())
            except ScenarioError:
                raise
            except ValueError as error:
                item.fail(str(error).removeprefix(f"{name}: "))
        return out

    def integer(self, low: int, high: int) -> int:
        number = self.scalar()
        if isinstance(number, bool) or not isinstance(number, int):
            self.fail(f"is {self._shown}, not a whole number")
        if not low <= number <= high:
            self.fail(f"is {_shortened(str(number))}, must be {low} to {high}")
        return number

    def number(self, low: float = -1e15, high: float = 1e15) -> float:
        number = self.scalar()
        if isinstance(number, str) and _FLOAT.fullmatch(number):
            number = float(number)
        if isinstance(number, (bool, str)) or not isinstance(number, (int, float)):
            self.fail(f"is {self._shown}, not a number")
        if not math.isfinite(number) or not low <= number <= high:
            self.fail(f"is {_shortened(str(number))}, must be a number from {low:g} to {high:g}")
        return float(number)


def read(text: str, file: str) -> Value:
    """Return the one document of a YAML text.

    Raises
    ------
    ScenarioError
        The text is no YAML, holds no or several documents, or is nested beyond all reason.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ScenarioError(file, None, "", f"has {len(text):,} characters, at most {_MOST_CHARACTERS:,} are read")
    try:
        _refuse_deep_nesting(text, file)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ScenarioError(
            file,
            None if mark is None else mark.line + 1,
            "",
            f"is no YAML: {error.problem or error.context}",
            "check the indentation, the brackets and the quotes there",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ScenarioError(file, None, "", f"is no YAML: {' '.join(str(error).split())}") from None
    if root is None:
        raise ScenarioError(file, None, "", "is empty", "a scenario has at least `tenants:`")
    return Value(root, file)


def suggestion(word: str, known: Collection[str], lead: str = "known are") -> str:
    """Return ``did you mean`` for a near miss, else the list of what is known."""
    near = difflib.get_close_matches(word, list(islice(known, 2000)), n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = sorted(known)
    return f"{lead} {', '.join(shown[:20])}{', ...' if len(shown) > 20 else ''}" if shown else "none is known here"


def _refuse_deep_nesting(text: str, file: str) -> None:
    # The C composer recurses on the C stack: deep nesting would end the process instead of raising.
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark is not None else None
                raise ScenarioError(file, line, "", f"is nested more than {_DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _pairs(value: Value) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    for key, item in value.node.value:
        if key.tag == f"{_TAG}merge":
            Value(key, value.file, value.path).fail("merge keys (<<) are not read", "write the keys out")
        yield key, item


def _is_name(word: str) -> bool:
    return 0 < len(word) <= 253 and word.isprintable()


def _join(path: str, name: str) -> str:
    return f"{path}.{_shortened(name)}" if path else _shortened(name)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
