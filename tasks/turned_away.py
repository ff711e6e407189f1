"""What was asked for and not done, for a reason that a person acts on."""

from __future__ import annotations


class TurnedAway(Exception):
    """What was asked for was not done, for a reason that a person acts on; nothing was written."""
