"""What may be paused: a system, or an integration, by the name that people use."""

from __future__ import annotations

from canonical.landscape import Landscape
from tasks.sync import TurnedAway


def pause_key(landscape: Landscape, what: str) -> str:
    """What is to be paused, as the pause names it: `system:NAME` or `integration:NAME`, both of which are understood,
    or the name alone where only one of them has it. Raises TurnedAway."""
    kind, _, name = what.rpartition(":")
    if kind in ("", "integration") and name in landscape.integrations:
        if kind == "" and name in landscape.systems:
            raise TurnedAway(f"{name} is a system and an integration: say system:{name} or integration:{name}")
        return f"integration:{name}"
    if kind in ("", "system") and name in landscape.active_systems:
        return f"system:{name}"
    raise TurnedAway(f"there is no system or integration {what!r}")
