"""Which files a source means: folders, globs and addresses become a list of files of one format, each with its size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from pipelines.ingest.sources.allowed import Allowed
from pipelines.ingest.sources.errors import BadSource, first_line, listed
from pipelines.ingest.sources.http import Fetched, fetch
from pipelines.ingest.sources.secret import secret
from pipelines.ingest.sources.spec import SUFFIXES, FilesystemOptions, SourceSpec, suffix_of

GLOB = re.compile(r"[*?\[]")
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class File:
    """A file to be read: ``shown`` is what the user wrote of it, ``path`` what ``filesystem`` opens."""

    shown: str
    path: str
    size: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one format on one file system, and those that were left out for being empty."""

    files: tuple[File, ...]
    format: str
    filesystem: pafs.FileSystem = field(default_factory=pafs.LocalFileSystem)
    empty: tuple[str, ...] = ()
    size: int = 0

    def origin(self) -> dict[str, Any]:
        """Return what a version records of them: at most a few by name, all of them by a digest."""
        whole = hashlib.sha256()
        for file in self.files:
            whole.update(f"{file.shown}\0{file.size}\0{file.mark}\n".encode())
        first = [{"path": f.shown, "bytes": f.size, "mark": f.mark} for f in self.files[:100]]
        return {"n_files": len(self.files), "bytes": self.size, "files": first, "digest": whole.hexdigest()}


def list_files(
    source: SourceSpec, allowed: Allowed, folder: Path, heard: Callable[[int], None] = lambda n_bytes: None
) -> Files:
    """Return the files of ``source.path``; what lies behind http is fetched into ``folder``. Raises BadSource."""
    found: list[File] = []
    systems: list[pafs.FileSystem] = []
    for path in source.paths:
        scheme = path.partition("://")[0].lower() if "://" in path else "file"
        if scheme in ("http", "https"):
            continue
        files, system = _local(path, allowed, source) if scheme == "file" else _stored(path, allowed, source)
        found += files
        systems.append(system)
    web = [path for path in source.paths if path.lower().startswith(("http://", "https://"))]
    if web:
        found += _fetched(web, source, allowed, folder, heard)
        systems.append(pafs.LocalFileSystem())
    if len({system.type_name for system in systems}) > 1:
        raise BadSource("path: the files lie in stores of several kinds: make a source of each")
    return _alike(found, source, systems[0])


def _alike(found: Sequence[File], source: SourceSpec, system: pafs.FileSystem) -> Files:
    """Keep what has content and is of one format."""
    shown = listed(source.paths, 3)
    full = [file for file in found if file.size > 0]
    empty = tuple(file.shown for file in found if file.size == 0)
    if not full:
        why = f"{listed(empty, 3)} is empty" if empty else f"no file ends in one of {listed(list(SUFFIXES), 40)}"
        raise BadSource(f"source.path {shown}: has no rows: {why}")
    if empty and source.bad_files == "stop":
        raise BadSource(f"{listed(empty, 3)}: empty, 0 bytes: take it away, or write bad_files: skip")
    formats = {source.format or SUFFIXES.get(suffix_of(file.shown), suffix_of(file.shown)) for file in full}
    if len(formats) > 1 or not formats <= set(SUFFIXES.values()):
        raise BadSource(
            f"source.path {shown}: has files of {', '.join(sorted(formats))}: keep one format, or say format"
        )
    unique = {file.path: file for file in sorted(full, key=lambda file: file.path)}
    return Files(tuple(unique.values()), formats.pop(), system, empty, sum(file.size for file in unique.values()))


def _wanted(name: str, source: SourceSpec) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not base.startswith((".", "_")) and (source.format is not None or suffix_of(name) in SUFFIXES)


def _local(path: str, allowed: Allowed, source: SourceSpec) -> tuple[list[File], pafs.FileSystem]:
    plain = path.removeprefix("file://")
    if GLOB.search(plain) and not Path(plain).exists():
        base = Path(plain[: GLOB.search(plain).start()].rpartition("/")[0] or ".")  # type: ignore[union-attr]  # just searched
        allowed.path(base)
        found = sorted(p for p in base.glob(str(Path(plain).relative_to(base))) if p.is_file())
        if not found:
            raise BadSource(f"source.path {path}: matches no file on this node")
    else:
        root = Path(plain).expanduser()
        allowed.path(root)
        if not root.exists():
            raise BadSource(
                f"source.path {path}: no such file or folder on this node: give a path that every node can read"
            )
        found = [root] if root.is_file() else sorted(p for p in root.rglob("*") if _wanted(str(p), source))
    return [_file(p, allowed) for p in found if p.is_file()], pafs.LocalFileSystem()


def _file(path: Path, allowed: Allowed) -> File:
    real = allowed.path(path)  # a link in an allowed folder may lead out of it
    try:
        stat = real.stat()
    except OSError as error:
        raise BadSource(f"{path}: {error.strerror}") from None
    return File(str(path), str(real), stat.st_size, f"mtime {stat.st_mtime_ns}")


def _stored(path: str, allowed: Allowed, source: SourceSpec) -> tuple[list[File], pafs.FileSystem]:
    """List what an address of an object store means."""
    allowed.bucket(path)
    scheme, _, rest = path.partition("://")
    try:
        system, inside = open_store(path, source.filesystem)
        if GLOB.search(rest):
            base = inside[: GLOB.search(inside).start()].rpartition("/")[0]  # type: ignore[union-attr]  # in rest, so in it
            matches = re.compile(translate(inside)).fullmatch
            infos = [i for i in _below(system, base) if matches(i.path)]
        else:
            info = system.get_file_info(inside)
            infos = [info] if info.type == pafs.FileType.File else _below(system, inside)
            infos = infos if info.type == pafs.FileType.File else [i for i in infos if _wanted(i.path, source)]
    except (OSError, pa.ArrowInvalid) as error:
        raise BadSource(f"{path}: the store does not answer as it should: {first_line(error)}") from None
    files = [File(f"{scheme}://{i.path}", i.path, i.size or 0, f"mtime {i.mtime_ns}") for i in infos]
    if not files:
        raise BadSource(f"source.path {path}: no such file or folder in the store, or nothing of a known format in it")
    return files, system


def _below(system: pafs.FileSystem, base: str) -> list[pafs.FileInfo]:
    selector = pafs.FileSelector(base, recursive=True, allow_not_found=True)
    return [info for info in system.get_file_info(selector) if info.type == pafs.FileType.File]


def open_store(address: str, options: FilesystemOptions) -> tuple[pafs.FileSystem, str]:
    """Return the file system behind an address and the path in it: Arrow's own, else the one that fsspec knows."""
    scheme, _, rest = address.partition("://")
    match scheme.lower():
        case "s3":
            given: dict[str, Any] = {"endpoint_override": options.endpoint, "region": options.region}
            if options.endpoint is not None and options.endpoint.startswith("http://"):
                given |= {"endpoint_override": options.endpoint.removeprefix("http://"), "scheme": "http"}
            if options.access_key is not None:
                given |= {"access_key": secret(options.access_key), "secret_key": secret(options.secret_key)}
            elif options.anonymous:
                given["anonymous"] = True
            return pafs.S3FileSystem(**{k: v for k, v in given.items() if v is not None}, connect_timeout=10), rest
        case "gs" | "gcs":
            return pafs.GcsFileSystem(anonymous=options.anonymous, endpoint_override=options.endpoint), rest
        case "abfs" | "abfss" | "az":
            container, _, inside = rest.partition("/")
            container, _, host = container.partition("@")
            account = host.partition(".")[0]
            return pafs.AzureFileSystem(account), f"{container}/{inside}"
    import fsspec

    system, inside = fsspec.url_to_fs(address)
    return pafs.PyFileSystem(pafs.FSSpecHandler(system)), inside


def _fetched(
    urls: Sequence[str], source: SourceSpec, allowed: Allowed, folder: Path, heard: Callable[[int], None]
) -> Iterator[File]:
    """Fetch several files at once, in the order asked for."""
    sizes: dict[str, int] = {}

    def one(url: str) -> Fetched:
        def so_far(n_bytes: int) -> None:
            sizes[url] = n_bytes
            heard(sum(sizes.values()))

        return fetch(url, folder, allowed, source.timeout, so_far)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aios-fetch") as pool:
        for got in pool.map(one, urls):
            if source.sha256 is not None and got.sha256 != source.sha256:
                raise BadSource(
                    f"{got.url}: its SHA-256 is {got.sha256}, not {source.sha256}: the file has changed; "
                    "look at it, and write the new digest if it is right"
                )
            yield File(got.url, str(got.path), got.size, f"sha256 {got.sha256}")
