"""Keeps an edge node's model up to date: fetches, verifies, tests, switches at once, and goes back by itself.

    python edge.py update --from URL_OR_FOLDER --name NAME --alias prod --root FOLDER --key KEY.pub
    python edge.py rollback --root FOLDER
    python edge.py status --root FOLDER

Needs Python's own library alone; the self-test runs the fetched ``run.py``, which needs ONNX Runtime and numpy. The
model in use is always ``ROOT/current``. The key is the public half that the node trusts; put it there once, by hand.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 64 << 30
CHUNK = 1 << 20
TIMEOUT_S = 60.0
TEST_S = 300.0
TYPE = "application/vnd.in-toto+json"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

# NIST P-256 (FIPS 186-5, SP 800-186).
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
Point = tuple[int, int] | None


class Refused(Exception):
    """What was fetched is not used, and why."""


def update(source: str, name: str, alias: str, root: Path, key: Path) -> str:
    """Bring ``root/current`` to the version that an alias means; return what was done. Raises Refused."""
    if not NAME.fullmatch(name) or not NAME.fullmatch(alias):
        raise Refused(f"{name}@{alias} is no name and alias")
    public = public_key(key)
    root.mkdir(parents=True, exist_ok=True)
    state = read_state(root)
    # 1. Which version is meant, as its owner signed it, and not an older word than the one we have heard.
    pointer = json.loads(opened(read(source, f"{name}/{alias}.json", 1 << 20), public))
    if (pointer.get("name"), pointer.get("alias")) != (name, alias):
        raise Refused(f"{alias}.json is signed for {pointer.get('name')}@{pointer.get('alias')}, not {name}@{alias}")
    if pointer["at_s"] < state.get("at_s", 0):
        raise Refused(f"{alias}.json is older than the one that was followed before: somebody may be holding news back")
    version, digest = int(pointer["version"]), str(pointer["manifest"])
    state["at_s"] = pointer["at_s"]
    if state.get("current") == version and state.get("manifest") == digest:
        write_state(root, state)
        return f"{name}@{version} is current already"
    if digest in state.get("bad", []):
        raise Refused(f"{name}@{version} failed its self-test here before: it is not tried again")
    # 2. Its files, each as it was signed.
    folder = fetch(source, name, version, digest, root, public)
    # 3. It answers its sample before anyone uses it; then it is the current one, and answers again.
    failed = tested(folder) or switched_and_tested(root, folder)
    if failed:
        state["bad"] = [*state.get("bad", []), digest][-20:]
        write_state(root, state)
        raise Refused(f"{name}@{version} failed its self-test, so {state.get('current') or 'nothing'} stays: {failed}")
    before = {key: state[key] for key in ("current", "manifest") if key in state}
    write_state(root, {**state, "name": name, "current": version, "manifest": digest, "before": before})
    tidy(root)
    return f"{name}@{version} is current now"


def rollback(root: Path) -> str:
    """Go back to the version that was current before."""
    state = read_state(root)
    before = state.get("before") or {}
    folder = root / "versions" / str(before.get("current"))
    if not before or not folder.is_dir():
        raise Refused("there is no version before the current one")
    if failed := tested(folder):
        raise Refused(f"version {before['current']} fails its self-test: {failed}")
    switch(root, folder)
    bad = [*state.get("bad", []), state["manifest"]][-20:]
    write_state(root, {**state, **before, "bad": bad, "before": {}})
    return f"version {before['current']} is current again"


def fetch(source: str, name: str, version: int, digest: str, root: Path, public: tuple[int, int]) -> Path:
    """Bring a version's folder here, whole or not at all; every file is compared with the signed manifest."""
    folder = root / "versions" / str(version)
    part = root / "versions" / f".{version}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    at = f"{name}/{version}"
    signature = read(source, f"{at}/model.sig", 64 << 20)
    statement = opened(signature, public)
    if f"sha256:{hashlib.sha256(statement).hexdigest()}" != digest:
        raise Refused(f"{at}/model.sig is of another version than the one that the alias means")
    (part / "model.sig").write_bytes(signature)
    (part / "manifest.json").write_bytes(statement)
    left = MOST_BYTES
    for one in json.loads(statement)["predicate"]["resources"]:
        path = part / one["name"]
        if Path(one["name"]).is_absolute() or ".." in Path(one["name"]).parts:
            raise Refused(f"{one['name']!r} leads out of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            n_bytes, digest_of_file = copied(source, f"{at}/{one['name']}", file, left)
        left -= n_bytes
        if digest_of_file != one["digest"]:
            raise Refused(f"{one['name']} of {name}@{version} is not what was signed")
    for path in part.rglob("*"):
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    sync(folder.parent)
    return folder


def switched_and_tested(root: Path, folder: Path) -> str:
    """Make a version the current one and test it there; where it fails, the one before is current again."""
    link = root / "current"
    before = link.resolve() if link.is_symlink() else None
    switch(root, folder)
    failed = tested(link)
    if failed:
        if before is not None and before.is_dir():
            switch(root, before)
        else:
            link.unlink()
    return failed


def switch(root: Path, folder: Path) -> None:
    """Point ``current`` to a version: whoever opens it sees the old one or the new one."""
    part = root / ".current.part"
    part.unlink(missing_ok=True)
    part.symlink_to(Path("versions") / folder.name)
    os.replace(part, root / "current")
    sync(root)


def tested(folder: Path) -> str:
    """Run a version's self-test; return why it failed, empty where it did not."""
    command = [sys.executable, "-B", str(folder.resolve() / "run.py"), "--self-test"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no word of it"])[-1]


def tidy(root: Path) -> None:
    """Remove versions that are neither current nor the one before."""
    state = read_state(root)
    keep = {str(state.get("current")), str((state.get("before") or {}).get("current"))}
    for path in (root / "versions").iterdir():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def read(source: str, path: str, most: int) -> bytes:
    """Return a small file of the source."""
    content = io.BytesIO()
    copied(source, path, content, most)
    return content.getvalue()


def copied(source: str, path: str, to: BinaryIO, most: int) -> tuple[int, str]:
    """Copy a file of the source, at most so many bytes, piece by piece; return their number and SHA-256."""
    digest, n_bytes = hashlib.sha256(), 0
    try:
        with stream(source, path) as content:
            while piece := content.read(CHUNK):
                n_bytes += len(piece)
                if n_bytes > most:
                    raise Refused(f"{path} is larger than {most} bytes")
                digest.update(piece)
                to.write(piece)
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{path} cannot be read from {source}: {error}") from None
    return n_bytes, digest.hexdigest()


def stream(source: str, path: str) -> BinaryIO:
    if "://" not in source:
        return (Path(source) / path).open("rb")
    found: BinaryIO = urllib.request.urlopen(f"{source.rstrip('/')}/{path}", timeout=TIMEOUT_S)
    return found


def read_state(root: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((root / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write_state(root: Path, state: dict[str, Any]) -> None:
    part = root / ".state.json.part"
    part.write_text(json.dumps(state, indent=1), encoding="utf-8")
    sync(part)
    os.replace(part, root / "state.json")
    sync(root)


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def public_key(path: Path) -> tuple[int, int]:
    """Return the point of an EC key on P-256 in PEM form."""
    text = "".join(line for line in path.read_text(encoding="ascii").splitlines() if not line.startswith("-----"))
    raw = base64.b64decode(text)
    if not raw.startswith(SPKI) or len(raw) != len(SPKI) + 65 or raw[len(SPKI)] != 4:
        raise Refused(f"{path} is no public key on P-256")
    x, y = int.from_bytes(raw[-64:-32], "big"), int.from_bytes(raw[-32:], "big")
    if (y * y - (x**3 - 3 * x + B)) % P:
        raise Refused(f"{path} is no point of P-256")
    return x, y


def opened(bundle: bytes, public: tuple[int, int]) -> bytes:
    """Return what a bundle (Sigstore's form, DSSE inside) holds; raises Refused where the key did not sign it."""
    try:
        envelope = json.loads(bundle)["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        kind = envelope["payloadType"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Refused(f"the signature cannot be read: {error!r}") from None
    said = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)
    if kind != TYPE or not signed(said, signature, public):
        raise Refused("it is not signed by the key that this node trusts")
    return payload


def signed(message: bytes, signature: bytes, public: tuple[int, int]) -> bool:
    """Verify ECDSA with SHA-256 on P-256 (FIPS 186-5, 6.4.2)."""
    pair = integers(signature)
    if pair is None or not (0 < pair[0] < N and 0 < pair[1] < N):
        return False
    r, s = pair
    e = int.from_bytes(hashlib.sha256(message).digest(), "big")
    w = pow(s, -1, N)
    point = add(times(G, e * w % N), times(public, r * w % N))
    return point is not None and point[0] % N == r


def integers(der: bytes) -> tuple[int, int] | None:
    """Return the two numbers of a DER sequence; None where it is none."""
    if len(der) < 8 or der[0] != 0x30 or der[1] != len(der) - 2:
        return None
    found, at = [], 2
    for _ in range(2):
        if at + 2 > len(der) or der[at] != 2 or at + 2 + der[at + 1] > len(der):
            return None
        found.append(int.from_bytes(der[at + 2 : at + 2 + der[at + 1]], "big"))
        at += 2 + der[at + 1]
    return (found[0], found[1]) if at == len(der) else None


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(point: Point, k: int) -> Point:
    found: Point = None
    while k:
        if k & 1:
            found = add(found, point)
        point = add(point, point)
        k >>= 1
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="edge.py", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    to_update = commands.add_parser("update", help="follow an alias")
    to_update.add_argument(
        "--from", dest="source", required=True, help="URL or folder that `aios export --site` filled"
    )
    to_update.add_argument("--name", required=True)
    to_update.add_argument("--alias", required=True)
    to_update.add_argument("--key", required=True, type=Path, help="the public key that is trusted")
    others = [commands.add_parser(name) for name in ("rollback", "status")]
    for one in (to_update, *others):
        one.add_argument("--root", required=True, type=Path)
    given = parser.parse_args(arguments)
    try:
        if given.command == "update":
            print(update(given.source, given.name, given.alias, given.root, given.key))
        elif given.command == "rollback":
            print(rollback(given.root))
        else:
            print(json.dumps(read_state(given.root), indent=1))
    except (Refused, OSError, ValueError, KeyError) as error:
        print(f"edge.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
