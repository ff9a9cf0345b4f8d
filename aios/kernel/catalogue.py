"""What people do to versions by hand: tag them, publish one that is there already, take them out of use."""

from __future__ import annotations

from aios.kernel.events import Published, VersionsRemoved, VersionTagged, WorkloadId
from aios.kernel.evolve import Fold
from aios.kernel.inputs import built_on, exact, key_of, named, next_version, resolved, split, tags_at
from aios.kernel.ports import Accepted, PublishVersion, Refused, RemoveVersions, Reply, TagVersion
from aios.kernel.queue import live
from aios.kernel.state import State


def tag(fold: Fold, now_s: float, asked: TagVersion) -> Reply:
    """Give a version a name, or move the name there; version 0 takes the name away."""
    versions = fold.state.versions.get(asked.key, ())
    if asked.version and not any(v.version == asked.version for v in versions):
        return _no_version(asked.key, asked.version, len(versions))
    if asked.version in fold.state.removed.get(asked.key, frozenset()):
        return Refused("rejected", f"{asked.key}@{asked.version} was taken out of use", "tag one that is there")
    before = tags_at(fold.state, asked.key).get(asked.tag, 0)
    if not asked.version and not before:
        return Refused("not_found", f"{asked.key} has no tag {asked.tag!r}", f"list them: {_list_of(asked.key)}")
    if before != asked.version:
        fold.record(VersionTagged(now_s, asked.key, asked.tag, asked.version, asked.by))
    return Accepted((asked.key,), existing=before == asked.version)


def publish(fold: Fold, now_s: float, asked: PublishVersion) -> Reply:
    """Record a version that no attempt made: an earlier one again, a branch's, or one with rows erased."""
    key = key_of(asked.artefact)
    if not built_on(fold.state, asked.artefact):
        versions = fold.state.versions.get(key, ())
        newest = exact(key, versions[-1].version) if versions else "none"
        return Refused(
            "rejected",
            f"{key} was made from {asked.artefact.origin or 'nothing'}, and its newest version is {newest} now",
            "somebody else published meanwhile: begin again from the newest version",
        )
    version = next_version(fold.state, asked.artefact)
    fold.record(Published(now_s, asked.artefact, version, WorkloadId(""), 0, asked.inputs, asked.by))
    return Accepted((exact(key, version),))


def remove(fold: Fold, now_s: float, asked: RemoveVersions) -> Reply:
    """Take versions out of use before their bytes go: the newest, tagged ones and those that work reads stay."""
    state = fold.state
    versions = state.versions.get(asked.key, ())
    known = {v.version for v in versions}
    unknown = sorted(set(asked.versions) - known)
    if unknown:
        return _no_version(asked.key, unknown[0], len(versions))
    if versions[-1].version in asked.versions and "@" not in asked.key:  # of a branch all may go
        return Refused(
            "rejected", f"{asked.key}@{versions[-1].version} is the newest version", "publish another one first"
        )
    tagged = sorted((version, name) for name, version in tags_at(state, asked.key).items() if version in asked.versions)
    if tagged:
        version, name = tagged[0]
        type_, _, of = asked.key.partition("://")
        command = (
            f"aios models retire {of} --alias {name}" if type_ == "model" else f"aios data tag {of} {name} --delete"
        )
        hint = f"move or delete the tag: {command}"
        return Refused("rejected", f"{asked.key}@{version} has the tag {name!r}", hint)
    for (key, number), reader in in_use(state).items():
        if key == asked.key and number in asked.versions:
            return Refused("rejected", f"{exact(key, number)} is being read by {reader}", f"aios wait {reader}")
    for workload in live(state):
        writes = [reference for _, reference in workload.work.outputs if split(reference)[0] == split(asked.key)[0]]
        if writes and workload.current is not None:
            return Refused("rejected", f"{workload.id} is making a version of {writes[0]}", f"aios wait {workload.id}")
    fresh = tuple(sorted(set(asked.versions) - state.removed.get(asked.key, frozenset())))
    if fresh:
        fold.record(VersionsRemoved(now_s, asked.key, fresh, asked.why, asked.by))
    return Accepted(tuple(exact(asked.key, version) for version in fresh), existing=not fresh)


def in_use(state: State) -> dict[tuple[str, int], WorkloadId]:
    """Return the versions that work reads which is not over, each with a reader's id."""
    readers = ((named(one.reference), workload.id) for workload in live(state) for one in resolved(state, workload))
    return {version: reader for version, reader in readers if version is not None}


def _no_version(key: str, version: int, n: int) -> Refused:
    there = f"it has versions 1 to {n}" if n else "it has none"
    return Refused("not_found", f"there is no {key}@{version}", f"{there}: {_list_of(key)}")


def _list_of(key: str) -> str:
    """Return the command that lists the versions of a name."""
    type_, _, name = key.partition("://")
    return f"aios models list {name}" if type_ == "model" else f"aios data versions {name}"
