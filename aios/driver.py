"""What brings AIOS up or down on a Ray cluster, in a process of its own: an order on stdin, an answer on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from aios.adapters.ray_leftovers import Leftovers
from aios.config import API_HOST, Settings
from aios.control import actor
from aios.errors import AiosError, NoControlPlane, Unauthorized
from aios.main import answers

FACTORY = "aios.assembly:control_plane"
ANSWER_S = 90.0
"""How long a control plane may take to answer after it was started."""


def main() -> None:
    order = json.load(sys.stdin)
    try:
        answer = {"start": start, "end": end}[order["do"]](order)
    except AiosError as error:
        answer = {"error": error.code, "message": error.message, "hint": error.hint}
    print("\n" + json.dumps(answer), flush=True)


def start(order: dict[str, Any]) -> dict[str, Any]:
    """Start the control plane on the cluster and wait until it answers."""
    with actor.attached(order["address"]) as cluster:
        if not order["own"] and not order["insecure"]:
            _refuse_open(cluster)
        found = {
            "address": cluster.address,
            "api_url": f"http://{API_HOST}:{order['port']}",
            "ray_version": cluster.ray_version,
            "python_version": cluster.python_version,
            "dashboard_url": cluster.dashboard_url,
        }
        home, storage = Path(order["home"]), Path(order["storage"])
        kept = order["backups"]
        settings = Settings(
            home, storage, order["store_url"], api_port=order["port"],
            backups_at=Path(kept["at"]), backup_every_s=kept["every_s"], backup_keep=kept["keep"],
        )  # fmt: skip
        facts = {**found, "storage": str(storage), "embedded": order["own"]}
        actor.start(FACTORY, {"settings": settings, "facts": facts}, order["environment"])
        found["api_url"] = _await(found["api_url"])
    return found


def end(order: dict[str, Any]) -> dict[str, Any]:
    """End the control plane and everything of its attempts; the cluster goes on."""
    with actor.attached(order["address"]):
        actor.end()
        Leftovers().remove_all()
    return {}


def _await(url: str) -> str:
    """Return where the control plane answers: at ``url``, or where one that was running before does."""
    deadline_s = time.monotonic() + ANSWER_S
    while not answers(url):
        health = actor.health()
        if health["failure"]:
            actor.end()
            raise AiosError(f"the control plane cannot begin: {health['failure']}")
        url = health["api_url"] or url
        if time.monotonic() > deadline_s:
            hint = "run this on the cluster's head node"
            raise NoControlPlane(f"the control plane was started, but {url} does not answer here", hint=hint)
        time.sleep(0.1)
    return url


def _refuse_open(cluster: actor.Attached) -> None:
    """Refuse a cluster on which anyone who reaches a port may run code."""
    try:
        with urllib.request.urlopen(f"{cluster.dashboard_url}/api/authentication_mode", timeout=10) as answer:
            mode = str(json.load(answer).get("authentication_mode", "unknown"))
    except (OSError, ValueError):
        mode = os.environ.get("RAY_AUTH_MODE", "unknown")
    if mode not in ("token", "k8s"):
        raise Unauthorized(
            f"the Ray cluster at {cluster.address} has authentication {mode}: who reaches a port of it runs any code",
            hint="start it with RAY_AUTH_MODE=token, or accept the risk with --insecure",
        )


if __name__ == "__main__":
    main()
