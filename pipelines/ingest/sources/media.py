"""Readers of pictures, sound, video and WebDataset archives: batches of arrays, with the file that each came from."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from pipelines.ingest.sources.errors import BadSource, first_line
from pipelines.ingest.sources.spec import MediaOptions
from pipelines.ingest.sources.tabular import to_table

FRAMES = 64
SAMPLES = 256
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
TEXTS = (".txt", ".text")
Open = Callable[[], Any]


def picture(name: str, content: bytes, options: MediaOptions) -> np.ndarray[Any, Any]:
    """Return a picture as uint8 (height, width) or (height, width, 3); raises BadSource."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image = image.convert(options.mode)
            if options.size is not None:
                image = image.resize((options.size[1], options.size[0]), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadSource(f"{name}: not readable as a picture: {first_line(error)}: is it half-written?") from None


def read_image(name: str, open_: Open, options: MediaOptions) -> dict[str, np.ndarray[Any, Any]]:
    """Return one picture as a batch of one row: ``image``, ``path`` and, where asked for, ``label``."""
    with open_() as file:
        row = {"image": picture(name, file.read(), options)[None], "path": np.array([name], dtype=object)}
    if options.label == "folder":
        row["label"] = np.array([PurePosixPath(name).parent.name], dtype=object)
    return row


def read_audio(name: str, open_: Open) -> pa.Table:
    """Return a recording as one row: ``samples`` as float32 (frames x channels, flat), ``rate``, ``channels``."""
    import soundfile

    with open_() as file:
        try:
            samples, rate = soundfile.read(io.BytesIO(file.read()), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise BadSource(f"{name}: not readable as audio: {first_line(error)}: is it half-written?") from None
    if len(samples) == 0:
        raise BadSource(f"{name}: has no samples: is it half-written?")
    flat = pa.array([samples.ravel()], pa.list_(pa.float32()))
    return pa.table({"samples": flat, "rate": [int(rate)], "channels": [samples.shape[1]], "path": [name]})


def read_video(name: str, open_: Open, options: MediaOptions) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Yield the frames of a video in batches: ``image``, ``frame``, ``time_s`` and ``path``."""
    import av

    images: list[np.ndarray[Any, Any]] = []
    numbers: list[int] = []
    times: list[float] = []

    def batch() -> dict[str, np.ndarray[Any, Any]]:
        rows = {
            "image": np.stack(images),
            "frame": np.array(numbers),
            "time_s": np.array(times),
            "path": np.array([name] * len(images), dtype=object),
        }
        for column in (images, numbers, times):
            column.clear()  # type: ignore[attr-defined]  # all three are lists
        return rows

    number = -1
    with open_() as file:
        try:
            with av.open(io.BytesIO(file.read())) as container:
                for number, frame in enumerate(container.decode(video=0)):
                    if number % options.every:
                        continue
                    shape = {"height": options.size[0], "width": options.size[1]} if options.size else {}
                    images.append(
                        frame.reformat(format="gray" if options.mode == "L" else "rgb24", **shape).to_ndarray()
                    )
                    numbers.append(number)
                    times.append(float(frame.time if frame.time is not None else number))
                    if len(images) >= FRAMES:
                        yield batch()
        except (av.FFmpegError, IndexError) as error:
            raise BadSource(
                f"{name}: after frame {number}: not readable as a video: {first_line(error)}: is it half-written?"
            ) from None
    if images:
        yield batch()
    elif number < 0:
        raise BadSource(f"{name}: has no frames: is it half-written?")


def read_webdataset(name: str, open_: Open, options: MediaOptions, schema: pa.Schema | None) -> Iterator[Any]:
    """Yield the samples of an archive: files of one stem are one row, each suffix a column, decoded by its suffix."""
    key, sample, pending, n_rows = "", {}, [], 0
    with open_() as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    if not member.isfile():
                        continue
                    path = PurePosixPath(member.name)
                    stem, _, suffix = path.name.partition(".")
                    full = str(path.with_name(stem))
                    if full != key:
                        if sample:
                            pending.append({"key": key, **sample})
                        key, sample = full, {}
                    if len(pending) >= SAMPLES:
                        yield _samples(pending, schema, name, n_rows)
                        n_rows, pending = n_rows + len(pending), []
                    content = archive.extractfile(member)
                    assert content is not None, "a file has content"
                    sample[suffix.lower()] = _decoded(f"{name}: {member.name}", suffix, content.read(), options)
        except (tarfile.TarError, EOFError, OSError) as error:
            at = f"{name}: after row {n_rows + len(pending)}"
            raise BadSource(f"{at}: not readable as an archive: {first_line(error)}: is it half-written?") from None
    if sample:
        pending.append({"key": key, **sample})
    if not pending and n_rows == 0:
        raise BadSource(f"{name}: has no samples")
    if pending:
        yield _samples(pending, schema, name, n_rows)


def _decoded(name: str, suffix: str, content: bytes, options: MediaOptions) -> Any:
    ending = f".{suffix.lower().rpartition('.')[2]}"
    try:
        if ending in PICTURES:
            return picture(name, content, options)
        if ending in TEXTS:
            return content.decode()
        if ending == ".cls":
            return int(content.decode())
        if ending == ".json":
            return json.dumps(json.loads(content), sort_keys=True)
        if ending == ".npy":
            return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BadSource(f"{name}: {first_line(error)}: is it half-written?") from None
    return content


def _samples(rows: list[dict[str, Any]], schema: pa.Schema | None, name: str, n_before: int) -> Any:
    """Return samples as a batch: arrays of one shape are stacked, all else goes as plain values."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for i, row in enumerate(rows):
        if missing := [column for column in columns if column not in row]:
            raise BadSource(f"{name}: row {n_before + i + 1} ({row['key']}): lacks {missing[0]!r}, which others have")
    if not any(isinstance(row[column], np.ndarray) for row in rows[:1] for column in columns):
        return to_table(rows, schema, name, n_before)
    out: dict[str, np.ndarray[Any, Any]] = {}
    for column in columns:
        values = [row[column] for row in rows]
        if isinstance(values[0], np.ndarray):
            check_shapes(values, [f"{name}: {row['key']}" for row in rows])
            out[column] = np.stack(values)
        else:
            out[column] = np.array(values, dtype=object if isinstance(values[0], (str, bytes)) else None)
    return out


def check_shapes(images: list[np.ndarray[Any, Any]], names: list[str]) -> None:
    """Raise BadSource where pictures have several shapes."""
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            raise BadSource(
                f"{name}: is {_shape(image)}, and {names[0]} is {_shape(images[0])}: "
                "give all one size by media: {size: [HEIGHT, WIDTH]}"
            )


def _shape(image: np.ndarray[Any, Any]) -> str:
    return " x ".join(map(str, image.shape))
