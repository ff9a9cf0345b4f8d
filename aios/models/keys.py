"""The key that signs model versions: private in the home, its public half beside the models.

A public key is kept under its own digest, so that versions signed with an earlier key are still known after a home was
made anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aios.adapters.fence import write_once

PRIVATE = Path("keys", "models.pem")
"""Below the home, readable by its owner alone."""
PUBLIC = Path("keys", "models")
"""Below the storage: a folder of ``<digest>.pub``."""


def signing_key(home: Path, storage: Path) -> ec.EllipticCurvePrivateKey:
    """Return the home's key, made at the first call; its public half is put into the storage."""
    path = home / PRIVATE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_once(path, pem.decode())  # 0600 from the start; where another made one meanwhile, that one stays
    path.chmod(0o600)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError(f"{path} is no EC key on P-256: move it away, and `aios up` makes a new one")
    public = storage / PUBLIC / f"{hint_of(key.public_key())}.pub"
    public.parent.mkdir(parents=True, exist_ok=True)
    if write_once(public, pem_of(key.public_key()).decode()):
        public.chmod(0o644)
    return key


def public_key(storage: Path, hint: str) -> ec.EllipticCurvePublicKey | None:
    """Return the public key with this digest, None where the storage has none that is what it is called."""
    if not hint.isalnum():
        return None
    try:
        key = serialization.load_pem_public_key((storage / PUBLIC / f"{hint}.pub").read_bytes())
    except (OSError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and hint_of(key) == hint else None


def hint_of(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key's PEM text, as signatures name it."""
    return hashlib.sha256(pem_of(key)).hexdigest()


def pem_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
