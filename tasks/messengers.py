"""Where incidents are told: the landscape's messengers, who is addressed there, and which one steps in for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from canonical.landscape import Landscape
from connectors import registry
from connectors.protocol import Context, Misdeclared, Notifier
from staging.alerts import Address
from staging.incidents import Cause
from tasks import landscape as reading

How = Literal["slack", "email"]


@dataclass(frozen=True, slots=True)
class Place:
    """One messenger of a landscape."""

    how: How
    via: str
    """The system's name."""


def firsts(landscape: Landscape) -> list[Place]:
    """The messengers that are told of everything."""
    return [place for place in all_of(landscape) if place.how != landscape.notify.get("fallback")]


def fallback(landscape: Landscape) -> Place | None:
    """The messenger that is told what another one did not take."""
    return next((p for p in all_of(landscape) if p.how == landscape.notify.get("fallback")), None)


def all_of(landscape: Landscape) -> list[Place]:
    """Every messenger that the landscape declares."""
    hows: tuple[How, ...] = ("slack", "email")
    return [Place(how, str(landscape.notify[how])) for how in hows if landscape.notify.get(how)]


def addresses(landscape: Landscape, cause: Cause) -> list[Address]:
    """Where a cause is told: to its owners and channels; never by the messenger that it is about."""
    places = firsts(landscape)
    told = [place for place in places if cause.key != about(place.via)]
    step_in = fallback(landscape)
    if len(told) < len(places) and step_in:
        told.append(step_in)
    return [address for place in told for address in at(landscape, place, cause)]


def about(via: str) -> str:
    """The key of the incident that a messenger takes no messages."""
    return f"messenger:{via}"


def at(landscape: Landscape, place: Place, cause: Cause | None) -> list[Address]:
    """Where a cause is told by one messenger; without a cause: where everything is."""
    people = [landscape.people[role] for role in roles(landscape, cause)] if cause else []
    if place.how == "email":
        return [Address(place.via, None, tuple(dict.fromkeys(p.email for p in people if p.email)))]
    members = tuple(dict.fromkeys(p.slack for p in people if p.slack))
    return [Address(place.via, channel, members) for channel in _channels(landscape, place, cause)]


def _channels(landscape: Landscape, place: Place, cause: Cause | None) -> list[str | None]:
    """The channels of a cause's integrations; an incoming webhook has one of its own, which nobody can choose."""
    if "webhook_url" in landscape.systems[place.via].settings:
        return [None]
    general = landscape.notify.get("channel")
    touched = _integrations(landscape, cause) if cause else []
    found = [landscape.integrations[name].channel or general for name in touched]
    return list(dict.fromkeys(found)) or [general]


def _integrations(landscape: Landscape, cause: Cause) -> list[str]:
    return [name for name in cause.integration.split(", ") if name in landscape.integrations]


def roles(landscape: Landscape, cause: Cause) -> list[str]:
    """Who answers for a cause: the system's owner, the integrations', and whoever is named by role."""
    system = landscape.systems.get(cause.system or "")
    found = [system.owner] if system else []
    found += [landscape.integrations[name].owner for name in _integrations(landscape, cause)]
    found += [role for role in cause.owner.split(", ") if role in landscape.people]
    return [role for role in dict.fromkeys(found) if role in landscape.people]


def contact(landscape: Landscape, role: str) -> str:
    """A role with the name and handle of its person."""
    person = landscape.people.get(role)
    return f"{role} ({person.name}{', ' + person.slack if person.slack else ''})" if person else role


def open_alone(landscape: Landscape, place: Place) -> Notifier:
    """A messenger that needs nothing of our database. Raises Misdeclared."""
    system = landscape.systems[place.via]
    context = Context(
        system=place.via,
        settings=reading.resolved(system.settings, f"systems.{place.via}"),
        streams={},
        network=system.network,
        timezone=landscape.timezone,
    )
    return as_notifier(place.via, registry.build(system.engine or system.connector, context))


def as_notifier(via: str, connector: object) -> Notifier:
    """A connector as something that posts messages. Raises Misdeclared."""
    if not isinstance(connector, Notifier):
        raise Misdeclared("expected a system that posts messages", where=f"systems.{via}")
    return connector
