"""The check of an ingest: rows are judged by the spec's rules; the verdict stops, sets rows aside, or is a warning."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.quality import rules as judged
from pipelines.ingest.quality.rules import FAILED, MOST_EXAMPLES, Tally, name_of
from pipelines.ingest.quality.spec import OF_ALL, OF_VALUES, Rule
from pipelines.ingest.rowset import Rowset, first_of_key
from pipelines.ingest.sources.errors import BadSource


@dataclass(frozen=True, slots=True)
class Finding:
    """How one demand of a rule came out; ``count`` rows failed it."""

    demand: str
    said: str
    on_fail: str
    count: int = 0
    column: str = ""
    detail: str = ""
    examples: tuple[Mapping[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        return not self.count and not self.detail

    def sentence(self) -> str:
        """Say what failed: rule, column, count and examples."""
        of = f"{self.count} rows" if self.count != 1 else "1 row"
        what = f"{self.said}: {self.detail or f'{of} fail'}"
        shown = "; ".join(", ".join(f"{k}={v}" for k, v in example.items()) for example in self.examples[:3])
        return f"{what} (such as {shown})" if shown else what


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows that may be published, those that were set aside, and what was found."""

    rows: Rowset
    findings: tuple[Finding, ...]
    n_rows: int = 0
    quarantine: Rowset | None = None
    n_quarantined: int = 0

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.ok)

    def report(self) -> dict[str, Any]:
        """Return the report that stands with the version (JSON)."""
        return {
            "rows": self.n_rows,
            "quarantined": self.n_quarantined,
            "rules": [
                {
                    "rule": one.said, "column": one.column, "on_fail": one.on_fail, "ok": one.ok, "count": one.count,
                    "detail": one.detail, "examples": [dict(example) for example in one.examples],
                }
                for one in self.findings
            ],
        }  # fmt: skip


class ChecksFailed(BadSource):
    """A rule with ``on_fail: stop`` failed; ``report`` says all that was found."""

    def __init__(self, message: str, report: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> Any:
        return type(self), (self.args[0], self.report)


@dataclass(frozen=True, slots=True)
class Checker:
    """The rules of a spec, with what they compare with.

    ``edges`` holds, by the rule's place, how an earlier version is distributed.
    """

    rules: tuple[Rule, ...]
    edges: Mapping[str, Any] = field(default_factory=dict)
    now_s: Callable[[], float] = time.time

    def check(self, rows: Rowset) -> Checked:
        """Judge rows; raises ChecksFailed where a rule says stop."""
        # 1. Flag each row, then those whose key is taken.
        schema = rows.schema()
        if schema is not None:
            judged.columns_there(schema.empty_table(), self.rules)
        flagged: Rowset = rows.map(_Flag(self.rules))
        for index, rule in enumerate(self.rules):
            if rule.key:
                flagged = flagged.by_key(rule.key, _FlagTaken(rule.key, name_of(index, "unique")))
        flagged = flagged.kept()

        # 2. Sum up.
        tallies = flagged.gather(_Tally(self.rules, dict(self.edges)))
        findings = self._findings(tallies, schema)
        n_rows = sum(part["rows"] for part in tallies)

        # 3. Decide.
        checked = Checked(flagged.map(_Kept(())), findings, n_rows)
        stopping = [finding for finding in checked.failed if finding.on_fail == "stop"]
        if stopping:
            more = f" and {len(stopping) - 3} more" if len(stopping) > 3 else ""
            raise ChecksFailed(
                f"check: {'. '.join(one.sentence() for one in stopping[:3])}{more}: nothing is published; mend the "
                "source, or write on_fail: quarantine or warn for the rule",
                checked.report(),
            )
        aside = tuple(f.demand for f in checked.failed if f.on_fail == "quarantine" and f.count)
        if not aside:
            return checked
        n_aside = sum(part["n"] for part in flagged.gather(_Count(aside)))
        return Checked(flagged.map(_Kept(aside)), findings, n_rows, flagged.map(_Aside(aside)), n_aside)

    def _findings(self, tallies: Sequence[Tally], schema: pa.Schema | None) -> tuple[Finding, ...]:
        out: list[Finding] = []
        for index, rule in enumerate(self.rules):
            for what in _demands(rule):
                finding = self._finding(index, rule, what, tallies, schema)
                out.append(finding)
        return tuple(out)

    def _finding(
        self, index: int, rule: Rule, what: str, tallies: Sequence[Tally], schema: pa.Schema | None
    ) -> Finding:
        demand = name_of(index, what)
        base = Finding(demand, _said(rule, what), rule.on_fail, column=rule.column or ", ".join(rule.key))
        n_rows = sum(part["rows"] for part in tallies)
        match what:
            case "type":
                actual = judged.wrong_type(schema, rule) if schema is not None else None
                return replace(base, detail=f"it is {actual}" if actual else "")
            case "rows":
                assert rule.rows is not None, "a rule on the number of rows"
                few = rule.rows.min is not None and n_rows < rule.rows.min
                many = rule.rows.max is not None and n_rows > rule.rows.max
                return replace(base, detail=f"there are {n_rows}" if few or many else "")
            case "nulls" if rule.nulls:
                share = sum(part["nulls"].get(str(index), 0) for part in tallies) / max(1, n_rows)
                return replace(base, detail=f"{share:.1%} are missing" if share > rule.nulls else "")
            case "fresh":
                return replace(base, detail=self._stale(index, rule, tallies))
            case "like":
                return replace(base, detail=self._shifted(index, rule, tallies))
        entries = [part["failed"][demand] for part in tallies if demand in part["failed"]]
        examples = [example for entry in entries for example in entry["examples"]][:MOST_EXAMPLES]
        return replace(base, count=sum(entry["count"] for entry in entries), examples=tuple(examples))

    def _stale(self, index: int, rule: Rule, tallies: Sequence[Tally]) -> str:
        newest = [part["newest"][str(index)] for part in tallies if part["newest"].get(str(index)) is not None]
        if not newest:
            return "there is no time at all"
        age_s = self.now_s() - max(newest)
        return f"the newest is {age_s:,.0f} s old" if rule.fresh is not None and age_s > rule.fresh else ""

    def _shifted(self, index: int, rule: Rule, tallies: Sequence[Tally]) -> str:
        assert rule.like is not None, "a rule on the distribution"
        actual = [sum(bins) for bins in zip(*(part["shares"][str(index)] for part in tallies), strict=True)]
        index_ = judged.stability(self.edges[str(index)]["expected"], actual)
        return f"the population stability index is {index_:.3f}" if index_ > rule.like.most else ""


def _demands(rule: Rule) -> list[str]:
    named = {"within": "in"}
    found = [named.get(n, n) for n in (*OF_VALUES, *OF_ALL) if getattr(rule, n) is not None]
    return [*found, "unique"] if rule.key else found


def _said(rule: Rule, what: str) -> str:
    value = {
        "nulls": lambda: "no gap" if not rule.nulls else f"at most {rule.nulls:.1%} gaps",
        "min": lambda: f"at least {rule.min}", "max": lambda: f"at most {rule.max}",
        "in": lambda: f"one of {', '.join(map(str, (rule.within or ())[:10]))}",
        "regex": lambda: f"matches {rule.regex}",
        "type": lambda: f"is {rule.type}", "fresh": lambda: f"newer than {rule.fresh:g} s",
        "like": lambda: f"like {rule.like.role if rule.like else ''}", "unique": lambda: "unique",
        "rows": lambda: f"rows {_between(rule)}",
    }[what]()  # fmt: skip
    where = f"column {rule.column!r}" if rule.column else f"key ({', '.join(rule.key)})" if rule.key else ""
    return f"{where} {value}".strip()


def _between(rule: Rule) -> str:
    assert rule.rows is not None, "a rule on the number of rows"
    low, high = rule.rows.min, rule.rows.max
    return (
        f"from {low} to {high}" if None not in (low, high) else f"at least {low}" if high is None else f"at most {high}"
    )


@dataclass(frozen=True, slots=True)
class _Flag:
    rules: tuple[Rule, ...]

    def __call__(self, table: pa.Table) -> pa.Table:
        return judged.flag(table, self.rules)


@dataclass(frozen=True, slots=True)
class _FlagTaken:
    """Flags all rows of a key but the first."""

    key: tuple[str, ...]
    demand: str

    def __call__(self, table: pa.Table) -> pa.Table:
        first = first_of_key(table.drop_columns([FAILED]), self.key)
        flags = [
            old if stays else f"{old},{self.demand}" if old else self.demand
            for old, stays in zip(table[FAILED].to_pylist(), first, strict=True)
        ]
        return table.set_column(table.column_names.index(FAILED), FAILED, pa.array(flags, pa.string()))


@dataclass(frozen=True, slots=True)
class _Tally:
    rules: tuple[Rule, ...]
    edges: Mapping[str, Any]

    def __call__(self, table: pa.Table) -> Tally:
        return judged.tally(table, self.rules, self.edges)


def _is_aside(table: pa.Table, demands: Sequence[str]) -> Any:
    mask = pa.array([False] * table.num_rows)
    for demand in demands:
        named = pc.match_substring_regex(table[FAILED], rf"(^|,){demand.replace('.', '[.]')}(,|$)")
        mask = pc.or_(mask, pc.fill_null(named, False))
    return mask


@dataclass(frozen=True, slots=True)
class _Kept:
    """Leaves out the rows that fail one of the demands, and the flags."""

    demands: tuple[str, ...]

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.filter(pc.invert(_is_aside(table, self.demands))) if self.demands else table
        return rows.drop_columns([FAILED])


@dataclass(frozen=True, slots=True)
class _Aside:
    demands: tuple[str, ...]

    def __call__(self, table: pa.Table) -> pa.Table:
        return table.filter(_is_aside(table, self.demands))


@dataclass(frozen=True, slots=True)
class _Count:
    demands: tuple[str, ...]

    def __call__(self, table: pa.Table) -> Mapping[str, Any]:
        return {"n": int(pc.sum(_is_aside(table, self.demands)).as_py() or 0)}
