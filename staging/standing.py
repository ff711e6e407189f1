"""What golden records, links and queues come to, in a form that two databases can be compared by.

Two runs that did the same work choose other ids and other times. What is left when these are put aside must be equal,
however often one of the runs was killed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, text

from canonical.model import Entity, Model
from staging.frames import ident


def standing(conn: Connection, model: Model, chosen: Collection[tuple[str, str]] = ()) -> dict[str, Counter[str]]:
    """Place → its rows as comparable texts, with how often each is there.

    chosen: (entity, field) whose values a system chose by itself, such as the number of an invoice it made."""
    found = {
        f"golden {entity.name}": _asked(
            conn, f"select {', '.join(_own_columns(entity, chosen))} from {ident('golden', entity.name)}"
        )
        for entity in model.entities
    }
    found["links"] = _asked(
        conn,
        "select entity, system, stream, is_primary, count(*) as n from ops.crosswalk where ended_at is null"
        " group by 1, 2, 3, 4",
    )
    found["quarantine"] = _asked(
        conn, "select system, stream, entity, rule, field from ops.quarantine where state = 'open'"
    )
    return found


def unsettled(conn: Connection) -> int:
    """Writes that delivery will move by itself within a minute: planned, ready, in flight or unknown."""
    count = text(
        "select count(*) from ops.outbox where state in ('planned', 'inflight', 'unknown')"
        " or state = 'ready' and due_at < now() + interval '1 minute'"
    )
    return int(conn.execute(count).scalar_one())


def most_attempts(conn: Connection) -> int:
    """How often the write was tried that was tried most often."""
    return int(conn.execute(text("select coalesce(max(attempts), 0) from ops.outbox")).scalar_one())


def end_leases(conn: Connection) -> int:
    """Lets every lease of a write in flight be over, as if its time had gone by; gives how many. For proofs only."""
    over = text("update ops.outbox set lease_until = clock_timestamp() where state = 'inflight'")
    return conn.execute(over).rowcount


def _asked(conn: Connection, query: str) -> Counter[str]:
    return texts(dict(row) for row in conn.execute(text(query)).mappings())


def texts(rows: Iterable[Mapping[str, Any]], without: Collection[str] = ()) -> Counter[str]:
    """Rows or documents as texts that are equal when they are; members named in `without` are left out at any depth."""
    return Counter(json.dumps(_plain(dict(row), without), sort_keys=True, default=str) for row in rows)


def _own_columns(entity: Entity, chosen: Collection[tuple[str, str]]) -> list[str]:
    """The columns whose values do not come from ids that were chosen."""
    names = [c for c in entity.columns if c not in entity.references and (entity.name, c) not in chosen]
    return [ident(name) for name in (*names, "deleted")]


def _plain(value: Any, without: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v, without) for k, v in value.items() if k not in without}
    return [_plain(v, without) for v in value] if isinstance(value, list) else value
