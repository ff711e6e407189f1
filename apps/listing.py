"""What the commands over queues share: one list, one entry, one decision of a named person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from apps.exits import REFUSED, Stop
from apps.options import moment, page
from apps.screen import age, count, emit, show, table, then

if TYPE_CHECKING:
    from staging.engine import Connection
    from staging.reports import Queue

NAMES: dict[str, tuple[str, str]] = {
    "quarantine": ("quarantine entry", "quarantine entries"),
    "dead_letter": ("dead letter", "dead letters"),
    "review": ("review", "reviews"),
    "hold": ("hold", "holds"),
    "finding": ("finding", "findings"),
}


def listing(
    conn: Connection,
    queue: Queue,
    *,
    filters: Mapping[str, str | None],
    is_all: bool,
    since: str | None,
    limit: int | None,
    as_json: bool,
) -> tuple[list[dict[str, Any]], int]:
    """Entries of a queue and how many there are."""
    from staging import reports

    begun: datetime | None = moment(since)
    wanted = {column: value for column, value in filters.items() if value}
    return reports.queue(conn, queue, is_all=is_all, since=begun, limit=page(limit, as_json=as_json), filters=wanted)


def one(conn: Connection, queue: Queue, entry_id: int) -> dict[str, Any]:
    """One entry. Raises Stop where there is none."""
    from staging import reports

    found = reports.entry(conn, queue, entry_id)
    if found is None:
        kind = NAMES[queue][0]
        raise Stop(REFUSED, f"there is no {kind} {entry_id}", f"concord {command_of(queue)} list")
    return found


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
    """A queue's page. `columns`: heading → key; the age of an entry is added."""
    if as_json:
        emit({"total": total, "shown": len(rows), "entries": list(rows)})
        return
    one_name, many = NAMES[queue]
    if not rows:
        show(f"no {many}", style="green")
        return
    cells = [[_cell(row, key) for _, key in columns] + [age(row["age_seconds"])] for row in rows]
    table([*(heading for heading, _ in columns), "age"], cells)
    more = f" (the first {len(rows)}; see more with --limit)" if total > len(rows) else ""
    show(f"\n{count(total, one_name, many)}{more}")
    then(f"concord {command_of(queue)} show {rows[0]['id']}")


def _cell(row: Mapping[str, Any], key: str) -> object:
    """A value as a list shows it: of an owner the role alone."""
    return str(row[key] or "nobody").partition(" (")[0] if key == "owner" else row[key]


def show_entry(entry: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> None:
    """Everything an entry knows, a line for each thing that has a value."""
    width = max(len(k) for k in entry) + 2
    for key, value in entry.items():
        if value is None or key in leave_out or key == "age_seconds":
            continue
        told = ", ".join(map(str, value)) if isinstance(value, list) else value
        show(f"{key.replace('_', ' '):<{width}}", told)


def require_open(queue: Queue, entry: Mapping[str, Any]) -> None:
    """Raises Stop with code 0 where somebody has decided already: nothing is left to do."""
    if entry["state"] != "open":
        who = entry.get("closed_by") or entry.get("answered_by") or ""
        raise Stop(
            0,
            f"nothing to do: {NAMES[queue][0]} {entry['id']} is {entry['state']} already"
            + (f" (by {who})" if who else ""),
        )


def told(text: str, name: str) -> str:
    """A reason that says something."""
    if len(text.strip()) < 3:
        raise Stop(REFUSED, f"{name}: say why in a few words; it is kept with the decision")
    return text.strip()
