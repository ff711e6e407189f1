"""Doubts as incidents: what was read or told and needs a person, told once for as long as it stands (DESIGN 9.18)."""

from __future__ import annotations

from canonical.waiting import FINDING_KINDS
from staging import doubts
from staging.incidents import Cause
from tasks.world import World

KEY = "doubt:"
KINDS = ("future_mark", "id_reused", "edit_war")
"""Findings that nobody may overlook and that stop nothing by themselves."""


def causes(world: World) -> list[Cause]:
    """One cause for each kind of doubt about a stream: how many records, whose they are, what to type."""
    with world.transaction() as conn:
        found = doubts.open_by_stream(conn, KINDS)
    return [
        Cause(
            key=f"{KEY}{kind}:{system}/{stream}",
            kind="Doubt",
            integration=", ".join(n for n, i in world.landscape.integrations.items() if i.entity == entity) or entity,
            system=system,
            owner=world.owner_of_system(system),
            cause=f"{system}/{stream}, {number} record{'s' if number != 1 else ''}: {FINDING_KINDS[kind]}",
            unaffected="everything else is read and written as usual",
            next_step=f"see them: concord findings list --kind {kind}",
        )
        for kind, entity, system, stream, number in found
        if system in world.landscape.systems
    ]
