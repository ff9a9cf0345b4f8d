"""The manifest of a model version: the digest of every file, as the statement that is signed.

References
----------
OpenSSF Model Signing 1.0, https://model_signing/signature/v1.0: an in-toto statement v1 whose predicate lists the
files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
PREDICATE = "https://model_signing/signature/v1.0"
_CHUNK = 1 << 20


def statement_of(folder: Path, name: str) -> bytes:
    """Return the statement about all files below a folder but manifest and signature; the same bytes for the same
    files. Raises ValueError where there is a link, which could point anywhere."""
    digests = files_of(folder)
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values()))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [MANIFEST, SIGNATURE],
            },
            "resources": [{"name": path, "digest": digest, "algorithm": "sha256"} for path, digest in digests.items()],
        },
    }
    return json.dumps(statement, indent=1).encode() + b"\n"


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder by its path there, in order."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ValueError(f"{name} is a link: a model version holds files alone")
        if path.is_file() and name not in (MANIFEST, SIGNATURE):
            found[name] = _digest(path)
    return dict(sorted(found.items()))


def names_in(statement: bytes) -> tuple[str, dict[str, str]]:
    """Return the model's name and the files' digests of a statement; raises ValueError where it is none."""
    try:
        parsed: Mapping[str, Any] = json.loads(statement)
        (subject,) = parsed["subject"]
        if parsed["predicateType"] != PREDICATE:
            raise ValueError(f"it states {parsed['predicateType']!r}, not {PREDICATE!r}")
        files = {one["name"]: one["digest"] for one in parsed["predicate"]["resources"]}
        return str(subject["name"]), files
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no statement about a model: {error!r}") from None


def digest_of_bytes(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
