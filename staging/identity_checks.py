"""An id that is used again: a record that stands for something else than the one that was read under its id before.

Every identifier that both versions have is another, and not a word of the name is the same: written over the first, it
would turn one customer into another in every system (fault matrix 37). It stays out until a person has looked.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from canonical.check_values import CANDIDATES, Check
from canonical.matching.normal import name_columns
from canonical.model import Entity
from staging.frames import ident

RULE = "same_record"


def identity_checks(entity: Entity) -> tuple[Check, ...]:
    """The check that this entity's identifiers and name allow; none without both."""
    identifiers = [c for c in (*entity.match.unique, *entity.match.strong) if c in entity.by_column]
    names = [c for c in name_columns(entity.match) if c in entity.by_column]
    names = names or (["name"] if "name" in entity.by_column else [])
    identifiers = [c for c in identifiers if c not in names]
    if not identifiers or not names:
        return ()
    both = " or ".join(f"(held.{ident(c)} is not null and read.{ident(c)} is not null)" for c in identifiers)
    same = " or ".join(f"held.{ident(c)} = read.{ident(c)}" for c in identifiers)
    words = [f"string_to_array(lower(concat_ws(' ', {_listed(side, names)})), ' ')" for side in ("held", "read")]
    accepted = (
        "select from ops.finding as said where said.kind = 'id_reused' and said.state = 'accepted'"
        " and said.system = read.system and said.stream = read.stream"
        " and said.source_id = read.source_id and said.closed_at > held.staged_at"
    )
    # the batch is joined with what is held once, as the planner sees fit: asked for each record by itself, of a hundred
    # thousand it took as long as all other checks together
    others = (
        f"select read.system, read.stream, read.source_id from {CANDIDATES} as read"
        f" join {ident('staging', entity.name)} as held using (system, stream, source_id) where not held.deleted"
        f" and ({both}) and not coalesce({same}, false) and cardinality({words[0]}) > 0"
        f" and cardinality({words[1]}) > 0 and not {words[0]} && {words[1]} and not exists ({accepted})"
    )
    predicate = f"(system, stream, source_id) not in ({others})"
    means = "A record is the one that was read under its id before: an identifier, or a word of its name, is the same"
    return (Check(RULE, "cross_field", (*names[:1], *identifiers), predicate, means),)


def _listed(side: str, names: list[str]) -> str:
    return ", ".join(f"{side}.{ident(name)}" for name in names)


def report_reused(conn: Connection, entity: str, batch_id: int, because: str) -> int:
    """One finding for each record that a batch quarantined as another one; gives how many are new."""
    found = conn.execute(
        text(
            "insert into ops.finding (kind, entity, canonical_id, system, stream, source_id, action, because, owner,"
            " state) select distinct 'id_reused', :entity, c.canonical_id, q.system, q.stream, q.source_id, 'ask',"
            " :because, q.owner, 'open' from ops.quarantine q left join ops.crosswalk c on c.entity = :entity"
            " and c.system = q.system and c.stream = q.stream and c.source_id = q.source_id and c.ended_at is null"
            " where q.batch_id = :batch and q.rule = :rule and q.state = 'open' on conflict do nothing"
        ),
        {"entity": entity, "batch": batch_id, "rule": RULE, "because": because},
    )
    return int(found.rowcount)


def look_again(conn: Connection, system: str, stream: str) -> int:
    """Puts records back to work of which a person has said that they are the same; gives how many."""
    found = conn.execute(
        text(
            "update landing.record r set state = 'landed' from ops.finding f where f.kind = 'id_reused'"
            " and f.state = 'accepted' and f.closed_at > r.landed_at and r.state = 'quarantined'"
            " and r.system = :system and r.stream = :stream and f.system = r.system and f.stream = r.stream"
            " and f.source_id = r.source_id"
        ),
        {"system": system, "stream": stream},
    )
    return int(found.rowcount)
