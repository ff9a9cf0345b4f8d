"""A hash of rows that does not depend on their order, their files or on compaction, and that adds up.

Each value is hashed with its column's name, a row is the mix of its values, and a table is the sum of its rows modulo
2^64, twice with different mixes. So the hash of an append is the sum of two hashes, and that of a delete a difference.
A null adds nothing: a column of nulls that was added later changes no row. It tells accidents and changes, and is not
meant to stand against one who forges rows.

References
----------
Clarke, Devadas, van Dijk, Gassend, Suh: Incremental Multiset Hash Functions, ASIACRYPT 2003 (MSet-Add-Hash),
doi:10.1007/978-3-540-40061-5_12. The mix is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), doi:10.1145/2660193.2660195.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Words = np.ndarray[Any, np.dtype[np.uint64]]

MASK = 2**64 - 1
LONG = 64
"""Values of more bytes are hashed one by one, by BLAKE2."""
AT_ONCE = 65_536
"""Rows that are hashed together, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The number of rows and two sums over their hashes."""

    rows: int = 0
    one: int = 0
    two: int = 0

    def __add__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.rows + other.rows, (self.one + other.one) & MASK, (self.two + other.two) & MASK)

    def __sub__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.rows - other.rows, (self.one - other.one) & MASK, (self.two - other.two) & MASK)

    def __str__(self) -> str:
        return f"{self.rows}:{self.one:016x}{self.two:016x}"

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        rows, _, sums = text.partition(":")
        return cls(int(rows), int(sums[:16], 16), int(sums[16:], 16))


def content_hash(fingerprint: Fingerprint, schema: pa.Schema) -> str:
    """Return the hash of a whole version: its rows, and its columns by name and type, whatever their order."""
    columns = sorted(f"{field.name}\0{field.type}" for field in schema)
    return f"rows:{hashlib.sha256(chr(10).join([str(fingerprint), *columns]).encode()).hexdigest()}"


def fingerprint(table: pa.Table | pa.RecordBatch) -> Fingerprint:
    """Return the fingerprint of a table's rows."""
    total = Fingerprint()
    for at in range(0, table.num_rows, AT_ONCE):
        part = table.slice(at, AT_ONCE)
        rows = np.zeros(part.num_rows, dtype=np.uint64)
        for name in part.schema.names:
            rows += _column(name, part.column(part.schema.get_field_index(name)))
        one = _mix(rows)
        two = _mix(one ^ np.uint64(0x9E3779B97F4A7C15))
        total += Fingerprint(len(rows), int(one.sum(dtype=np.uint64)), int(two.sum(dtype=np.uint64)))
    return total


def _column(name: str, column: pa.ChunkedArray | pa.Array) -> Words:
    """Return one hash per row (n,) of a column, 0 where there is no value."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of no chunk, or of more than fit in one array
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.nulls(0, array.type)
    seed = np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))
    words = _mix(_values(array) ^ seed)
    if array.null_count:
        words[np.asarray(pc.is_null(array))] = 0
    return words


def _values(array: pa.Array) -> Words:
    """Return 64 bits of each value (n,); equal numbers of different widths give equal bits."""
    type_ = array.type
    if isinstance(type_, pa.DictionaryType):
        return _values(array.dictionary_decode())
    if isinstance(type_, pa.BaseExtensionType):
        return _values(array.storage)
    if pa.types.is_boolean(type_):
        return _bits(pc.cast(array, pa.uint8()), np.uint64)
    if pa.types.is_unsigned_integer(type_):
        return _bits(array, np.uint64)
    if pa.types.is_signed_integer(type_):
        return _bits(array, np.int64).view(np.uint64)
    if pa.types.is_floating(type_):
        numbers = _bits(pc.cast(array, pa.float32()) if pa.types.is_float16(type_) else array, np.float64)
        return (numbers + 0.0).view(np.uint64)  # both zeros are one
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        width = pa.int32() if type_.bit_width == 32 else pa.int64()
        return _bits(array.view(width), np.int64).view(np.uint64) ^ _word(str(type_))
    if _is_list(type_) and _is_plain(type_.value_type):
        return _lists(array)
    if _is_text(type_):
        return _text(array)
    if pa.types.is_struct(type_):
        parts = [_column(field.name, child) for field, child in zip(type_, array.flatten(), strict=True)]
        return np.sum(parts, axis=0, dtype=np.uint64) if parts else np.zeros(len(array), dtype=np.uint64)
    return np.fromiter((_one(value) for value in array.to_pylist()), dtype=np.uint64, count=len(array))


def _bits(array: pa.Array, dtype: Any) -> Any:
    filled = pc.fill_null(array, 0) if array.null_count else array
    return filled.to_numpy(zero_copy_only=False).astype(dtype)


def _is_text(type_: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(type_) or types.is_large_string(type_) or types.is_binary(type_) or types.is_large_binary(type_)
    )


def _is_list(type_: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_))


def _is_plain(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_))


def _lists(array: pa.Array) -> Words:
    """Return the hash of lists of plain numbers, images and other tensors among them."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = array.flatten()  # without the values behind nulls
    if pa.types.is_uint8(flat.type) and not flat.null_count:
        return _bytes(flat.to_numpy(), np.concatenate([[0], np.cumsum(lengths)]))
    return _runs(_values(flat), lengths)


def _text(array: pa.Array) -> Words:
    """Return the hash of text or bytes, from the bytes as they lie in Arrow's buffer."""
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offsets_, data_ = array.buffers()
    offsets = np.frombuffer(offsets_, dtype=np.int64 if large else np.int32)
    data = np.frombuffer(data_, dtype=np.uint8) if data_ is not None else np.zeros(0, dtype=np.uint8)
    return _bytes(data, offsets[array.offset : array.offset + len(array) + 1].astype(np.int64))


def _bytes(data: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> Words:
    """Return one hash for each piece of ``data`` between two offsets (n + 1,)."""
    lengths = np.diff(offsets)
    long = lengths > LONG
    if not long.any():
        return _runs(data[offsets[0] : offsets[-1]].astype(np.uint64), lengths)
    out = np.zeros(len(lengths), dtype=np.uint64)
    for i in np.flatnonzero(long):
        out[i] = _word(memoryview(data[offsets[i] : offsets[i + 1]]))
    short = np.flatnonzero(~long)
    pieces = [data[offsets[i] : offsets[i + 1]] for i in short]
    joined = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8)
    out[short] = _runs(joined.astype(np.uint64), lengths[short])
    return out


def _runs(words: Words, lengths: np.ndarray[Any, Any]) -> Words:
    """Return one hash per run of consecutive words: a polynomial of the words, mixed with the length."""
    out = np.zeros(len(lengths), dtype=np.uint64)
    filled = lengths > 0
    if len(words):
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(words), dtype=np.int64) - np.repeat(starts, lengths)
        out[filled] = np.add.reduceat((words + np.uint64(1)) * _powers(int(lengths.max()))[place], starts[filled])
    return _mix(out ^ lengths.astype(np.uint64))


def _powers(n: int) -> Words:
    """Return the first ``n`` powers of an odd number modulo 2^64."""
    global _POWERS
    if len(_POWERS) < n:
        _POWERS = np.cumprod(np.full(max(n, 2 * len(_POWERS)), 0xD1342543DE82EF95, dtype=np.uint64), dtype=np.uint64)
    return _POWERS[:n]


_POWERS: Words = np.zeros(0, dtype=np.uint64)


def _one(value: Any) -> np.uint64:
    return np.uint64(0) if value is None else _word(repr(value))


def _word(value: str | memoryview) -> np.uint64:
    content = value.encode() if isinstance(value, str) else value
    return np.uint64(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))


def _mix(words: Words) -> Words:
    """Return SplitMix64's output for each word."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
