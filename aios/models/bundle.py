"""Signatures of statements as Sigstore bundles, signed with a key and without any service.

References
----------
DSSE 1.0.2 (the envelope and its pre-authentication encoding); Sigstore bundle v0.3; OpenSSF Model Signing 1.0. The
files are those that ``model_signing sign key`` writes and ``model_signing verify key`` reads.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from aios.models.keys import hint_of

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign(statement: bytes, key: ec.EllipticCurvePrivateKey) -> str:
    """Return the bundle: the statement, its signature, and which key signed it."""
    signature = key.sign(_encoded(statement), ec.ECDSA(hashes.SHA256()))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint_of(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=1) + "\n"


def opened(bundle: str) -> tuple[bytes, bytes, str]:
    """Return statement, signature and the key's digest, all unverified; raises ValueError where it is no bundle."""
    try:
        parsed: Any = json.loads(bundle)
        envelope = parsed["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        if (parsed["mediaType"], envelope["payloadType"]) != (MEDIA_TYPE, PAYLOAD_TYPE):
            raise ValueError(f"it is of type {parsed['mediaType']!r}")
        hint = str(parsed["verificationMaterial"]["publicKey"]["hint"])
        return base64.b64decode(envelope["payload"], validate=True), base64.b64decode(signature["sig"]), hint
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no signature bundle: {error!r}") from None


def signed_by(statement: bytes, signature: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(signature, _encoded(statement), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _encoded(statement: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(statement), statement)
