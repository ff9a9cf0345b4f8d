"""Makes what a training left into a version that can be signed: architecture, card and manifest beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aios.engines import WorkloadFailed
from aios.kernel.events import Artefact
from aios.models.manifest import MANIFEST, SIGNATURE, digest_of_bytes, statement_of
from pipelines.files import sync_tree, write_json, write_whole
from pipelines.models.card import CARD as MARKDOWN
from pipelines.models.card import markdown
from pipelines.models.convert import without_pickles
from pipelines.models.weights import WEIGHTS

ARCHITECTURE = "model.json"
META = ("task", "model", "trained", "scores", "dataset", "classes", "signature", "lineage")
"""What of the card is kept in the log, so that versions are compared where their files are not."""
MOST_INPUTS = 200
"""A signature with more inputs is kept in the folder alone."""


def registered(folder: Path, card: Mapping[str, Any]) -> Artefact:
    """Return the model version in a folder, complete and durable; the control plane signs it when it is published.

    Raises WorkloadFailed where a file is a pickle that cannot be made into tensors and plain values.
    """
    replaced = without_pickles(folder)
    (folder / SIGNATURE).unlink(missing_ok=True)  # of whatever the checkpoint was made from
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # they are written for their owner alone, and workers of others read them
    full = {**card, "files": _files(folder, replaced)}
    write_json(folder / ARCHITECTURE, full)
    write_whole(folder / MARKDOWN, markdown(full).encode())
    try:
        statement = statement_of(folder, full["name"])
    except ValueError as error:
        raise WorkloadFailed(f"model {full['name']!r}: {error}") from None
    write_whole(folder / MANIFEST, statement)
    sync_tree(folder)
    digest = digest_of_bytes(statement)
    meta = {key: full[key] for key in META if full.get(key) is not None}
    if len(full["signature"]["inputs"]) > MOST_INPUTS:
        n = len(full["signature"]["inputs"])
        meta["signature"] = {"inputs": n, "outputs": full["signature"]["outputs"]}
    return Artefact("model", full["name"], str(folder), digest, json.dumps({**meta, "manifest": digest}))


def _files(folder: Path, replaced: tuple[str, ...]) -> dict[str, str]:
    known = {
        WEIGHTS: "weights",
        "model.onnx": "the same network for ONNX Runtime: raw rows in, logits or a quantity out",
        ARCHITECTURE: "architecture, signature, statistics and recipe of the training data",
        MANIFEST: "the digest of every file, which is what is signed",
    }
    found = {name: what for name, what in known.items() if name in (ARCHITECTURE, MANIFEST) or (folder / name).exists()}
    if replaced:
        found["*.safetensors, *.values.json"] = f"made from {', '.join(replaced)}, which were pickles"
    return found
