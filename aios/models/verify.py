"""Checks a model version byte by byte against what was signed and what the log recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aios.errors import NotFound, Rejected
from aios.models.bundle import opened, signed_by
from aios.models.keys import public_key
from aios.models.manifest import MANIFEST, SIGNATURE, digest_of_bytes, files_of, names_in
from aios.models.pickles import pickles

ANEW = "nothing of it is used: train it again, or promote an earlier version"


@dataclass(frozen=True, slots=True)
class Verified:
    """A version that is as it was registered: how many files, and the digest of the key that signed them."""

    n_files: int
    key: str


def verify(folder: Path, reference: str, meta: dict[str, Any], storage: Path) -> Verified:
    """Return what was verified; raises NotFound where the folder is gone, Rejected with the first thing that is wrong.

    Parameters
    ----------
    reference : str
        Which version: ``model://name@version``.
    meta : dict
        What the log says of it; its ``manifest`` is the digest of the statement that was signed.
    storage : Path
        Where public keys are.
    """
    if not folder.is_dir():
        raise NotFound(f"{reference}: its folder {folder} is gone", hint="restore it from a backup, or train it again")
    recorded = meta.get("manifest")
    if not recorded:
        raise Rejected(
            f"{reference} has no manifest of its files: it was registered before models were signed, or by hand",
            hint="train it again",
        )
    # 1. No pickle, whoever signed it.
    pickled = next(pickles(folder), None)
    if pickled is not None:
        raise Rejected(
            f"{reference}: {pickled} is a pickle, which runs code when it is read", hint="store weights as safetensors"
        )
    # 2. The signature is there and is one of a key that we know.
    path = folder / SIGNATURE
    if not path.is_file():
        raise Rejected(
            f"{reference} is not signed: {path} is missing", hint="the control plane signs at its start: is it up?"
        )
    try:
        statement, signature, hint = opened(path.read_text(encoding="utf-8"))
        name, stated = names_in(statement)
    except ValueError as error:
        raise Rejected(f"{reference}: {SIGNATURE} cannot be read: {error}", hint=ANEW) from None
    key = public_key(storage, hint)
    if key is None:
        raise Rejected(
            f"{reference} is signed by key {hint[:12]}, which {storage} does not have",
            hint="have the public key put there by who runs the cluster that made it",
        )
    if not signed_by(statement, signature, key):
        raise Rejected(f"{reference}: {SIGNATURE} does not fit what it signs", hint=ANEW)
    # 3. It is the signature of this version, and not of another one.
    if digest_of_bytes(statement) != recorded or name != reference.partition("://")[2].partition("@")[0]:
        raise Rejected(f"{reference}: {SIGNATURE} is of another version than the one registered", hint=ANEW)
    # 4. The files are those that were signed.
    wrong = difference(folder, stated)
    if wrong:
        raise Rejected(f"{reference}: {wrong}", hint=ANEW)
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != statement:
        raise Rejected(f"{reference}: {MANIFEST} is not as it was signed", hint=ANEW)
    return Verified(len(stated), hint)


def difference(folder: Path, stated: dict[str, str]) -> str:
    """Return the first difference between a folder and the digests of its files, empty where there is none."""
    try:
        there = files_of(folder)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    for name in sorted(stated.keys() | there.keys()):
        if name not in there:
            return f"{name} is missing"
        if name not in stated:
            return f"{name} was added after it was signed"
        if there[name] != stated[name]:
            return f"{name} was changed after it was signed (sha256 {there[name][:12]}, signed {stated[name][:12]})"
    return ""
