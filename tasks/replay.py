"""Replay: what stands in a queue is tried again, through the mapping as it is now, as it failed, or as it was edited.

letters      a refused write is planned anew from its golden record, or sent again in the very words that were refused,
             or in the words that a person put right; the letter ends as `replayed` and names the write it became
records      a quarantined record is mapped and judged anew, from what is landed; its entry closes if it passes

A dry run does the same in a transaction that is rolled back, and so says what would become of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from staging import audit, backlog, entries, letters, locks, outbox
from staging.engine import Connection
from tasks.gather import Way, ways
from tasks.plan import plan_these
from tasks.release import release
from tasks.stage import stage
from tasks.world import World

How = Literal["current", "as_it_failed", "edited"]
"""current: planned anew; as_it_failed: the frozen payload; edited: the payload as a person has put it right."""
Outcome = Literal["queued", "held", "waiting", "resolved", "passed", "failing", "left"]
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one entry, or would."""

    id: int
    record: str
    outcome: Outcome
    because: str
    write: int | None = None
    """The write that it became."""
    changes: tuple[dict[str, Any], ...] = ()
    """What that write changes: field, old, new, authority."""


def replay_letters(
    world: World, chosen: Sequence[tuple[int, How]], *, by: str, reason: str, is_dry: bool = False
) -> list[Replayed]:
    """Replays open dead letters, each in its way; gives what became of each. What is not open any more is passed over.

    Nothing is sent here: a write goes through the brake and the holds as any other, and with the next delivery."""
    how = dict(chosen)
    with world.transaction() as conn:
        places = _by_place(letters.some(conn, list(how)))
    done: list[Replayed] = []
    for place, ids in places:
        for start in range(0, len(ids), CHUNK):
            with world.rehearsal() if is_dry else world.all_or_nothing() as conn:
                locks.gate(conn, f"resolve:{place[0]}")  # before the letters: delivery settles in this order, too
                rows = letters.open_ones(conn, ids[start : start + CHUNK])
                found = _replay_place(conn, world, place, rows, how, by=by, reason=reason)
                if place[1] in world.landscape.integrations:
                    release(world, [place[1]], requested_by=by)
                done += _settled(conn, found)
    return done


Place = tuple[str, str, str, str]


def _by_place(rows: Iterable[dict[str, Any]]) -> list[tuple[Place, list[int]]]:
    """The letters of one integration's target and entity together."""
    found: dict[Place, list[int]] = {}
    for row in rows:
        found.setdefault((row["entity"], row["integration"], row["system"], row["stream"]), []).append(row["id"])
    return sorted(found.items())


def _replay_place(
    conn: Connection,
    world: World,
    place: Place,
    rows: list[dict[str, Any]],
    how: dict[int, How],
    *,
    by: str,
    reason: str,
) -> list[Replayed]:
    entity, integration, system, stream = place
    declared = ways(world, [integration]) if integration in world.landscape.integrations else []
    way = next((w for w in declared if (w.target.system, w.target.stream) == (system, stream)), None)
    if way is None or way.entity.name != entity:
        because = f"{integration} does not write to {system}/{stream} any more: close it"
        return [_of(row, "left", because) for row in rows]
    if way.is_paused:
        return [_of(row, "left", f"{integration} or {system} is paused") for row in rows]
    if way.target.mode == "observe":
        return [_of(row, "left", f"{system}/{stream} is observed, not written to") for row in rows]
    anew = [row for row in rows if how[row["id"]] == "current"]
    frozen = [row for row in rows if how[row["id"]] != "current"]
    return [
        *_plan_anew(conn, world, way, anew, by=by, reason=reason),
        *(_send_again(conn, way, row, how[row["id"]], by=by, reason=reason) for row in frozen),
    ]


def _plan_anew(
    conn: Connection, world: World, way: Way, rows: list[dict[str, Any]], *, by: str, reason: str
) -> list[Replayed]:
    """Ends the letters, so that what was refused is no reason not to say it again, and plans their records."""
    if not rows:
        return []
    records = pl.DataFrame({"canonical_id": sorted({r["canonical_id"] for r in rows})})
    letters.end(conn, [r["id"] for r in rows], "replayed", by=by, reason=reason)
    plan_these(conn, world, way, records, sync_id=None)
    standing = outbox.open_writes(conn, way.entity.name, way.target.system, way.target.stream, records)
    writes = {r["canonical_id"]: int(r["outbox_id"]) for r in standing.iter_rows(named=True)}
    found = []
    for row in rows:
        write = writes.get(row["canonical_id"])
        if write is None:
            letters.resolve(conn, row["id"], "nothing differs any more: what was refused is not wanted now")
            found.append(_of(row, "resolved", "nothing differs any more: what was refused is not wanted now"))
            continue
        letters.name_write(conn, row["id"], write)
        _note(conn, row, by, reason, "current", write)
        found.append(_of(row, "queued", "planned anew from its golden record", write=write))
    return found


def _send_again(conn: Connection, way: Way, row: dict[str, Any], how: How, *, by: str, reason: str) -> Replayed:
    """Queues a refused write in the words it was refused in, or in those that a person put right."""
    if how == "edited" and row["edited"] is None:
        return _of(row, "left", "nobody has edited it: concord dead-letters edit")
    if later := letters.later_write(conn, row["outbox_id"]):
        because = f"write {later['id']} of the same record came later and is {later['state']}: replay it as it is now"
        return _of(row, "left", because)
    plan_id = outbox.begin_plan(conn, sync_id=None, **way.place, authority=letters.authority_of(conn, row["plan_id"]))
    write = letters.requeue(conn, row["id"], plan_id, is_edited=how == "edited")
    outbox.add_to_plan(conn, plan_id, considered=1, unchanged=0, adopted=0, enqueued=1)
    letters.end(conn, [row["id"]], "replayed", by=by, reason=reason)
    letters.name_write(conn, row["id"], write)
    _note(conn, row, by, reason, how, write)
    return _of(row, "queued", "as it was edited" if how == "edited" else "as it failed", write=write)


def _note(conn: Connection, row: dict[str, Any], by: str, reason: str, how: How, write: int) -> None:
    detail = {"how": how, "write": write, "refused": row["outbox_id"]}
    audit.append(conn, by, "letter.replayed", f"letter:{row['id']}", detail, reason=reason)


def _settled(conn: Connection, done: list[Replayed]) -> list[Replayed]:
    """What the release has made of the writes: ready to be sent, waiting for a parent, or held; and their changes."""
    states = letters.standing_of(conn, [r.write for r in done if r.write is not None])
    words: dict[str, tuple[Outcome, str]] = {
        "ready": ("queued", "goes with the next delivery"),
        "waiting": ("waiting", "waits for a record to exist there first"),
        "held": ("held", "waits for a yes: concord holds list"),
    }
    found = []
    for one in done:
        stands = states.get(one.write or 0)
        if stands is None:
            found.append(one)
            continue
        outcome, said = words.get(stands["state"], (one.outcome, stands["state"]))
        found.append(
            Replayed(one.id, one.record, outcome, f"{one.because}; {said}", one.write, tuple(stands["changes"] or ()))
        )
    return found


def _of(row: dict[str, Any], outcome: Outcome, because: str, *, write: int | None = None) -> Replayed:
    record = f"{row['entity']} {row['canonical_id']} to {row['system']}/{row['stream']}"
    return Replayed(row["id"], record, outcome, because, write)


# ------------------------------------------------------------------------------------------------------- quarantine


def replay_records(world: World, ids: Sequence[int], *, by: str, reason: str, is_dry: bool = False) -> list[Replayed]:
    """Maps and judges the records of open quarantine entries anew, from what is landed; gives what became of each
    entry. What passed is taken in by the next sync."""
    with world.transaction() as conn:
        known = entries.some(conn, "quarantine", ids)
    rows = [known[i] for i in dict.fromkeys(ids) if i in known and known[i]["state"] == "open"]
    unread = [row for row in rows if row["scope"] == "unreadable"]
    found = [_of_record(row, "left", "it could not be read: only its system can send it again") for row in unread]
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["scope"] != "unreadable":
            places.setdefault((row["system"], row["stream"]), []).append(row)
    for (system, stream), some in sorted(places.items()):
        found += _judge(world, system, stream, some, by=by, reason=reason, is_dry=is_dry)
    return found


def _judge(
    world: World, system: str, stream: str, rows: list[dict[str, Any]], *, by: str, reason: str, is_dry: bool
) -> list[Replayed]:
    """The entries of one stream's records, judged anew; one batch an entity, as a sync does it."""
    sources = sorted({str(row["source_id"]) for row in rows})
    if is_dry:
        with world.rehearsal() as conn:
            return _judged(conn, world, system, stream, sources, rows)
    with world.transaction() as conn:
        backlog.put_back(conn, system, stream, sources)
        detail = {"entries": len(rows), "records": len(sources), "tried": "again"}
        audit.append(conn, by, "quarantine.decided", f"stream:{system}/{stream}", detail, reason=reason)
    stopped = stage(world, system, stream, sync_id=None, docs_dir=None, only=sources).stopped
    with world.transaction() as conn:
        return _outcomes(conn, rows, stopped)


def _judged(
    conn: Connection, world: World, system: str, stream: str, sources: list[str], rows: list[dict[str, Any]]
) -> list[Replayed]:
    backlog.put_back(conn, system, stream, sources)
    stopped = stage(world, system, stream, sync_id=None, docs_dir=None, only=sources).stopped
    return _outcomes(conn, rows, stopped)


def _outcomes(conn: Connection, rows: list[dict[str, Any]], stopped: str | None) -> list[Replayed]:
    known = entries.some(conn, "quarantine", [row["id"] for row in rows])
    found = []
    for row in rows:
        now = known[row["id"]]
        if stopped:
            found.append(_of_record(row, "failing", f"the batch was stopped: {stopped}"))
        elif now["state"] == "open":
            found.append(_of_record(row, "failing", f"{now['rule']}: {now['reason']}"))
        else:
            found.append(_of_record(row, "passed", str(now["closed_because"])))
    return found


def _of_record(row: dict[str, Any], outcome: Outcome, because: str) -> Replayed:
    return Replayed(row["id"], f"{row['system']}/{row['stream']}/{row['source_id'] or ''}", outcome, because)
