"""``aios data`` and ``aios lineage`` over real tables: what a user sees of versions, and what stays of erased rows."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from aios.client import Client
from pipelines.data.address import Address
from pipelines.data.fingerprint import content_hash
from pipelines.data.lance_table import LanceTable
from pipelines.data.manifest import MANIFEST
from pipelines.data.table import Commit, Write
from tests.cli.conftest import Aios
from tests.support.plane import Served

SECRET = "".join(f"{i * 7919 % 65521:05x}" for i in range(60))


class People:
    """A dataset of people, version by version."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.table, self.client = LanceTable(str(folder / "people.lance")), client
        self.last: Commit | None = None
        self.newest: str | None = None

    def publish(self, ids: range, name: str = "people", **columns: object) -> None:
        """Append people (the first ones make the table) and publish them."""
        note = [SECRET if i == 17 else f"plain {i}" for i in ids]
        rows = pa.table({"id": list(ids), "age": [20.0 + i % 50 for i in ids], "note": note, **columns})
        base = None if self.last is None else self.last.version
        meta = {"total_rows": 0, "source": {"path": "/data/people.csv"} if base is None else {"path": "/data/more.csv"}}
        done = self.table.write(rows, Write("append", base, {MANIFEST: json.dumps({"features": ["age"]})}))
        meta["total_rows"] = done.fingerprint.rows
        made = self.client.catalogue.publish({
            "name": name, "uri": str(Address("lance", self.table.location, done.version)), "meta": meta,
            "digest": content_hash(done.fingerprint, done.schema), "origin": self.newest,
        })  # fmt: skip
        self.table.protect(f"w.{made.version}", done.version)
        self.last, self.newest = done, made.reference


@pytest.fixture
def people(plane: Served, tmp_path: Path) -> People:
    """People 0 to 99 as version 1, and 100 to 149 more as version 2."""
    people = People(tmp_path, plane.client())
    people.publish(range(100))
    people.publish(range(100, 150))
    return people


def test_versions_are_listed_and_shown_with_what_they_hold(aios: Aios, people: People) -> None:
    assert aios("data", "list").out.splitlines()[1].split()[:4] == ["people", "2", "2", "150"]
    shown = aios("data", "show", "people@1", "--statistics")
    assert "content    rows:" in shown.out
    age = next(line for line in shown.out.splitlines() if line.startswith("age "))
    assert age.split()[1:6] == ["double", "100", "0", "20", "69"]
    assert aios("data", "show", "people@1", "-o", "json").json["reference"] == "dataset://people@1"


def test_a_version_that_is_not_there_is_answered_by_those_that_are(aios: Aios, people: People) -> None:
    ran = aios("data", "show", "people@9")
    assert ran.code == 102
    assert "versions: 1, 2" in ran.err
    assert "'people'" in aios("data", "show", "poeple").err


def test_tags_and_moments_name_versions(aios: Aios, people: People) -> None:
    assert aios("data", "tag", "people@1", "prod").code == 0
    assert "rows       100" in aios("data", "show", "people@prod").out
    assert "rows       150" in aios("data", "show", "people@2999-01-01T00:00+02:00").out
    assert aios("data", "show", "people@1969-12-31").code == 102
    assert aios("data", "tag", "people@1", "7").code == 2
    assert aios("data", "tag", "people@1", "prod", "--delete").code == 0
    assert aios("data", "show", "people@prod").code == 102


def test_diff_tells_rows_columns_and_drift(aios: Aios, people: People) -> None:
    people.publish(range(200, 300), city=["Uppsala"] * 100)
    ran = aios("data", "diff", "people@1", "people@3")
    assert "rows     100 -> 250 (+150)" in ran.out
    assert "added    city" in ran.out
    found = aios("data", "diff", "people@1", "people@2", "-o", "json").json
    assert found["drift"]["id"]["verdict"] == "shifted"
    assert found["drift"]["age"]["verdict"] == "stable"


def test_a_sample_is_the_same_for_the_same_seed_and_heeds_conditions(aios: Aios, people: People) -> None:
    one, two = (aios("data", "sample", "people", "-n", "5", "-o", "json").json["rows"] for _ in range(2))
    assert one == two != aios("data", "sample", "people", "-n", "5", "--seed", "1", "-o", "json").json["rows"]
    only = aios("data", "sample", "people", "--where", "id=17", "-o", "json").json["rows"]
    assert [row["id"] for row in only] == [17]
    wrong = aios("data", "sample", "people", "--where", "id=x")
    assert wrong.code == 104
    assert "'x' is no int64, as column 'id' is" in wrong.err


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_export_writes_the_rows_of_the_version(aios: Aios, people: People, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    assert "100 rows of dataset://people@1" in aios("data", "export", "people@1", str(path)).out
    if ending == "parquet":
        assert pyarrow.parquet.read_table(path).num_rows == 100
    else:
        assert len(path.read_text().splitlines()) == (101 if ending == "csv" else 100)


def test_export_to_an_unknown_format_leaves_nothing(aios: Aios, people: People, tmp_path: Path) -> None:
    ran = aios("data", "export", "people", str(tmp_path / "out.xls"))
    assert ran.code == 104
    assert not list(tmp_path.glob("*.xls*"))


def test_verify_finds_rows_that_were_changed_by_other_means(aios: Aios, people: People, plane: Served) -> None:
    assert "as they were published" in aios("data", "verify", "people@1").out
    other = people.table.delete([("id", "=", 3)], Write("delete", people.last.version if people.last else 0))
    digest = plane.client().catalogue.version("people@2").digest
    uri = str(Address("lance", people.table.location, other.version))
    plane.client().catalogue.publish({"name": "people", "uri": uri, "digest": digest})
    ran = aios("data", "verify", "people@3")
    assert ran.code == 104
    assert "was published as" in ran.err


def test_rollback_publishes_an_earlier_version_again(aios: Aios, people: People) -> None:
    assert "dataset://people@3 has the rows of dataset://people@1" in aios("data", "rollback", "people@1").out
    assert "rows       100" in aios("data", "show", "people").out


def test_lineage_goes_back_to_what_a_version_was_built_on_and_forward(aios: Aios, people: People) -> None:
    assert "became\n  dataset://people@2" in aios("lineage", "people@1").out
    aios("data", "rollback", "people@1")
    backward = aios("data", "lineage", "people@3", "-o", "json").json
    assert ["dataset://people@1", "dataset://people@3"] in backward["edges"]
    assert not [node for node in backward["nodes"] if node["type"] == "source"], "what is published by hand read none"
    assert aios("lineage", "nobody").code == 102


def test_gc_says_what_would_go_then_takes_it_and_keeps_what_is_tagged(aios: Aios, people: People) -> None:
    people.publish(range(150, 160))
    aios("data", "tag", "people@1", "prod")
    assert "people@2 would go (add --apply)" in aios("data", "gc", "people", "--keep", "1").out
    assert "people@2 are gone" in aios("data", "gc", "people", "--keep", "1", "--apply").out
    assert aios("data", "sample", "people@prod", "-n", "1").code == 0
    gone = aios("data", "sample", "people@2", "-n", "1")
    assert gone.code == 102
    assert "taken out of use: 2" in gone.err
    assert "no version would go" in aios("data", "gc", "people", "--keep", "1").out


def test_an_erased_subject_is_in_no_version_and_in_no_byte(aios: Aios, people: People) -> None:
    assert people.table.count(1) == 100
    piece = SECRET[:24]
    ran = aios("data", "erase", "people", "--where", "id=17", "--past", "--show-gone", piece)
    assert ran.code == 0, ran.err
    assert "dataset://people@3: 1 rows erased" in ran.out
    assert "out of use: people@1, people@2" in ran.out
    assert f"'{piece}' is in no file of the table" in ran.out
    assert "rows       149" in aios("data", "show", "people").out
    assert "as they were published" in aios("data", "verify", "people").out
    files = [path for path in Path(people.table.location).rglob("*") if path.is_file()]
    assert files
    assert not any(piece.encode() in path.read_bytes() for path in files)


def test_erasing_says_what_still_holds_the_rows(aios: Aios, people: People) -> None:
    ran = aios("data", "erase", "people", "--where", "id=17")
    assert "earlier versions still hold the rows: add --past" in ran.err
    aios("data", "tag", "people@1", "prod")
    refused = aios("data", "erase", "people", "--where", "id=18", "--past")
    assert refused.code == 104
    assert "people@1 has the tag 'prod'" in refused.err


def test_a_table_that_is_not_on_this_machine_is_said_so(aios: Aios, plane: Served) -> None:
    plane.client().catalogue.publish({"name": "far", "uri": "lance:/nowhere/far/table.lance#3"})
    ran = aios("data", "sample", "far")
    assert ran.code == 104
    assert "is not on this machine" in ran.err


def test_profile_writes_a_page(aios: Aios, people: People, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert aios("data", "profile", "people@1", "--to", str(path)).code == 0
    page = path.read_text(encoding="utf-8")
    assert "dataset://people@1" in page
    assert "age" in page
