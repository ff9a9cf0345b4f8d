"""Versions as people and programs use them: the part of the client that finds, tags, publishes and traces them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aios.connection import Connection
from aios.sources import checked
from aios.views import AliasList, AliasView, ArtefactList, ArtefactView, LineageView, from_json


class Catalogue:
    """Versions of datasets (and models, where ``type_`` says so) at one control plane."""

    def __init__(self, wire: Connection) -> None:
        self._wire = wire

    def version(self, ref: str, type_: str = "dataset") -> ArtefactView:
        """Return one version: ``NAME``, ``NAME@7``, ``NAME@tag``, ``NAME@branch`` or ``NAME@2026-11-01T00:00Z``."""
        return from_json(ArtefactView, self._wire.get(self._at(type_, ref)))

    def lineage(self, ref: str, type_: str = "dataset") -> LineageView:
        return from_json(LineageView, self._wire.get(f"{self._at(type_, ref)}/lineage"))

    def tag(self, ref: str, tag: str, *, type_: str = "dataset", by: str = "") -> ArtefactView:
        """Name a version, or move the name there."""
        return self._sent("PUT", f"{self._at(type_, ref)}/tags/{checked(tag)}", by)

    def untag(self, ref: str, tag: str, *, type_: str = "dataset", by: str = "") -> ArtefactView:
        return self._sent("DELETE", f"{self._at(type_, ref)}/tags/{checked(tag)}", by)

    def rollback(self, ref: str, *, type_: str = "dataset", by: str = "") -> ArtefactView:
        """Publish an earlier version again, as the newest."""
        return self._sent("POST", f"{self._at(type_, ref)}/rollback", by)

    def publish_branch(self, ref: str, *, by: str = "") -> ArtefactView:
        """Publish the newest version of ``NAME@BRANCH`` under the name."""
        return self._sent("POST", f"{self._at('dataset', ref)}/publish", by)

    def publish(self, version: Mapping[str, Any], *, type_: str = "dataset", by: str = "") -> ArtefactView:
        """Publish what is in the storage already: name, uri, digest, meta, origin, inputs."""
        found = self._wire.send("POST", f"/versions/{type_}", body=dict(version), params={"by": by})
        return from_json(ArtefactView, found)

    def aliases(self, model: str) -> tuple[AliasView, ...]:
        """Return a model's aliases, each with the version that had it before."""
        return from_json(AliasList, self._wire.get(f"/models/{checked(model)}/aliases")).aliases

    def reports(self, model: str) -> tuple[ArtefactView, ...]:
        """Return the reports of evaluations of a model's versions, oldest first."""
        return from_json(ArtefactList, self._wire.get(f"/models/{checked(model)}/reports")).artefacts

    def rollback_alias(self, model: str, alias: str, *, by: str = "") -> ArtefactView:
        """Give an alias of a model back to the version that had it before."""
        return self._sent("POST", f"/models/{checked(model)}/aliases/{checked(alias)}/rollback", by)

    def remove(
        self, name: str, versions: Sequence[int], *, type_: str = "dataset", why: str = "", by: str = ""
    ) -> tuple[ArtefactView, ...]:
        """Take versions out of use, before their bytes go."""
        body = {"versions": list(versions), "why": why}
        found = self._wire.send("POST", f"{self._at(type_, name)}/remove", body=body, params={"by": by})
        return from_json(ArtefactList, found).artefacts

    def _sent(self, method: str, path: str, by: str) -> ArtefactView:
        return from_json(ArtefactView, self._wire.send(method, path, params={"by": by}))

    def _at(self, type_: str, ref: str) -> str:
        return f"/versions/{type_}/{checked(ref)}"
