"""Forget: one subject is erased from everything Concord holds, with a proof; the systems' own copies are named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from staging import audit, erasure, golden, locks
from staging.copies import Erased
from staging.engine import Connection
from tasks.sync import SyncBusy, TurnedAway
from tasks.world import World

IDENTIFYING = frozenset(("text", "email", "phone", "url"))
"""Kinds of columns whose values may tell who somebody is."""


class NotWhole(TurnedAway):
    """Something was found still: everything was put back."""


@dataclass(frozen=True)
class Forgotten:
    """What was erased, or would be."""

    entity: str
    canonical_id: str
    is_done: bool
    golden: list[str]
    """ENTITY ID of every golden record concerned."""
    still_there: list[str]
    """SYSTEM/STREAM/ID: where the systems themselves hold it; nothing was deleted there."""
    counts: dict[str, int]
    copies: dict[str, int]
    mentions: dict[str, int]
    searched: int
    erasure_id: int | None = None
    digest: str | None = None


def forget(world: World, entity: str, needle: str, *, by: str, reason: str, is_done: bool) -> Forgotten:
    """Erases a subject, or (`is_done` false) does so in a transaction that is rolled back, and gives the counts.

    `needle`: a canonical id, SYSTEM/STREAM/ID, or a value that one golden record alone has. Raises KeyError where there
    is none, TurnedAway, SyncBusy."""
    with _nobody_else(world), world.engine.connect() as conn, conn.begin() as whole:
        canonical_id = _found(conn, world, entity, needle)
        subject = erasure.subject_of(conn, entity, canonical_id, _children(world))
        values = erasure.values_of(conn, subject, _columns(world))
        try:
            done = erasure.erase(conn, subject, values)
        except erasure.OnItsWay as busy:
            raise TurnedAway(str(busy)) from None
        if done.left:
            places = ", ".join(f"{where} ({rows})" for where, rows in done.left.items())
            raise NotWhole(f"the search afterwards still found values of it in {places}: nothing was erased")
        found = _told(entity, canonical_id, subject, done, is_done=is_done)
        if not is_done:
            whole.rollback()
            return found
        number, digest = erasure.record(conn, entity, canonical_id, by=by, proof=asdict(found))
        detail = {"erasure": number, "proof": digest, "rows": sum(done.counts.values()), "searched": done.searched}
        audit.append(conn, by, "subject.forgotten", f"{entity}:{canonical_id}", detail, reason=reason)
    return Forgotten(**{**asdict(found), "erasure_id": number, "digest": digest})


@contextmanager
def _nobody_else(world: World) -> Iterator[None]:
    """Nothing is synced meanwhile: what a running sync holds in memory would be written afterwards."""
    with ExitStack() as stack:
        for name in world.landscape.integrations:
            if stack.enter_context(locks.lane(world.engine, f"sync:{name}", wait=False)) is None:
                raise SyncBusy(name, "a moment ago", "another process")
        yield


def _found(conn: Connection, world: World, entity: str, needle: str) -> str:
    ids = golden.find(conn, world.landscape.model[entity], needle)
    if not ids:
        raise KeyError(needle)
    if len(ids) > 1:
        raise TurnedAway(f"{len(ids)} records answer to that: name one of {', '.join(ids[:5])}")
    return ids[0]


def _children(world: World) -> list[tuple[str, str, str]]:
    """(system, child stream, parent stream) of the landscape."""
    return [
        (name, stream.name, stream.child_of.stream)
        for name, system in world.landscape.active_systems.items()
        for stream in system.streams.values()
        if stream.child_of is not None
    ]


def _columns(world: World) -> dict[str, list[str]]:
    """Entity → its columns whose values may tell who somebody is; references and choices cannot."""
    return {
        entity.name: [leaf.column for leaf in entity.leaves if leaf.kind in IDENTIFYING]
        for entity in world.landscape.model.entities
    }


def _told(entity: str, canonical_id: str, subject: erasure.Subject, done: Erased, *, is_done: bool) -> Forgotten:
    return Forgotten(
        entity=entity,
        canonical_id=canonical_id,
        is_done=is_done,
        golden=[" ".join(pair) for pair in subject.golden],
        still_there=["/".join(key) for key in subject.records],
        counts=done.counts,
        copies=done.copies,
        mentions=done.mentions,
        searched=done.searched,
    )


def as_dict(found: Forgotten) -> dict[str, Any]:
    """For `--json`."""
    return asdict(found)
