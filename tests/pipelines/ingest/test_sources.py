"""Databases, the internet, generators and secrets: what is read, what is refused, and what is never said."""

from __future__ import annotations

import datetime as dt
import http.server
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.ingest.collecting import packed, unpacked
from pipelines.ingest.sources import sql
from pipelines.ingest.sources.allowed import Allowed
from pipelines.ingest.sources.errors import BadSource
from pipelines.ingest.sources.generators import generated, host_samples
from pipelines.ingest.sources.secret import secret, without
from pipelines.ingest.sources.spec import SourceSpec
from tests.pipelines.ingest.reading import ANYWHERE, table


@pytest.fixture
def clinic(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "clinic.db") as made:
        made.execute("create table visits (id integer, name text, at timestamp, weight real, empty text)")
        rows = [(i, f"p{i}", f"2026-11-{1 + i % 20:02d} 10:00:00", None if i == 3 else i / 4, None) for i in range(100)]
        made.executemany("insert into visits values (?, ?, ?, ?, ?)", rows)
    made.close()
    return f"sqlite:///{tmp_path / 'clinic.db'}"


def records(url: str, after: Any = None, keyed: bool = False, **settings: Any) -> tuple[pa.Table | None, Any]:
    table = {} if "query" in settings else {"table": "visits"}
    source = SourceSpec.model_validate({"sql": {"url": url, **table, **settings}})
    found = sql.look(source, ANYWHERE, after, keyed)
    if found is None:
        return None, after
    read = sql.ReadRanges(source, found, ANYWHERE)
    tables = [t for i in range(len(found.ranges)) for t in read({"part": [i]})]
    return pa.concat_tables(tables), found.window.upto if found.window else None


@pytest.mark.parametrize("parts", [1, 7])
def test_a_table_is_read_whole_in_any_number_of_ranges(clinic: str, parts: int) -> None:
    rows, _ = records(clinic, partition="id", parts=parts)
    assert rows is not None
    assert sorted(rows["id"].to_pylist()) == list(range(100))
    assert rows.schema.field("weight").type == pa.float64()
    assert rows.schema.field("empty").type == pa.string()


def test_only_what_is_newer_than_the_watermark_is_read_again(clinic: str, tmp_path: Path) -> None:
    rows, mark = records(clinic, watermark="id")
    assert rows is not None
    assert mark == 99
    assert records(clinic, after=mark, watermark="id")[0] is None
    with sqlite3.connect(tmp_path / "clinic.db") as made:
        made.execute("insert into visits values (100, 'new', '2026-12-01 10:00:00', 1.0, null)")
    made.close()
    new, mark = records(clinic, after=mark, watermark="id")
    assert new is not None
    assert new["id"].to_pylist() == [100]
    again, _ = records(clinic, after=99, keyed=True, watermark="id")
    assert again is not None
    assert again["id"].to_pylist() == [99, 100]


def test_a_query_with_colons_is_taken_as_it_stands(clinic: str) -> None:
    rows, _ = records(clinic, query="select id, ':x' as tag from visits where at >= '2026-11-20 00:00:00'")
    assert rows is not None
    assert set(rows["tag"].to_pylist()) == {":x"}


WRONG = [
    ({"table": "no_table"}, "cannot be read: no such table"),
    ({"partition": "nothing", "parts": 2}, "no column 'nothing': the columns are id, name"),
    ({"partition": "name", "parts": 2}, "name a column of whole numbers or times"),
    ({"url": "sqlite:////nowhere/at/all.db"}, "no such file on this node"),
    ({"url": "nonsense://host/db"}, "nonsense"),
]


@pytest.mark.parametrize("settings, said", WRONG)
def test_what_is_wrong_with_a_database_is_said(clinic: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSource, match=said):
        records(**{"url": clinic, **settings})


def test_a_table_without_rows_is_an_error_and_a_database_is_only_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "e.db") as made:
        made.execute("create table visits (id integer)")
    made.close()
    with pytest.raises(BadSource, match="has no rows"):
        records(f"sqlite:///{tmp_path / 'e.db'}")


def test_a_wrong_password_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch, postgres_server: str) -> None:
    from sqlalchemy.engine import make_url

    monkeypatch.setenv("AIOS_SECRET_CLINIC", "not-the-password")
    there = make_url(postgres_server)
    url = f"postgresql+psycopg://nobody_here@{there.host}:{there.port}/{there.database}"
    with pytest.raises(BadSource, match="cannot connect") as told:
        records(url, password="secret:clinic")
    assert "not-the-password" not in str(told.value)


def test_watermarks_keep_their_type_in_json() -> None:
    for value in (7, 2.5, "x", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1)):
        assert unpacked(packed(value)) == value


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"a,b\n1,2\n"
        if self.path == "/moved.csv":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:1/secret.csv")
            self.end_headers()
            return
        if self.path == "/gone.csv":
            self.send_error(404)
            return
        if self.path == "/slow.csv":
            self.rfile.read(1)  # nothing comes: it waits until the client goes
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) * (2 if self.path == "/short.csv" else 1)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_file_of_the_internet_is_read_and_pinned_by_its_digest(web: str, tmp_path: Path) -> None:
    assert table(f"{web}/a.csv", tmp_path).to_pylist() == [{"a": 1, "b": 2}]
    with pytest.raises(BadSource, match=r"its SHA-256 is .*, not 0000"):
        table(f"{web}/a.csv", tmp_path, sha256="0" * 64)


REFUSED = [
    ("/gone.csv", "answers 404.*check the address"),
    ("/short.csv", "broke off after 8 of 16 bytes|connection broke"),
    ("/slow.csv", "said nothing for 0.3 s"),
    ("/moved.csv", "127.0.0.2"),
]


@pytest.mark.parametrize("path, said", REFUSED)
def test_a_server_that_fails_or_leads_elsewhere_is_an_error(web: str, path: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=said):
        table(f"{web}{path}", tmp_path, Allowed(hosts=("127.0.0.1:*",)), timeout=0.3)


def test_an_address_that_is_not_public_is_read_only_where_the_operator_says_so(web: str, tmp_path: Path) -> None:
    for url in (web, "http://169.254.169.254/latest/meta-data.csv", "http://[::1]:1/a.csv", "http://localhost:1/a.csv"):
        with pytest.raises(BadSource, match="not public"):
            table(f"{url}/a.csv", tmp_path, Allowed())
    with pytest.raises(BadSource, match="none of those that may be read from"):
        table(f"{web}/a.csv", tmp_path, Allowed(hosts=("example.org",)))


def test_a_path_outside_of_the_allowed_roots_is_refused_also_through_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.csv").write_text("a\n1\n")
    allowed = Allowed(roots=(str(inside), "s3://bucket/data"))
    assert table(inside, tmp_path, allowed).num_rows == 1
    for path in (outside / "a.csv", inside / ".." / "out" / "a.csv", f"{outside}/*.csv"):
        with pytest.raises(BadSource, match="outside of what may be read"):
            table(path, tmp_path, allowed)
    (inside / "b.csv").symlink_to(outside / "a.csv")
    with pytest.raises(BadSource, match=r"leads to .*outside of what may be read"):
        table(inside, tmp_path, allowed)
    for address in ("s3://bucket/other/a.csv", "s3://bucket/data/../other/a.csv", "s3://bucket/database/a.csv"):
        with pytest.raises(BadSource, match="outside of what may be read"):
            table(address, tmp_path, allowed)


def test_the_state_folder_of_aios_is_never_read_but_its_storage_is(tmp_path: Path) -> None:
    allowed = Allowed(home=tmp_path, storage=tmp_path / "storage")
    (tmp_path / "storage").mkdir()
    for folder in (tmp_path, tmp_path / "storage"):
        (folder / "a.csv").write_text("a\n1\n")
    with pytest.raises(BadSource, match="state folder of AIOS"):
        table(tmp_path / "a.csv", tmp_path, allowed)
    assert table(tmp_path / "storage" / "a.csv", tmp_path, allowed).num_rows == 1


def test_a_secret_comes_from_the_environment_or_a_file_and_is_blotted_out_of_messages(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("from-file\n")
    assert secret("secret:db", {"AIOS_SECRETS": str(tmp_path)}) == "from-file"
    assert secret("secret:my.db", {"AIOS_SECRET_MY_DB": "from-env"}) == "from-env"
    assert secret(None, {}) is None
    with pytest.raises(BadSource, match="set the variable AIOS_SECRET_OTHER, or write the file"):
        secret("secret:other", {"AIOS_SECRETS": str(tmp_path)})
    assert without("login from-env failed", ["from-env", None, ""]) == "login *** failed"


def python(folder: Path, body: str, **given: Any) -> SourceSpec:
    name = f"mine_{abs(hash((str(folder), body)))}"
    (folder / f"{name}.py").write_text(body)
    return SourceSpec.model_validate({"python": {"call": f"{name}:rows", **given}})


def test_a_users_generator_gives_rows_and_its_own_error_is_told_by_its_own_line(tmp_path: Path) -> None:
    good = python(tmp_path, "def rows(n):\n    for i in range(n):\n        yield {'i': i}\n", args={"n": 3})
    assert pa.concat_tables(generated(good, tmp_path))["i"].to_pylist() == [0, 1, 2]
    bad = python(tmp_path, "def rows():\n    yield {'i': 1}\n    raise ValueError('sensor 7 is off')\n")
    with pytest.raises(BadSource, match=r"py:3: ValueError: sensor 7 is off"):
        list(generated(bad, tmp_path))
    odd = python(tmp_path, "def rows():\n    yield 5\n")
    with pytest.raises(BadSource, match="yields 5: yield rows as dicts"):
        list(generated(odd, tmp_path))
    with pytest.raises(BadSource, match="no module 'nowhere'"):
        list(generated(SourceSpec.model_validate({"python": {"call": "nowhere:rows"}}), tmp_path))


def test_telemetry_of_the_host_is_that_of_the_host() -> None:
    first, second = host_samples(2, 0.0)
    assert 0 < first["memory_percent"] <= 100
    assert second["at"] >= first["at"]
    assert (first["sample"], second["sample"]) == (0, 1)


def test_postgresql_is_read_in_ranges_with_its_own_types(monkeypatch: pytest.MonkeyPatch, postgres_server: str) -> None:
    import sqlalchemy as sa
    from sqlalchemy.engine import make_url

    there = make_url(postgres_server)
    engine = sa.create_engine(there)
    with engine.begin() as made:
        made.execute(sa.text("drop table if exists readings"))
        made.execute(
            sa.text("create table readings (id bigint, at timestamptz, price numeric(9,2), about jsonb, ok boolean)")
        )
        made.execute(
            sa.text(
                "insert into readings select i, timestamptz '2026-03-29 01:30:00+01' + i * interval '1 minute', "
                "i / 4.0, jsonb_build_object('n', i), i % 2 = 0 from generate_series(1, 1000) i"
            )
        )
    engine.dispose()
    monkeypatch.setenv("AIOS_SECRET_READINGS", there.password or "")
    url = f"postgresql+psycopg://{there.username}@{there.host}:{there.port}/{there.database}"
    rows, mark = records(url, table="readings", password="secret:readings", partition="id", parts=5, watermark="at")
    assert rows is not None
    assert sorted(rows["id"].to_pylist()) == list(range(1, 1001))
    first = rows.sort_by("id").to_pylist()[0]
    assert first["at"] == dt.datetime(2026, 3, 29, 0, 31, tzinfo=dt.UTC)
    assert (first["price"], first["about"], first["ok"]) == (0.25, '{"n": 1}', False)
    again, _ = records(url, after=unpacked(packed(mark)), table="readings", password="secret:readings", watermark="at")
    assert again is None
