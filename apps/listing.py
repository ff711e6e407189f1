"""What the commands over queues share: one list, one entry, one decision of a named person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from apps import session
from apps.exits import REFUSED, Stop, unknown
from apps.options import page, span
from apps.screen import age, count, emit, heading, show, table, then, when

if TYPE_CHECKING:
    from staging.engine import Connection
    from staging.entries import Filter, Queue
    from tasks.world import World

NAMES: dict[str, tuple[str, str]] = {
    "quarantine": ("quarantine entry", "quarantine entries"),
    "dead_letter": ("dead letter", "dead letters"),
    "review": ("review", "reviews"),
    "hold": ("hold", "holds"),
    "finding": ("finding", "findings"),
}


def asked_for(
    world: World,
    *,
    cause: str | None = None,
    system: str | None = None,
    owner: str | None = None,
    entity: str | None = None,
    integration: str | None = None,
    since: str | None = None,
    until: str | None = None,
    is_all: bool = False,
) -> Filter:
    """What the options of a list ask for. Raises Stop for a name that is not declared."""
    from staging.entries import Filter

    if integration:
        session.integrations(world, integration)
    if owner and owner != "nobody" and owner not in world.landscape.people:
        raise unknown("role", owner, [*world.landscape.people, "nobody"])
    begun, ended = span(since, until)
    return Filter(
        cause=cause,
        system=session.system(world.landscape, system) if system else None,
        owner=owner,
        entity=session.entity(world.landscape, entity).name if entity else None,
        integration=integration,
        since=begun,
        until=ended,
        is_all=is_all,
    )


def listed(
    conn: Connection, world: World, queue: Queue, asked: Filter, *, limit: int | None, as_json: bool
) -> tuple[list[dict[str, Any]], int]:
    """Entries of a queue, each with its due time and next steps, and how many there are. Raises Stop for a cause that
    nothing open has."""
    from staging import entries

    rows, total = entries.found(conn, queue, asked, limit=page(limit, as_json=as_json))
    if asked.cause and not total and asked.cause not in (known := entries.causes(conn, queue)) and known:
        raise unknown("cause", asked.cause, known)
    return [completed(world, queue, row) for row in rows], total


def completed(world: World, queue: Queue, row: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with the time by which it is to be answered, and what whoever answers can do."""
    from canonical import waiting

    due = waiting.due_at(world.landscape, queue, row)
    return {**row, "due_at": due, "next": list(waiting.next_steps(queue, row))}


def one(conn: Connection, world: World, queue: Queue, entry_id: int) -> dict[str, Any]:
    """One entry. Raises Stop where there is none."""
    from staging import entries

    found = entries.one(conn, queue, entry_id)
    if found is None:
        raise Stop(REFUSED, f"there is no {NAMES[queue][0]} {entry_id}", f"concord {command_of(queue)} list")
    return completed(world, queue, found)


def command_of(queue: str) -> str:
    """The command group of a queue."""
    return {"dead_letter": "dead-letters", "review": "reviews", "hold": "holds", "finding": "findings"}.get(
        queue, queue
    )


def show_list(
    queue: Queue,
    rows: Sequence[Mapping[str, Any]],
    total: int,
    columns: Sequence[tuple[str, str]],
    *,
    as_json: bool,
) -> None:
    """A queue's page. `columns`: heading → key; owner, age and due time of an entry are added."""
    if as_json:
        emit({"total": total, "shown": len(rows), "entries": list(rows)})
        return
    one_name, many = NAMES[queue]
    if not rows:
        show(f"no {many}", style="green")
        return
    ended = [("state", "state")] if any(row["state"] != "open" for row in rows) else []
    named = [*columns, *ended]
    cells = [[row[key] for _, key in named] + [_role(row), age(row["age_seconds"]), _due(row)] for row in rows]
    table([*(name for name, _ in named), "for", "age", "due"], cells)
    more = f" (the first {len(rows)}; see more with --limit)" if total > len(rows) else ""
    show(f"\n{count(total, one_name, many)}{more}")
    then(f"concord {command_of(queue)} show {rows[0]['id']}")


def _role(row: Mapping[str, Any]) -> str:
    """Of an owner the role alone."""
    return str(row["owner"] or "nobody").partition(" (")[0]


def _due(row: Mapping[str, Any]) -> str:
    """By when it is to be answered: the time that is left, or by which it is over."""
    if row["state"] != "open":
        return ""
    left = (row["due_at"] - datetime.now(UTC)).total_seconds()
    return f"in {age(left)}" if left > 0 else f"{age(-left)} over"


def show_entry(entry: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> None:
    """Everything an entry knows, a line for each thing that has a value."""
    width = max(len(k) for k in entry) + 2
    for key, value in entry.items():
        if value is None or key in (*leave_out, "age_seconds", "next"):
            continue
        told = ", ".join(map(str, value)) if isinstance(value, list) else value
        show(f"{key.replace('_', ' '):<{width}}", told)


def show_story(lines: Sequence[Mapping[str, Any]]) -> None:
    """What has happened to the record, the latest last."""
    if lines:
        heading("its story")
        table(("at", "what"), [(line["at"], line["what"]) for line in lines])


def show_next(entry: Mapping[str, Any]) -> None:
    """What whoever answers can do."""
    if entry["next"]:
        show("")
        then(*entry["next"])


def require_open(queue: Queue, entry: Mapping[str, Any]) -> None:
    """Raises Stop with code 0 where somebody has decided already: nothing is left to do."""
    if entry["state"] != "open":
        who = entry.get("closed_by") or entry.get("answered_by") or "concord"
        at, why = entry["closed_at"], entry.get("closed_because") or entry.get("answer_reason")
        raise Stop(
            0,
            f"nothing to do: {NAMES[queue][0]} {entry['id']} is {entry['state']} already (by {who}, {when(at)}: {why})",
        )


def told(text: str, name: str) -> str:
    """A reason that says something."""
    if len(text.strip()) < 3:
        raise Stop(REFUSED, f"{name}: say why in a few words; it is kept with the decision")
    return text.strip()
