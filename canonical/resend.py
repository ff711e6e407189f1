"""What to do about a write whose answer was lost: is it done, is it sent again, or must a person look? (RELIABILITY P5)

Updates, archives and deletes say how a record shall stand: sending them twice is sending them once. A create is
another matter, and depends on what its target can do (the write class that its connector declares):

A   the target knows a create again: by an external id for good, by an idempotency key while the key lives
B   the target can be searched, once its index has caught up: search, wait, search again, only then send again
C   neither: a person looks whether it is there
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WriteClass = Literal["A", "B", "C"]
Seen = Literal["there", "absent", "cannot_tell"]
"""What a look into the target found: the record, certainly nothing, or no way to tell."""

KEY_MARGIN = 0.9
"""A key is used within this share of its declared life: the request has to arrive before it ends, too."""
MOST_RESENDS = 5
"""A create that stays without a clear answer so often is a person's matter, whatever the target can do."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A write that was sent and not answered clearly."""

    op: Literal["create", "update", "archive", "delete"]
    write_class: WriteClass
    seen: Seen
    sends: int
    """How often it was sent."""
    is_sent: bool = True
    """False: its worker was gone before anything could leave."""
    key_life_seconds: float | None = None
    """How long the target remembers an idempotency key; None: it tells a create again without one, for good."""
    key_age_seconds: float = 0.0
    """Since the key was used for the first time."""
    is_same_request: bool = True
    """Whether it can be sent again in the very request that it was sent in: a batch has one key."""
    index_lag_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Resolution:
    """done: it stands there. resend: the same request under the same key, now. again: as any write, after a wait (a
    create is searched for once more before it is sent). ask: a person looks."""

    action: Literal["done", "resend", "again", "ask"]
    because: str
    wait_seconds: float = 0.0


def resolve(silence: Silence) -> Resolution:
    """Decides; never sends a second create on a guess."""
    if not silence.is_sent:
        return Resolution("again", "it was claimed and never sent")
    if silence.seen == "there":
        return Resolution("done", "found there")
    if silence.op != "create":
        return Resolution("again", "not seen there: sent again, as it says how the record shall stand")
    if silence.sends > MOST_RESENDS:
        return Resolution("ask", f"it may exist there: after {silence.sends} tries there is no clear answer")
    match silence.write_class:
        case "A" if silence.key_life_seconds is None:
            return Resolution("again", "sent again: the target tells a create again by its external id")
        case "A" if _is_known_again(silence):
            return Resolution("resend", "sent again under the same key")
        case "A" | "B" if silence.seen == "absent":
            because = "not found there: searched again and sent after its index has caught up"
            return Resolution("again", because, silence.index_lag_seconds)
        case "A" if silence.is_same_request:
            return Resolution("ask", "it may exist there: its key is no longer known, and it cannot be searched for")
        case "A":
            return Resolution("ask", "it may exist there: its batch was answered in part, it cannot be searched for")
        case _:
            return Resolution("ask", "it may exist there: the answer was lost and it cannot be searched for")


def _is_known_again(silence: Silence) -> bool:
    life = silence.key_life_seconds or 0.0
    return silence.is_same_request and silence.key_age_seconds < life * KEY_MARGIN
