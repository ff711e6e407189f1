"""What to type when a system is in trouble: one line that begins with what to look at and ends with a command."""

from __future__ import annotations

from canonical.declarations.oauth import OAuth2
from tasks.sync import Trouble
from tasks.world import World


def next_step(world: World, trouble: Trouble, name: str) -> str:
    """What to do about a trouble that the sync of `name` met."""
    again = f"then: concord sync {name}"
    system, place = trouble.system, f"{trouble.system}/{trouble.stream}"
    match trouble.kind:
        case "AuthFailed" if _is_authorised_by_a_person(world, system):
            return f"let Concord in again: concord systems authorize {system}; {again}"
        case "AuthFailed":
            return f"renew the credentials of {system} ({_secrets(world, system)}), {again}"
        case "CountDrop":
            return f"look into {place}; if the records are gone on purpose: concord findings list, and accept"
        case "GateStopped":
            return f"see what failed: concord quarantine list; repair {place} at its source or the rule, {again}"
        case "Misdeclared":
            return f"compare the declaration of {place} with the system: concord check; {again}"
        case "SchemaDrift":
            return f"correct {place} or map it anew; if it is meant so: concord findings list, and accept; {again}"
        case "DeliveryStopped":
            return (
                f"see whether {system} works: concord systems check; what waits goes out with the next: concord deliver"
            )
        case _:
            return f"see whether {system} works: concord systems check; {again} (the schedule tries again as well)"


def _is_authorised_by_a_person(world: World, system: str) -> bool:
    oauth2 = world.landscape.systems[system].settings.get("oauth2")
    return isinstance(oauth2, OAuth2) and oauth2.grant == "authorization_code"


def _secrets(world: World, system: str) -> str:
    """Where a system's secrets are declared to be; never what they are."""
    settings = world.landscape.systems[system].settings
    places = [f"{s.kind} {s.name}" for s in settings.values() if type(s).__name__ == "SecretRef"]
    return ", ".join(places) or "see its declaration"
