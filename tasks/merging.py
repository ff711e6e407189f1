"""Merging: two golden records become one by a person's word, and two again when that was wrong (RELIABILITY P14).

Nothing is written to a system here: the next sync resolves what moved and plans what follows, under every guard.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from canonical import merge
from canonical.merge import Link, Move
from canonical.model import Entity
from staging import dirty, golden, locks, merges, queues
from staging.engine import Connection
from tasks.sync import TurnedAway
from tasks.world import World


@dataclass(frozen=True)
class Merged:
    """A merge, made or undone."""

    entity: str
    winner: str
    loser: str
    moves: tuple[Move, ...]
    """What became of each of the loser's links."""

    @property
    def moved(self) -> list[Link]:
        """The links that changed hands."""
        return [each.link for each in self.moves if each.to != "stays"]


def preview(world: World, entity_name: str, winner: str, loser: str) -> Merged:
    """What a merge would move; nothing is done. Raises KeyError for an unknown record, TurnedAway."""
    with world.transaction() as conn:
        return _decide(conn, world, world.landscape.model[entity_name], winner, loser)


def merge_records(world: World, entity_name: str, winner: str, loser: str, *, by: str, reason: str) -> Merged:
    """The loser's records are the winner's from now on; the loser is gone. Raises KeyError, TurnedAway."""
    entity = world.landscape.model[entity_name]
    with world.transaction() as conn:
        locks.gate(conn, f"resolve:{entity.name}")
        decided = _decide(conn, world, entity, winner, loser)
        because = f"merged by {by}: {reason}"
        moving = [(each.link, each.to == "primary") for each in decided.moves if each.to != "stays"]
        if moving:
            merges.move(conn, entity, moving, winner, by=by, because=because)
        _report_twins(conn, world, entity, decided)
        merges.set_deleted(
            conn, entity, loser, is_deleted=True, because=f"{because} (into {winner})", declared=world.landscape.digest
        )
        _rework(conn, world, entity, [winner, loser])
        merges.note(conn, entity.name, winner, loser, decided.moved, by=by, reason=reason)
    return decided


def unmerge(world: World, entity_name: str, loser: str, *, by: str, reason: str) -> Merged:
    """The loser is a record of its own again, with the links it had, as far as nobody moved them on since.

    Raises KeyError where no merge of it stands."""
    entity = world.landscape.model[entity_name]
    with world.transaction() as conn:
        locks.gate(conn, f"resolve:{entity.name}")
        made = merges.one(conn, entity.name, loser)
        if made is None:
            raise KeyError(loser)
        holder = merge.final(merges.standing(conn, entity.name), loser)
        held = merges.holders(conn, entity.name, merges.moved_links(made))
        back = [link for link, by_whom in held.items() if by_whom == holder]
        because = f"unmerged by {by}: {reason}"
        if back:
            merges.move(conn, entity, [(link, link.is_primary) for link in back], loser, by=by, because=because)
        keys = [(entity.name, link.system, link.stream, link.source_id, None) for link in back]
        columns = dict.fromkeys(("entity", "system", "stream", "source_id", "field"), pl.String)
        queues.close_findings(conn, pl.DataFrame(keys, schema=columns, orient="row"), because, kind="duplicate")
        merges.set_deleted(
            conn, entity, loser, is_deleted=False, because=f"{because} (from {holder})", declared=world.landscape.digest
        )
        merges.end(conn, made, by=by, reason=reason)
        _rework(conn, world, entity, [holder, loser])
    return Merged(entity.name, holder, loser, tuple(Move(link, "primary", because) for link in back))


def _decide(conn: Connection, world: World, entity: Entity, winner: str, loser: str) -> Merged:
    ids = pl.DataFrame({"canonical_id": [winner, loser]})
    known = set(golden.read(conn, entity, ids)["id"])
    for asked in (winner, loser):
        if asked not in known:
            raise KeyError(asked)
    no = merge.refusal(merges.standing(conn, entity.name), winner, loser)
    if no is not None:
        raise TurnedAway(no)
    ours, theirs = (merges.links_of(conn, entity.name, each) for each in (winner, loser))
    return Merged(entity.name, winner, loser, tuple(merge.moves(ours, theirs, _archived_in(world, entity))))


def _archived_in(world: World, entity: Entity) -> set[tuple[str, str]]:
    """The places that we write this entity to and that archive what is deleted."""
    return {
        (target.system, target.stream)
        for integration in world.landscape.integrations.values()
        for target in integration.to
        if integration.entity == entity.name
        and integration.on_delete != "ignore"
        and target.system != entity.record
        and target.mode != "observe"
    }


def _report_twins(conn: Connection, world: World, entity: Entity, decided: Merged) -> None:
    twins = [each for each in decided.moves if each.to == "twin"]
    rows = [
        {
            "kind": "duplicate",
            "entity": entity.name,
            "canonical_id": decided.winner,
            "system": each.link.system,
            "stream": each.link.stream,
            "source_id": each.link.source_id,
            "field": None,
            "ours": None,
            "theirs": None,
            "action": "report",
            "because": f"a second {each.link.system} record of this {entity.name}, since {decided.loser} was merged in",
        }
        for each in twins
    ]
    if rows:
        queues.open_findings(conn, pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String)), world.owner_of(entity))


def _rework(conn: Connection, world: World, entity: Entity, ids: list[str]) -> None:
    """What is linked to these, and what points to them, is resolved again; every target of theirs is planned again."""
    merges.resolve_again(conn, entity, ids)
    dirty.mark_dirty(conn, world.pairs(entity.name, pl.Series(ids, dtype=pl.String), without=()))
    for other in world.landscape.model.entities:
        references = [column for column, of in other.references.items() if of == entity.name]
        references += [
            f"{field}.{column}"
            for field, columns in other.line_references.items()
            for column, of in columns.items()
            if of == entity.name
        ]
        for reference in references:
            found = merges.pointing(conn, other, reference, ids)
            merges.resolve_again(conn, other, found)
            dirty.mark_dirty(conn, world.pairs(other.name, pl.Series(found, dtype=pl.String), without=()))
