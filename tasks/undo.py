"""Undo: what one run wrote is set back, as far as it still stands there, through the normal outbox (DESIGN 9.15).

Golden records are not changed: they say what the sources say. So that the next sync does not write the same again, the
integrations concerned are paused, with the undo's own writes let through, until a person resumes them (decision 018).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import groupby
from typing import Any

import orjson
import polars as pl

from canonical import keys
from canonical.mapping.native import native_values
from canonical.mapping.payloads import build_payloads
from canonical.undo import Back, Left, Written, way_back
from connectors.protocol import ConnectorError
from staging import audit, dirty, golden, outbox, pauses, undone
from staging.engine import Connection
from tasks.deliver import deliver
from tasks.explain import label_of
from tasks.gather import Way, ways
from tasks.release import release
from tasks.sync import Summary, TurnedAway, at_work, begin, count_delivered
from tasks.world import World

Row = dict[str, Any]
OPS = {"update": "update", "archive": "archive", "restore": "update"}
"""How an inverse is sent: what brings a record back is an update of what marks it as archived."""
READ_AT_ONCE = 100
"""Records asked for in one call of a target."""


@dataclass(frozen=True)
class Inverse:
    """One write that undoes what a run did to one record."""

    integration: str
    entity: str
    canonical_id: str
    label: str
    system: str
    stream: str
    source_id: str
    op: str
    changes: list[dict[str, str | None]]
    """field, old (what stands there), new (what stood there before), authority."""


@dataclass(frozen=True)
class Kept:
    """What is left alone, and why. `field` None: the whole record."""

    entity: str
    canonical_id: str
    label: str
    system: str
    stream: str
    source_id: str | None
    field: str | None
    because: str


@dataclass
class UndoPlan:
    """What an undo would do."""

    run: int
    integrations: tuple[str, ...] = ()
    """Those whose writes are undone: they are paused."""
    writes: list[Inverse] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    cancelled: list[Row] = field(default_factory=list)
    """Writes of the run that were not sent yet: they are dropped."""

    @property
    def is_empty(self) -> bool:
        return not self.writes and not self.cancelled

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "integrations": list(self.integrations),
            "writes": [vars(w) for w in self.writes],
            "left_alone": [vars(k) for k in self.kept],
            "cancelled": len(self.cancelled),
        }


def plan_undo(world: World, run: int) -> UndoPlan:
    """The way back from what sync `run` wrote, from what the targets hold now. Raises KeyError, ConnectorError."""
    with world.transaction() as conn:
        if undone.run(conn, run) is None:
            raise KeyError(run)
        rows = undone.delivered(conn, run)
        waiting, under_way = undone.unsettled(conn, run)
        known = {(w.integration.name, w.target.system, w.target.stream): w for w in ways(world, _declared(world, rows))}
    found = UndoPlan(run, cancelled=waiting)
    empty = [r for r in rows if _is_empty(r)]
    found.kept += [_kept(r, r["canonical_id"], None, "what it changed is not kept any more") for r in empty]
    rows = [r for r in rows if not _is_empty(r)]
    place = ("integration", "entity", "system", "stream")
    rows.sort(key=lambda r: [str(r[n]) for n in place])
    for where, group in groupby(rows, key=lambda r: tuple(str(r[n]) for n in place)):
        _plan_place(world, known.get((where[0], where[2], where[3])), list(group), found)
    found.kept += [_kept(r, r["canonical_id"], None, "it is on its way at this moment") for r in under_way]
    concerned = {w.integration for w in found.writes} | {r["integration"] for r in waiting}
    found.integrations = tuple(i for i in world.landscape.integrations if i in concerned)
    return found


def _is_empty(row: Row) -> bool:
    """Whether retention, or an erasure, has taken what a write changed."""
    return not row["asked"] and not row["before"] and bool(row["fields"])


def _declared(world: World, rows: Iterable[Row]) -> list[str]:
    return sorted({r["integration"] for r in rows} & set(world.landscape.integrations))


def _plan_place(world: World, way: Way | None, rows: list[Row], found: UndoPlan) -> None:
    """Decides on everything one integration wrote to one target."""
    by_record: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda r: int(r["id"])):
        by_record.setdefault(row["canonical_id"], []).append(row)
    if way is None or way.target.mode == "observe":
        why = "the landscape does not write there any more" if way is None else "this target is only observed now"
        found.kept += [_kept(some[-1], i, None, why) for i, some in by_record.items()]
        return
    entity, target = way.entity, way.target
    ids = sorted(by_record)
    with world.transaction() as conn:
        later = undone.later(conn, found.run, entity.name, target.system, target.stream, ids)
        read = undone.read_back(conn, entity.name, target.system, target.stream, ids)
        asked = pl.DataFrame({"canonical_id": pl.Series(ids, dtype=pl.String)})
        labels = {r["id"]: label_of(entity, r) for r in golden.read(conn, entity, asked).iter_rows(named=True)}
    live, archived = _live(world, way, [str(some[-1]["source_id"]) for some in by_record.values()])
    facts = world.target(target.system).facts(target.stream)
    for canonical_id, some in by_record.items():
        fields, is_ended = later.get(canonical_id, (frozenset(), False))
        last, label = some[-1], labels.get(canonical_id, canonical_id)
        written = Written(
            ops=tuple(r["op"] for r in some),
            changes=tuple(r["before"] or [] for r in some),
            asked={k: v for r in some for k, v in r["asked"].items()},
            read=read.get(canonical_id, {}),
            later=fields,
            is_ended=is_ended,
        )
        back = way_back(
            written,
            live.get(str(last["source_id"])),
            frozenset(way.program.paths),
            can_archive="archive" in facts.ops,
            can_restore=facts.restore is not None,
            is_archived=str(last["source_id"]) in archived,
        )
        found.kept += [_kept(last, label, left.field, left.because) for left in back.left]
        if back.op is not None:
            found.writes.append(_inverse(way, last, label, back.op, back.fields))


def _live(world: World, way: Way, source_ids: Sequence[str]) -> tuple[dict[str, Mapping[str, str | None]], set[str]]:
    """What these records hold now at our paths: source id → path → text; and which of the others are archived."""
    connector: Any = world.target(way.target.system)
    if not hasattr(connector, "get"):
        raise TurnedAway(f"{way.target.system} cannot be asked for single records: what stands there is not known")
    found: dict[str, Mapping[str, str | None]] = {}
    archived: set[str] = set()
    asked = list(dict.fromkeys(source_ids))
    for start in range(0, len(asked), READ_AT_ONCE):
        some = asked[start : start + READ_AT_ONCE]
        shown = connector.get(way.target.stream, some)
        archived |= {r.id for r in shown if r.deleted}
        records = [r for r in shown if not r.deleted]
        values = native_values([r.payload for r in records], way.program).to_list()
        found |= {r.id: orjson.loads(text) for r, text in zip(records, values, strict=True)}
    return found, archived


def _inverse(way: Way, last: Row, label: str, op: str, fields: Sequence[Back]) -> Inverse:
    return Inverse(
        integration=way.integration.name,
        entity=way.entity.name,
        canonical_id=last["canonical_id"],
        label=label,
        system=way.target.system,
        stream=way.target.stream,
        source_id=str(last["source_id"]),
        op=op,
        changes=[{"field": f.field, "old": f.now, "new": f.then, "authority": "undo"} for f in fields],
    )


def _kept(row: Row, label: str, name: str | None, because: str) -> Kept:
    return Kept(
        row["entity"], row["canonical_id"], label, row["system"], row["stream"], row["source_id"], name, because
    )


# ------------------------------------------------------------------------------------------------------------ doing it


def undo(world: World, shown: UndoPlan, *, by: str, reason: str) -> Summary:
    """Does what was shown, or nothing where something has moved since. Raises SyncBusy, TurnedAway, ConnectorError."""
    name = f"undo of sync {shown.run}"
    sync_id = begin(world, name, "undo", started_by=by)
    summary = Summary(sync_id=sync_id, integrations=shown.integrations, mode="undo", rounds=1)
    with at_work(world, name, summary):
        try:
            now = plan_undo(world, shown.run)
        except ConnectorError as error:
            raise TurnedAway(f"what stands there now cannot be read: {error}; nothing was written") from None
        if (now.writes, [r["id"] for r in now.cancelled]) != (shown.writes, [r["id"] for r in shown.cancelled]):
            raise TurnedAway("something has moved since the undo was shown: nothing was written; look at it again")
        with world.transaction() as conn:
            _enqueue(conn, world, now, sync_id, by=by, reason=reason)
        release(world, shown.integrations, sync_id=sync_id, requested_by=by)
        count_delivered(summary, deliver(world, shown.integrations))
    return summary


def _enqueue(conn: Connection, world: World, shown: UndoPlan, sync_id: int, *, by: str, reason: str) -> None:
    """Pauses, drops what was not sent, and queues the inverse writes: together or not at all."""
    outbox.supersede(conn, [int(r["id"]) for r in shown.cancelled], f"undone with sync {shown.run}")
    known = {(w.integration.name, w.target.system, w.target.stream): w for w in ways(world, shown.integrations)}
    place = [(w.integration, w.system, w.stream) for w in shown.writes]
    for where in dict.fromkeys(place):
        mine = [w for w in shown.writes if (w.integration, w.system, w.stream) == where]
        way = known[where]
        plan_id = outbox.begin_plan(conn, sync_id=sync_id, **way.place, authority={})
        outbox.enqueue(conn, _rows(conn, world, way, mine, plan_id, sync_id, shown.run))
        counts = {"considered": len(mine), "unchanged": 0, "adopted": 0, "enqueued": len(mine)}
        outbox.add_to_plan(conn, plan_id, **counts)
    noted = [vars(w) for w in shown.writes] + shown.cancelled
    if noted:
        dirty.mark_dirty(conn, pl.DataFrame(undone.pairs(noted)))
    for name in shown.integrations:
        said = f"undone: sync {shown.run} ({reason})"
        pauses.pause(conn, f"integration:{name}", by=by, reason=said, except_sync_id=sync_id)
    counts = {"by_sync": sync_id, "set_back": len(shown.writes), "dropped": len(shown.cancelled)}
    audit.append(conn, by, "run.undone", f"sync:{shown.run}", counts, reason=reason)


def _rows(
    conn: Connection, world: World, way: Way, writes: list[Inverse], plan_id: int, sync_id: int, run: int
) -> pl.DataFrame:
    """The inverse writes as rows of the outbox, frozen."""
    ids = pl.DataFrame({"canonical_id": [w.canonical_id for w in writes]})
    versions = dict(golden.read(conn, way.entity, ids).select("id", "version").iter_rows())
    money = world.money_paths(way.entity, way.program)
    facts = world.target(way.target.system).facts(way.target.stream)
    restore = orjson.dumps(facts.restore or {}, default=str).decode()
    asks = f"{way.target.system}/{way.target.stream} asks before every write" if way.target.mode == "ask" else None
    rows = []
    for write in writes:
        then = {str(c["field"]): c["new"] for c in write.changes}
        payload = _payload(then, way) if write.op != "restore" else restore
        where = (write.system, write.stream, write.canonical_id)
        version = int(versions.get(write.canonical_id, 1))
        rows.append(
            {
                "plan_id": plan_id, "sync_id": sync_id, "integration": write.integration, "entity": write.entity,
                "canonical_id": write.canonical_id, "version": version, "system": write.system,
                "stream": write.stream, "op": OPS[write.op], "source_id": write.source_id, "payload": payload,
                "asked": orjson.dumps(then).decode(), "before": orjson.dumps(write.changes).decode(),
                "fields": [f'"{path}"' for path in then],
                # a write of the same values by an earlier sync has another key: a target must not take this for it
                "key": keys.update_key(*where, version, payload, f"undo {run} by {sync_id}"),
                "write_hash": keys.write_hash(write.entity, *where, OPS[write.op], payload),
                "because": f"undoes sync {run}", "reason": asks,
                "blanked": sum(1 for c in write.changes if c["new"] is None), "money": _money(write, money),
            }
        )  # fmt: skip
    schema: dict[str, Any] = dict.fromkeys(rows[0], pl.String) | _OTHER_KINDS
    return pl.DataFrame(rows, schema=schema)


def _payload(values: Mapping[str, str | None], way: Way) -> str:
    """These paths' values as the JSON text that is sent; of an archive nothing is."""
    if not values:
        return "{}"
    frame = pl.DataFrame({p: [v] for p, v in values.items()}, schema=dict.fromkeys(values, pl.String))
    return build_payloads(frame, {path: way.program.kinds[path] for path in values})[0]


_OTHER_KINDS: dict[str, Any] = {
    "plan_id": pl.Int64, "sync_id": pl.Int64, "version": pl.Int64, "fields": pl.List(pl.String), "blanked": pl.Int64,
}  # fmt: skip


def _money(write: Inverse, paths: Mapping[str, str]) -> str | None:
    """What the write moves of money, per currency, as JSON; "" where the currency varies by record."""
    moved: dict[str, Decimal] = {}
    for change in write.changes:
        code = paths.get(str(change["field"]))
        if code is None or change["old"] is None:
            continue
        currency = "" if code.startswith("path:") else code
        amount = abs(_amount(change["new"]) - _amount(change["old"]))
        moved[currency] = moved.get(currency, Decimal(0)) + amount
    return orjson.dumps({c: str(m) for c, m in moved.items()}).decode() if moved else None


def _amount(text: str | None) -> Decimal:
    try:
        return Decimal(text or "0")
    except InvalidOperation:
        return Decimal(0)


__all__ = ["Inverse", "Kept", "Left", "UndoPlan", "plan_undo", "undo"]
