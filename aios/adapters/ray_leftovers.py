"""What an attempt may leave in a Ray cluster, found by its name: actors, placement groups, Serve applications."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import ray
import structlog
from ray.util.placement_group import PlacementGroup, PlacementGroupID, placement_group_table, remove_placement_group

from aios.config import NAMESPACE

log = structlog.get_logger(__name__)

SERVE_NAMESPACE = "serve"
SERVE_CONTROLLER = "SERVE_CONTROLLER_ACTOR"
_NAME = re.compile(r"(aios/[^/]+/[0-9]+)(/.*)?")
_REPLICA = re.compile(r"SERVE_REPLICA::aios-([^#]+?)-([0-9]+)(\+[0-9]+)?#.*")


def actors_of_attempts() -> Mapping[str, str]:
    """Return the living named actors of all attempts: name to attempt. A supervisor has its attempt's own name."""
    rows = ray.util.list_named_actors(all_namespaces=True)
    names = [row["name"] for row in rows if row["namespace"] == NAMESPACE]
    return {name: owner for name in names if (owner := owner_of(name)) is not None}


def owner_of(name: str) -> str | None:
    """Return the attempt to which a thing of this name belongs, or None for things of others."""
    match = _NAME.fullmatch(name)
    return None if match is None else match[1]


class Leftovers:
    """Finds and removes them; asked again, it finds nothing."""

    def remove(self, attempts: Collection[str]) -> None:
        """Remove all that carries one of these attempts' names; Ray is asked once for all of them."""
        actors = [name for name, owner in actors_of_attempts().items() if owner in attempts]
        groups = [group for owner, group in _groups() if owner in attempts]
        self._remove(actors, groups)
        delete_applications(attempts)

    def sweep(self, actors: Mapping[str, str], known: set[str]) -> None:
        """Remove what belongs to attempts that are not known."""
        strays = [name for name, owner in actors.items() if owner not in known]
        groups = [group for owner, group in _groups() if owner not in known]
        served = sorted(served_attempts() - known)
        if strays or groups or served:
            log.info("strays_swept", actors=strays, n_groups=len(groups), served=served)
        self._remove(strays, groups)
        delete_applications(served)

    def remove_all(self) -> None:
        """Remove everything of every attempt, the supervisors too."""
        self.remove({*actors_of_attempts().values(), *(owner for owner, _ in _groups()), *served_attempts()})

    def _remove(self, actors: list[str], groups: list[PlacementGroup]) -> None:
        for name in actors:  # before the groups: a call to an actor whose group went first may hang
            kill_actor(name)
        for group in groups:
            remove_placement_group(group)


def kill_actor(name: str, namespace: str = NAMESPACE) -> None:
    """Kill a named actor for good, where there is one."""
    try:
        actor: Any = ray.get_actor(name, namespace=namespace)
    except ValueError:
        return
    ray.kill(actor, no_restart=True)


def _groups() -> list[tuple[str, PlacementGroup]]:
    """Return the placement groups of attempts that still hold or want something, with their owners."""
    found = []
    for row in placement_group_table().values():
        owner = owner_of(row["name"])
        if owner is not None and row["state"] != "REMOVED":
            group_id = PlacementGroupID(bytes.fromhex(row["placement_group_id"]))
            found.append((owner, PlacementGroup(group_id)))
    return found


def application_of(attempt: str) -> str:
    """Return the name under which an attempt deploys on Ray Serve."""
    return attempt.replace("/", "-")


def served_attempts() -> set[str]:
    """Return the attempts that have replicas on Ray Serve; looked up by name, so that no busy Serve holds us up."""
    return {owner for _, owner in _applications(ray.util.list_named_actors(all_namespaces=True))}


def _applications(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the Serve applications of attempts that have replicas, each with its attempt."""
    for row in rows:
        match = _REPLICA.fullmatch(row["name"]) if row["namespace"] == SERVE_NAMESPACE else None
        if match is not None:
            yield f"aios-{match[1]}-{match[2]}{match[3] or ''}", f"aios/{match[1]}/{match[2]}"


def delete_applications(attempts: Collection[str]) -> None:
    """Have these attempts' Serve applications deleted beside us, where Serve runs at all."""
    if not attempts:
        return
    rows = ray.util.list_named_actors(all_namespaces=True)
    if {"name": SERVE_CONTROLLER, "namespace": SERVE_NAMESPACE} in rows:
        controller: Any = ray.get_actor(SERVE_CONTROLLER, namespace=SERVE_NAMESPACE)
        found = {application for application, owner in _applications(rows) if owner in attempts}
        controller.delete_apps.remote(sorted(found | {application_of(attempt) for attempt in attempts}))
