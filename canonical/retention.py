"""How long what is over is kept: periods by kind, declared under `retention:` in landscape.yaml. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of things that are kept for a while. `least_seconds`: shorter would take away what work still needs."""

    days: int
    means: str
    least_seconds: int = DAY


KINDS: Final[Mapping[str, Kept]] = {
    "landed": Kept(90, "versions of records as they were read, once a later version is there"),
    "writes": Kept(90, "what writes that are done sent, changed and were answered; `undo` needs it", 7 * DAY),
    "history": Kept(1_095, "what changed in golden records, except in their latest version"),
    "queues": Kept(365, "entries of queues that are closed", 7 * DAY),
    "plans": Kept(30, "plans that were saved"),
    "incidents": Kept(365, "incidents that are over, and the messages about them", 7 * DAY),
}
"""Kind → how long it is kept unless the landscape says otherwise. The audit and the crosswalk are kept for good."""


def periods(declared: Mapping[str, int]) -> dict[str, int]:
    """Kind → seconds, as declared or by default."""
    return {kind: declared.get(kind, kept.days * DAY) for kind, kept in KINDS.items()}
