"""Two golden records are one: which links go where, and which merges make no sense (RELIABILITY P14).

The loser's records become the winner's. Where both have a record in one system's stream, the winner's stays the one
that is read and written; the loser's is a twin there. A twin in a system that we write to is left with the loser, whose
record is archived there like that of any deleted one; a twin in the system of record is for people to merge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Place = tuple[str, str]
"""System and stream."""
LONGEST_CHAIN = 1_000


@dataclass(frozen=True, slots=True)
class Link:
    """A live link of a golden record."""

    system: str
    stream: str
    source_id: str
    is_primary: bool

    @property
    def place(self) -> Place:
        return self.system, self.stream


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of one link of the loser."""

    link: Link
    to: Literal["primary", "twin", "stays"]
    because: str


def final(merged: Mapping[str, str], canonical_id: str) -> str:
    """Where a chain of merges ends: the record that stands for this one now."""
    for _ in range(LONGEST_CHAIN):
        if canonical_id not in merged:
            break
        canonical_id = merged[canonical_id]
    return canonical_id


def refusal(merged: Mapping[str, str], winner: str, loser: str) -> str | None:
    """Why these two cannot be merged; None: they can. `merged`: loser → winner of every merge that stands."""
    if winner == loser:
        return "a record cannot be merged with itself"
    if loser in merged:
        return f"{loser} is merged into {merged[loser]} already; unmerge it first"
    if (end := final(merged, winner)) == loser:
        return f"{winner} is merged into {loser} already: the other way round would be a circle"
    if end != winner:
        return f"{winner} is merged into {end}: merge into that one"
    return None


def moves(winner: Sequence[Link], loser: Sequence[Link], archived_in: Collection[Place]) -> list[Move]:
    """Where each link of the loser goes. `archived_in`: places that we write to and that archive what is deleted."""
    taken = {link.place for link in winner if link.is_primary}
    found: list[Move] = []
    for link in sorted(loser, key=lambda each: (not each.is_primary, each.system, each.stream, each.source_id)):
        if link.place not in taken:
            taken.add(link.place)
            found.append(Move(link, "primary", "the only record there"))
        elif link.is_primary and link.place in archived_in:
            found.append(Move(link, "stays", "a twin where we write: it is archived there"))
        else:
            found.append(Move(link, "twin", "a second record there, to be merged by its people"))
    return found
