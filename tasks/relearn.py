"""Relearn: after a backup was restored, targets are known again before anything is sent there (RELIABILITY row 17)."""

from __future__ import annotations

from collections.abc import Sequence

from staging import locks, restored
from tasks.world import World

Stream = tuple[str, str]


def targets(world: World) -> list[tuple[str, str, bool]]:
    """Every stream that is written to, and whether it is read as well."""
    return sorted(
        {
            (t.system, t.stream, (t.system, t.stream) in world.makers(integration.entity))
            for integration in world.landscape.integrations.values()
            for t in integration.to
        }
    )


def adopt(world: World, streams: Sequence[Stream]) -> bool:
    """What targets that were read again hold now is what is compared with from here on; says whether there were any,
    of these `streams`."""
    with world.transaction() as conn:
        due = [place for place in restored.due(conn) if place in streams or not _is_read(world, place)]
        for system, stream in due:
            for entity in _entities(world, system, stream):
                locks.gate(conn, f"resolve:{entity}")
                restored.adopt(conn, entity, system, stream)
    return bool(due)


def link(world: World, entities: Sequence[str], streams: Sequence[Stream]) -> int:
    """Links what was made in these targets since the backup; gives how many records. Everything that could be planned
    without them is."""
    found = 0
    with world.transaction() as conn:
        due = [place for place in restored.due(conn) if place in streams or not _is_read(world, place)]
        for entity in entities:
            locks.gate(conn, f"resolve:{entity}")
            for system, stream in due:
                program = world.outbound_if_any(entity, system, stream)
                if program is None or (system, stream) not in world.makers(entity):
                    continue
                for path in (p for p, columns in program.sources.items() if columns == ("id",)):
                    found += restored.link_by_mark(conn, entity, system, stream, path)
                found += restored.link_alike(conn, entity, system, stream)
        restored.void_made(conn)
        for system, stream in due:
            restored.learned(conn, system, stream)
    return found


def count_strangers(world: World, entities: Sequence[str]) -> int:
    """What is left over once everything was matched."""
    with world.transaction() as conn:
        return sum(restored.count_strangers(conn, entity) for entity in entities)


def _is_read(world: World, place: Stream) -> bool:
    return any(place == (system, stream) and is_read for system, stream, is_read in targets(world))


def _entities(world: World, system: str, stream: str) -> list[str]:
    """The entities that are written to a stream and made of its rows."""
    written = {
        i.entity
        for i in world.landscape.integrations.values()
        if any((t.system, t.stream) == (system, stream) for t in i.to)
    }
    return sorted(e for e in written if (system, stream) in world.makers(e))
