"""Decisions of people over held writes, and how a person proves to be the one who decides (DESIGN 9.14)."""

from __future__ import annotations

import hmac
from typing import Literal

from staging import holds
from tasks.landscape import read_secret
from tasks.sync import TurnedAway
from tasks.world import World

Decision = Literal["approve", "reject"]


class NotProved(TurnedAway):
    """Whoever decides is not shown to be the one whose name it has."""


def needs_code(world: World, by: str) -> bool:
    """Whether this person has declared a personal code."""
    return world.landscape.people[by].code is not None


def prove(world: World, by: str, given: str | None, *, is_code_needed: bool = False) -> None:
    """Compares a personal code with the declared one, in constant time. Raises NotProved, Misdeclared.

    `is_code_needed`: whoever has declared none is refused; else there is nothing to prove."""
    person = world.landscape.people[by]
    if person.code is None:
        if is_code_needed:
            raise NotProved(f"{by} has no personal code to prove who it is, and this needs one: people.{by}.code")
        return
    expected = read_secret(person.code, f"people.{by}.code")
    if not hmac.compare_digest((given or "").encode(), expected.encode()):
        raise NotProved(f"this is not the personal code of {by}; nothing was done")


def decide(world: World, hold_id: int, decision: Decision, *, by: str, reason: str) -> int:
    """Lets the writes go that wait behind a hold now, or drops them; gives how many. Raises KeyError, TurnedAway."""
    with world.transaction() as conn:
        hold = holds.one(conn, hold_id)
        if hold is None:
            raise KeyError(hold_id)
        if hold["state"] != "open":
            raise TurnedAway(f"hold {hold_id} is {hold['state']} already, by {hold['closed_by']}")
        if decision == "approve":
            may_approve(by, hold["requested_by"])
            return holds.approve(conn, hold_id, by=by, reason=reason)
        return holds.reject(conn, hold_id, by=by, reason=reason)


def may_approve(by: str, requested_by: str | None) -> None:
    """Refuses whoever asked for the writes in person (RELIABILITY P23). Raises TurnedAway."""
    if by == requested_by:
        raise TurnedAway(f"{by} asked for these writes in person: somebody else must approve them")
