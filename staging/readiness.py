"""What we know of a target before it goes live: links, twins, open questions, fields that would be left alone."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Counts:
    """How ready a target is, as of the last sync."""

    linked: int
    duplicates: int
    in_doubt: int
    left_alone: int


def counts(conn: Connection, entity: str, system: str, stream: str) -> Counts:
    """Counts one target's links and open entries."""
    found = conn.execute(
        text(
            "select (select count(*) from ops.crosswalk where entity = :entity and system = :system"
            " and stream = :stream and ended_at is null and is_primary) as linked,"
            " (select count(*) from ops.finding where state = 'open' and kind in ('duplicate', 'target_duplicate')"
            " and entity = :entity and system = :system and stream = :stream) as duplicates,"
            " (select count(*) from ops.review where state = 'open' and entity = :entity and system = :system"
            " and stream = :stream) as in_doubt,"
            " (select count(*) from ops.finding where state = 'open' and kind = 'blank_at_first_link'"
            " and entity = :entity and system = :system and stream = :stream) as left_alone"
        ),
        {"entity": entity, "system": system, "stream": stream},
    ).one()
    return Counts(int(found.linked), int(found.duplicates), int(found.in_doubt), int(found.left_alone))
