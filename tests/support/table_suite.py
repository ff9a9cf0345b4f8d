"""What every table format must do, whatever its library does by itself: the contract of ``pipelines.data.table``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from pipelines.data.fingerprint import fingerprint
from pipelines.data.table import Commit, Table, TableError, Write, fingerprint_of


def rows(ids: Sequence[int], **columns: Any) -> pa.Table:
    names = pa.array([f"subject-{i}" for i in ids])
    return pa.table({"id": pa.array(ids, pa.int64()), "name": names, **columns})


def everything(table: Table, version: int) -> pa.Table:
    found = pa.Table.from_batches(list(table.scan(version)), schema=table.schema(version))
    return found.sort_by("id") if found.num_rows else found


def ids(table: Table, version: int) -> list[int]:
    return everything(table, version)["id"].to_pylist()


class Dead(Exception):
    """The writer was killed, or fenced off, right before its commit."""


def dies() -> None:
    raise Dead


class TableSuite:
    """Subclass with a fixture ``table``: a table at a place where there is none yet."""

    @pytest.fixture
    def table(self, tmp_path: Path) -> Table:
        pytest.fail("a suite of tables needs a fixture of its own that gives one")

    @pytest.fixture
    def first(self, table: Table) -> Commit:
        return table.write(rows([1, 2, 3]), Write("overwrite", properties={"made": "first"}))

    def test_a_table_that_was_never_written_has_no_versions(self, table: Table) -> None:
        assert table.versions() == ()
        assert table.protected() == {}

    def test_what_was_written_is_read_back_with_its_properties(self, table: Table, first: Commit) -> None:
        assert everything(table, first.version) == rows([1, 2, 3])
        assert table.properties(first.version)["made"] == "first"
        assert table.count(first.version) == 3
        assert fingerprint_of(table, first.version) == fingerprint(rows([1, 2, 3])) == first.fingerprint

    def test_an_append_leaves_the_earlier_version_as_it_was(self, table: Table, first: Commit) -> None:
        second = table.write(rows([4, 5]), Write("append", first.version))
        assert ids(table, second.version) == [1, 2, 3, 4, 5]
        assert ids(table, first.version) == [1, 2, 3]
        assert second.fingerprint == fingerprint(rows([1, 2, 3, 4, 5]))

    def test_an_overwrite_may_change_the_schema(self, table: Table, first: Commit) -> None:
        second = table.write(pa.table({"id": [7], "other": [0.5]}), Write("overwrite", first.version))
        assert table.schema(second.version).names == ["id", "other"]
        assert ids(table, first.version) == [1, 2, 3]

    def test_an_upsert_replaces_rows_by_key_and_adds_new_ones(self, table: Table, first: Commit) -> None:
        new = pa.table({"id": [2, 9], "name": ["renamed", "new"]})
        second = table.write(new, Write("upsert", first.version, {"made": "second"}, key=("id",)))
        after = everything(table, second.version)
        assert after.to_pydict() == {"id": [1, 2, 3, 9], "name": ["subject-1", "renamed", "subject-3", "new"]}
        assert second.fingerprint == fingerprint(after)
        assert table.properties(second.version)["made"] == "second"

    def test_an_insert_takes_only_rows_whose_key_is_not_there(self, table: Table, first: Commit) -> None:
        second = table.write(rows([2, 4]), Write("insert", first.version, {"offset": "2"}, key=("id",)))
        third = table.write(rows([1, 4]), Write("insert", second.version, {"offset": "4"}, key=("id",)))
        assert ids(table, second.version) == ids(table, third.version) == [1, 2, 3, 4]
        assert table.properties(third.version)["offset"] == "4"
        assert third.fingerprint == fingerprint(rows([1, 2, 3, 4]))

    def test_rows_are_deleted_by_key(self, table: Table, first: Commit) -> None:
        second = table.write(rows([1, 3, 99]), Write("delete", first.version, key=("id",)))
        assert ids(table, second.version) == [2]
        assert second.fingerprint == fingerprint(rows([2]))

    def test_rows_are_deleted_by_condition(self, table: Table, first: Commit) -> None:
        second = table.delete([("name", "=", "subject-2")], Write("delete", first.version))
        assert ids(table, second.version) == [1, 3]
        assert second.fingerprint == fingerprint(rows([1, 3]))
        assert ids(table, first.version) == [1, 2, 3]

    @pytest.mark.parametrize("mode", ["append", "upsert"])
    def test_what_a_dead_attempt_committed_is_stepped_over(self, table: Table, first: Commit, mode: Any) -> None:
        table.write(rows([66]), Write("append", first.version, {"attempt": "never published"}))
        retried = table.write(rows([4]), Write(mode, first.version, key=("id",)))
        assert ids(table, retried.version) == [1, 2, 3, 4]

    def test_a_writer_that_is_fenced_off_before_its_commit_leaves_no_version(self, table: Table, first: Commit) -> None:
        before = table.versions()
        with pytest.raises(Dead):
            table.write(rows([4]), Write("append", first.version, guard=dies))
        assert table.versions() == before

    def test_two_writers_at_once_each_end_with_their_own_rows_on_their_base(self, table: Table, first: Commit) -> None:
        done: dict[int, Commit] = {}

        def append(i: int) -> None:
            done[i] = table.write(rows([i]), Write("append", first.version))

        writers = [Thread(target=append, args=(i,)) for i in (10, 11, 12, 13)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert {i: ids(table, commit.version) for i, commit in done.items()} == {
            i: [1, 2, 3, i] for i in (10, 11, 12, 13)
        }

    def test_an_append_fills_missing_columns_and_brings_new_ones(self, table: Table, first: Commit) -> None:
        new = pa.table({"id": pa.array([4], pa.int32()), "age": [31]})
        second = table.write(new, Write("append", first.version))
        after = everything(table, second.version).to_pydict()
        assert after == {
            "id": [1, 2, 3, 4],
            "name": [*rows([1, 2, 3])["name"].to_pylist(), None],
            "age": [None] * 3 + [31],
        }
        assert second.fingerprint == fingerprint(everything(table, second.version))

    def test_an_append_of_another_type_is_refused_by_the_column_s_name(self, table: Table, first: Commit) -> None:
        with pytest.raises(TableError, match="'id' is string, and int64 in the dataset"):
            table.write(pa.table({"id": ["x"]}), Write("append", first.version))
        assert ids(table, first.version) == [1, 2, 3]

    @pytest.mark.parametrize(
        "new, message",
        [
            (rows([4, 4]), "more than one new row"),
            (pa.table({"id": pa.array([None], pa.int64())}), "no value"),
            (pa.table({"name": ["x"]}), "'id' is missing"),
        ],
    )
    def test_an_upsert_without_a_sound_key_is_refused(
        self, table: Table, first: Commit, new: pa.Table, message: str
    ) -> None:
        with pytest.raises(TableError, match=message):
            table.write(new, Write("upsert", first.version, key=("id",)))

    def test_no_rows_are_no_version(self, table: Table) -> None:
        with pytest.raises(TableError, match="no rows"):
            table.write(rows([]), Write("overwrite"))
        assert table.versions() == ()

    @pytest.mark.parametrize(
        "where, expected",
        [
            ([("id", ">", 1)], [2, 3]),
            ([("name", "in", ["subject-1", "x"])], [1]),
            ([("id", "!=", 2), ("id", "<=", 2)], [1]),
        ],
    )
    def test_conditions_choose_rows(self, table: Table, first: Commit, where: Any, expected: list[int]) -> None:
        found = [i for batch in table.scan(first.version, ["id"], where) for i in batch["id"].to_pylist()]
        assert sorted(found) == expected
        assert table.count(first.version, where) == len(expected)

    def test_rows_are_taken_by_position(self, table: Table, first: Commit) -> None:
        whole = pa.Table.from_batches(list(table.scan(first.version)))
        assert table.take(first.version, [2, 0], ["id"])["id"].to_pylist() == whole["id"].take([2, 0]).to_pylist()

    def test_only_protected_versions_and_the_newest_outlive_a_clean_up(self, table: Table, first: Commit) -> None:
        second = table.write(rows([4]), Write("append", first.version))
        third = table.write(rows([5]), Write("append", second.version))
        table.protect("kept", second.version)
        assert table.protected() == {"kept": second.version}
        table.collect()
        assert ids(table, second.version) == [1, 2, 3, 4]
        assert ids(table, third.version) == [1, 2, 3, 4, 5]
        table.release("kept")
        assert table.protected() == {}

    def test_what_was_deleted_is_gone_from_the_disk_after_compaction_and_clean_up(
        self, table: Table, tmp_path: Path
    ) -> None:
        secret = "".join(f"{i * 7919 % 65521:05x}" for i in range(80))
        data = rows(range(200), payload=pa.array([secret if i == 17 else f"plain-{i}" for i in range(200)]))
        first = table.write(data, Write("overwrite"))
        assert on_disk(tmp_path, secret)
        second = table.delete([("id", "=", 17)], Write("delete", first.version))
        third = table.compact(Write("append", second.version))
        table.collect(leftovers=True)
        assert not on_disk(tmp_path, secret)
        assert third.fingerprint == second.fingerprint == fingerprint_of(table, third.version)
        assert table.count(third.version) == 199
        with pytest.raises(TableError, match="collected or erased"):
            table.count(first.version)


def on_disk(folder: Path, text: str) -> bool:
    """Return whether a piece of a text that no compression shortens away is in any file."""
    pieces = [text[at : at + 24].encode() for at in range(0, len(text) - 24, 24)]
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return any(piece in content for content in contents for piece in pieces)
