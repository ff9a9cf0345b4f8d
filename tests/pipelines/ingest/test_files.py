"""Files of every format, whole and broken: rows come out as they went in, or an error names file, row and column."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.ingest.sources.errors import BadSource
from pipelines.ingest.sources.listing import list_files
from pipelines.ingest.sources.spec import SourceSpec
from pipelines.ingest.sources.tfrecord import example_type, frame
from tests.pipelines.ingest.reading import ANYWHERE, batches, table

ROWS = [
    {"id": 1, "name": "Zoë", "x": 0.5},
    {"id": 2, "name": "東京", "x": None},
    {"id": 3, "name": 'a,"b"\nc', "x": -1.5},
]
AVRO = {
    "type": "record", "name": "r",
    "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"},
               {"name": "x", "type": ["null", "double"]}],
}  # fmt: skip


def as_csv(path: Path) -> Path:
    path.write_text('id,name,x\n1,Zoë,0.5\n2,東京,\n3,"a,""b""\nc",-1.5\n', encoding="utf-8")
    return path


def as_lines(path: Path) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path


def as_array(path: Path) -> Path:
    path.write_text("\ufeff" + json.dumps(ROWS), encoding="utf-8")
    return path


def as_parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def as_avro(path: Path) -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, AVRO, ROWS)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "rows.csv": as_csv, "rows.jsonl": as_lines, "rows.json": as_array, "rows.parquet": as_parquet, "rows.avro": as_avro,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_rows_come_out_of_each_format_as_they_went_in(name: str, tmp_path: Path) -> None:
    assert table(WRITERS[name](tmp_path / name)).to_pylist() == ROWS


@pytest.mark.parametrize("name", ["rows.json", "rows.parquet", "rows.avro"])
def test_a_file_that_is_half_written_is_named(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(BadSource, match=rf"{name}.*half-written"):
        table(path)


BROKEN: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a.csv", b"a,b\n1,2\n3\n", {}, r"a\.csv: row 2: has 1 columns, not 2"),
    ("a.csv", b'a,b\n1,"2\n3,4\n', {}, r"a\.csv: ends inside a quoted value"),
    ("a.csv", b"a,b\n1,caf\xe9\n", {}, r"a\.csv: row 1, column 'b': not UTF-8.*latin-1"),
    ("a.csv", b"a,b\n1,x\nzwei,y\n", {"types": {"a": "int64"}}, r"a\.csv: row 2, column 'a':.*'zwei'"),
    ("a.csv", b"", {}, r"a\.csv is empty"),
    ("a.csv", b"a,a\n1,2\n", {}, "column 'a' twice"),
    ("a.csv", "e\u0301,\u00e9\n1,2\n".encode(), {}, "looks the same"),
    ("a.csv", b"a,b\n1,2\n", {"types": {"c": "int64"}}, "types has 'c'"),
    ("a.csv", b"a,b\n1,2\n", {"types": {"a": "number"}}, "type 'number' is not known"),
    ("a.csv", b"a,b\n1,2\n", {"csv": {"encoding": "klingon"}}, "no such encoding"),
    ("a.jsonl", b'{"a": 1}\n{"a": 2\n', {}, r"a\.jsonl: line 2: not JSON"),
    ("a.jsonl", b'{"a": 1}\n{"a": "x"}\n', {"types": {"a": "int64"}}, r"a\.jsonl: row 2, column 'a': x is no int64"),
    ("a.jsonl", b'{"a": 1}\n[2]\n', {}, r"a\.jsonl: row 2: is \[2\], not an object"),
    ("a.jsonl", b'{"a": "\xff"}\n', {}, r"a\.jsonl: line 1: byte 7: not UTF-8"),
    ("a.parquet", b"PAR1 this is none PAR1", {}, r"a\.parquet: not readable as parquet"),
    ("a.tfrecord", frame(b"x")[:-1] + b"?", {}, r"record 1: damaged"),
    ("a.tfrecord", frame(b"x")[:14], {}, r"record 1: breaks off"),
    ("a.txt", b"fine\n\xff\n", {}, r"a\.txt: row 2, byte 0: not UTF-8"),
]


@pytest.mark.parametrize("name, content, settings, said", BROKEN, ids=[said for *_, said in BROKEN])
def test_what_is_wrong_is_said_by_file_row_and_column(
    name: str, content: bytes, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSource, match=said):
        table(tmp_path / name, **settings)


def test_a_schema_that_changes_in_the_middle_is_an_error_or_is_filled_as_the_spec_says(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n3,4\n")
    with pytest.raises(BadSource, match=r"2\.csv: lacks the column 'b', unlike .*1\.csv"):
        table(tmp_path)
    filled = table(tmp_path, columns_differ="fill").sort_by("a").to_pylist()
    assert filled == [{"a": 1, "b": 2, "c": None}, {"a": 3, "b": None, "c": 4}]


def test_types_of_all_files_are_looked_at_before_a_row_is_read(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text("a\n2.5\n")
    assert table(tmp_path)["a"].to_pylist() == [1.0, 2.5]


def test_a_file_of_another_type_is_told_by_its_row_unless_types_say_what_holds_both(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text("a\n2\ntwo\n")
    with pytest.raises(BadSource, match=r"2\.csv: row 2, column 'a':.*'two'.*types: \{a: string\}"):
        table(tmp_path)
    assert table(tmp_path, types={"a": "string"})["a"].to_pylist() == ["1", "2", "two"]


def test_a_bad_file_can_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,b\n3\n")
    (tmp_path / "3.csv").write_text("")
    assert table(tmp_path, bad_files="skip").to_pylist() == [{"a": 1, "b": 2}]


def test_other_encodings_and_delimiters_are_read_where_they_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("name;ort\nJosé;Köln\n".encode("cp1252"))
    (tmp_path / "b.tsv").write_bytes("name\tort\nÉa\tŁódź\n".encode("utf-16"))
    csv = {"delimiter": ";", "encoding": "cp1252"}
    assert table(tmp_path / "a.csv", csv=csv).to_pylist() == [{"name": "José", "ort": "Köln"}]
    assert table(tmp_path / "b.tsv", csv={"encoding": "utf-16"}).to_pylist() == [{"name": "Éa", "ort": "Łódź"}]


def test_thousands_of_small_files_are_dealt_to_few_tasks_and_all_read(tmp_path: Path) -> None:
    for i in range(3_000):
        (tmp_path / f"{i:05d}.csv").write_text(f"i\n{i}\n")
    from pipelines.ingest.sources.files import deal

    source = SourceSpec(path=str(tmp_path))
    dealt = deal(list_files(source, ANYWHERE, tmp_path), 16)
    assert len(dealt) <= 17
    assert sum(map(len, dealt)) == 3_000
    assert sum(range(3_000)) == pa.compute.sum(table(tmp_path)["i"]).as_py()


def test_a_row_of_100_mb_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_bytes(b"id,text\n1,short\n2," + b"x" * 100_000_000 + b"\n3,short\n")
    rows = table(tmp_path / "big.csv")
    assert pa.compute.utf8_length(rows["text"]).to_pylist() == [5, 100_000_000, 5]


def test_a_glob_a_list_and_compressed_files_mean_the_same_rows(tmp_path: Path) -> None:
    import gzip

    for i in (1, 2):
        (tmp_path / f"{i}.csv.gz").write_bytes(gzip.compress(f"a\n{i}\n".encode()))
    assert table(tmp_path / "*.csv.gz")["a"].to_pylist() == [1, 2]
    assert table([tmp_path / "1.csv.gz", tmp_path / "2.csv.gz"])["a"].to_pylist() == [1, 2]
    with pytest.raises(BadSource, match="matches no file"):
        table(tmp_path / "*.parquet")


def test_examples_of_tensorflow_become_columns(tmp_path: Path) -> None:
    records = []
    for i in range(3):
        example = example_type()()
        example.features.feature["id"].int64_list.value.append(i)
        example.features.feature["name"].bytes_list.value.append(f"n{i}".encode())
        example.features.feature["xs"].float_list.value.extend([0.5, i])
        records.append(frame(example.SerializeToString()))
    (tmp_path / "a.tfrecord").write_bytes(b"".join(records))
    assert table(tmp_path / "a.tfrecord").to_pylist()[2] == {"id": 2, "name": "n2", "xs": [0.5, 2.0]}


def read_media(path: Path, **settings: Any) -> Any:
    return batches(SourceSpec.model_validate({"path": str(path), **settings}), path)


def test_pictures_come_in_one_size_with_their_folder_as_label(tmp_path: Path) -> None:
    for label, value in (("cat", 10), ("dog", 200)):
        (tmp_path / label).mkdir()
        Image.fromarray(np.full((4, 6), value, "uint8")).save(tmp_path / label / "1.png")
    found = read_media(tmp_path, media={"size": [2, 3], "mode": "L", "label": "folder"})
    assert [(b["label"][0], b["image"].shape, int(b["image"].mean())) for b in found] == [
        ("cat", (1, 2, 3), 10), ("dog", (1, 2, 3), 200),
    ]  # fmt: skip
    Image.fromarray(np.zeros((5, 6), "uint8")).save(tmp_path / "dog" / "2.png")
    with pytest.raises(BadSource, match="give all one size"):
        read_media(tmp_path)
    (tmp_path / "dog" / "3.png").write_bytes((tmp_path / "cat" / "1.png").read_bytes()[:40])
    with pytest.raises(BadSource, match=r"3\.png: not readable as a picture"):
        read_media(tmp_path, media={"size": [2, 3]})


def test_a_recording_comes_as_samples_with_its_rate(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([0, 16384, -16384], "<i2").tobytes())
    (row,) = table(tmp_path / "a.wav").to_pylist()
    assert (row["samples"], row["rate"], row["channels"]) == ([0.0, 0.5, -0.5], 8000, 1)
    (tmp_path / "a.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(BadSource, match="not readable as audio"):
        table(tmp_path / "a.wav")


def test_each_nth_frame_of_a_video_comes_with_its_time(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for i in range(7):
            picture = np.full((16, 32, 3), i * 30, "uint8")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (found,) = read_media(tmp_path / "a.mp4", media={"every": 3, "mode": "L", "size": [8, 16]})
    assert found["frame"].tolist() == [0, 3, 6]
    assert found["image"].shape == (3, 8, 16)
    assert np.allclose(found["time_s"], [0, 0.3, 0.6])
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:200])
    with pytest.raises(BadSource, match=r"b\.mp4.*not readable as a video"):
        read_media(tmp_path / "b.mp4")


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_files_of_one_stem_in_an_archive_are_one_row(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), "uint8")).save(png, "png")
    files = {"000.png": png.getvalue(), "000.cls": b"3", "001.png": png.getvalue(), "001.cls": b"5"}
    (found,) = read_media(tar(tmp_path / "a.tar", files), media={"mode": "L"})
    assert (found["key"].tolist(), found["cls"].tolist(), found["png"].shape) == (["000", "001"], [3, 5], (2, 4, 4))
    with pytest.raises(BadSource, match=r"row 2 \(001\): lacks 'cls'"):
        read_media(tar(tmp_path / "b.tar", {name: files[name] for name in files if name != "001.cls"}))
