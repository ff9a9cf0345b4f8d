"""One replica of an endpoint: loads the model, says where it runs, answers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from aios.engines import Input
from pipelines.models.verified import verified
from pipelines.run import Whereabouts
from pipelines.serve.further import Choice
from pipelines.serve.raw import features_of
from pipelines.serve.rows import BadRequest
from pipelines.train.network import load, predict


class Predictor:
    """Answers rows with predictions of one model version.

    Parameters
    ----------
    model, storage : Input, str
        The version, which is checked against its signature each time that a replica starts, and where the keys are.
    others : sequence of (replicas, handle)
        Further deployments of the same endpoint, to which their part of the requests is passed on.
    n_fixed : int
        How many replicas there are that stay, this deployment's and those of ``others``.
    further : str
        The file that names the replicas above those.
    """

    def __init__(
        self,
        model: Input,
        storage: str,
        whereabouts: Whereabouts,
        n_fixed: int = 1,
        n_own: int = 1,
        others: Sequence[tuple[int, DeploymentHandle]] = (),
        further: str = "",
    ) -> None:
        torch.set_num_threads(1)
        self.network, self.card = load(verified(model, Path(storage)))
        self.version = model.reference.partition("://")[2]
        self.weights = [n_own, *(n for n, _ in others)]
        self.handles = [None, *(handle for _, handle in others)]
        self.n_fixed, self.further = n_fixed, Choice(Path(further)) if further else None
        whereabouts.say()

    async def __call__(self, request: Request) -> Response:
        try:
            if request.method in ("GET", "HEAD"):
                return _json(200, self.about())
            if request.method != "POST":
                raise BadRequest(405, f"{request.method} is not known here: GET describes the model, POST predicts")
            rows = features_of(await request.body(), self.card)
        except BadRequest as bad:
            return _json(bad.status, bad.document(), "application/problem+json")
        handle = self._whom()
        return _json(200, self.predict(rows) if handle is None else await handle.predict.remote(rows))

    def _whom(self) -> DeploymentHandle | None:
        """Return whom to pass a request on to; None: this replica answers it."""
        further = self.further.pick(self.n_fixed) if self.further is not None else None
        (fixed,) = random.choices(self.handles, self.weights)
        return further or fixed

    def predict(self, rows: list[list[float]]) -> dict[str, Any]:
        predictions, probabilities = predict(self.network, self.card, rows)
        answer: dict[str, Any] = {"model": self.version, "predictions": predictions}
        if probabilities is not None:
            answer["probabilities"] = [[round(p, 6) for p in row] for row in probabilities]
        return answer

    def about(self) -> dict[str, Any]:
        """Return what the endpoint takes and gives."""
        return {
            "model": self.version,
            "task": self.card["task"],
            "classes": self.card["classes"],
            "inputs": self.card["signature"]["inputs"],
            "outputs": self.card["signature"]["outputs"],
            "scores": self.card["scores"],
            "dataset": self.card["dataset"]["reference"],
        }


def _json(status: int, value: Mapping[str, Any], media_type: str = "application/json") -> Response:
    return Response(json.dumps(value), status_code=status, media_type=media_type)  # ASCII: survives lone surrogates
