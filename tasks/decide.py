"""Decisions of people over held writes, and how a person proves to be the one who decides (DESIGN 9.14)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from staging import holds, overrides
from tasks.landscape import read_secret
from tasks.sync import TurnedAway
from tasks.world import World

Decision = Literal["approve", "reject"]


class NotProved(TurnedAway):
    """Whoever decides is not shown to be the one whose name it has."""


class Expired(TurnedAway):
    """The time to decide is over."""


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


def decide(
    world: World, hold_id: int, decision: Decision, *, by: str, reason: str, hashes: Sequence[str] | None = None
) -> int:
    """Lets the writes go that wait behind a hold now (`hashes`: those that were shown), or drops them; gives how many.

    Whoever decides has proved who it is. Raises KeyError, TurnedAway."""
    ask_anew(world, hold_id)
    with world.transaction() as conn:
        hold = holds.one(conn, hold_id)
        if hold is None:
            raise KeyError(hold_id)
        if hold["state"] != "open":
            raise TurnedAway(f"hold {hold_id} is {hold['state']} already, by {hold['closed_by']}")
        if decision == "approve":
            check_approver(world, by, hold)
            return holds.approve(conn, hold_id, by=by, reason=reason, hashes=hashes)
        return holds.reject(conn, hold_id, by=by, reason=reason)


def ask_anew(world: World, hold_id: int) -> None:
    """Raises Expired where the time of an open hold is over; another asks in its place from now on."""
    with world.transaction() as conn:
        made = holds.ask_anew(conn, hold_id)
        expired = holds.one(conn, hold_id) if made is not None else None
    if expired is not None:
        at = f"{expired['due_at']:%Y-%m-%d %H:%M %Z}"
        raise Expired(f"hold {hold_id} expired at {at}; nothing was done: hold {made} asks anew, look at it first")


def needs_four_eyes(world: World, hold: Mapping[str, Any]) -> bool:
    """Whether the hold's integration declares that its approvals take a second person, and proof of who it is."""
    integration = world.landscape.integrations.get(str(hold["integration"]))
    return integration is not None and integration.four_eyes


def check_approver(world: World, by: str, hold: Mapping[str, Any]) -> None:
    """Refuses whoever asked for the writes in person, and where four eyes are declared whoever cannot prove who it is.
    Raises TurnedAway."""
    may_approve(by, hold["requested_by"])
    if needs_four_eyes(world, hold) and not needs_code(world, by):
        raise NotProved(f"{hold['integration']} declares four_eyes, and {by} has no personal code: people.{by}.code")


def may_approve(by: str, requested_by: str | None) -> None:
    """Refuses whoever asked for the writes in person (RELIABILITY P23). Raises TurnedAway."""
    if by == requested_by:
        raise TurnedAway(f"{by} asked for these writes in person: somebody else must approve them")


def lift_brake(world: World, integration: str, *, by: str, reason: str, until: datetime) -> overrides.Override:
    """Lets the brake of an integration hold nothing until then. Whoever decides has proved who it is."""
    with world.transaction() as conn:
        return overrides.begin(conn, integration, by=by, reason=reason, until=until)
