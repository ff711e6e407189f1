"""`concord sync --record SYSTEM/STREAM/ID`: one record by itself, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apps import session
from apps.commands.holds import print_changes
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop, unknown
from apps.screen import count, emit, heading, show, then

if TYPE_CHECKING:
    from tasks.one_record import OneRecord, Step
    from tasks.world import World

READ = {
    "new": "read for the first time", "changed": "read, and it has changed", "unchanged": "read, and it is as it was",
    "deleted": "its system says that it is gone", "missing": "its system does not know it",
}  # fmt: skip
STANDS = {
    "resolved": "belongs to {id}", "review": "may be one that is known: a person is asked",
    "dirty": "waits to be matched", "gone": "is gone", "not staged": "never passed its rules",
}  # fmt: skip


def sync_record(world: World, name: str, record: str, *, as_json: bool) -> int:
    """Runs it and tells; gives the exit code."""
    from tasks import incidents
    from tasks.one_record import sync_record as do
    from tasks.sync import TurnedAway

    place = _parsed(world, record)
    integrations = _integrations(world, name, place)
    try:
        done = do(world, place, integrations, by=session.who(world.landscape, None))
    except TurnedAway as no:
        raise Stop(NEEDS_A_PERSON, str(no)) from None
    assert done.summary is not None, "every call that ends has one"
    incidents.conclude_delivery(world, name, done.summary.trouble, written=set(done.summary.targets))
    if as_json:
        emit(done.as_dict())
    else:
        _print(done)
    is_fine = not (done.summary.trouble or done.summary.rejected or done.steps[0].read == "missing")
    return 0 if is_fine else NEEDS_A_PERSON


def _parsed(world: World, record: str) -> tuple[str, str, str]:
    """The record's system, stream and id. Raises Stop."""
    parts = record.split("/", 2)
    if len(parts) != 3 or not parts[2]:
        raise Stop(REFUSED, f"--record: expected SYSTEM/STREAM/ID, found {record!r}")
    system = session.system(world.landscape, parts[0])
    streams = world.landscape.systems[system].streams
    if parts[1] not in streams:
        raise unknown(f"stream of {system}", parts[1], streams)
    return system, parts[1], parts[2]


def _integrations(world: World, name: str, place: tuple[str, str, str]) -> Sequence[str]:
    """The integrations that move what this stream's records make, or the one that was named. Raises Stop."""
    made = {m.entity for m in world.landscape.systems[place[0]].streams[place[1]].makes}
    fitting = [i for i in session.integrations(world, name) if world.landscape.integrations[i].entity in made]
    if name != "all" and not fitting:
        moved = world.landscape.integrations[name].entity
        made_of = ", ".join(sorted(made)) or "nothing"
        raise Stop(REFUSED, f"{name} moves {moved}, and {place[0]}/{place[1]} makes {made_of}")
    return fitting


def _print(done: OneRecord) -> None:
    for step in done.steps:
        _print_step(step, is_first=step is done.steps[0])
    for version in done.golden:
        heading(f"{version['entity']} {version['canonical_id']}: version {version['version']}")
        changes = [{**c, "authority": c.get("system")} for c in version["changes"]]
        print_changes(changes)
    heading("writes")
    for write in done.writes:
        where = f"{write['system']}/{write['stream']}" + (f"/{write['source_id']}" if write["source_id"] else "")
        is_ours = "" if write["sync_id"] == done.sync_id else " (of an earlier run)"
        show(f"{write['op']} {write['entity']} in {where}: {write['state']}{is_ours}; {write['because']}")
        if write["reason"]:
            show(f"  {write['reason']}")
    if not done.writes:
        show("none: no target has to be told anything")
    for trouble in done.summary.trouble if done.summary else ():
        show(f"! {trouble.system}: {trouble.cause}", style="red")
    found = [(e["entity"], e["canonical_id"]) for e in done.steps[0].entities if e["canonical_id"]]
    then(*(f"the whole story: concord explain {entity} {i}" for entity, i in found))


def _print_step(step: Step, *, is_first: bool) -> None:
    why = "" if is_first else " (it is referred to)"
    heading(f"{step.record}{why}: {READ[step.read]}")
    for each in step.entities:
        said = STANDS.get(each["state"], each["state"]).format(id=each["canonical_id"])
        because = f" ({each['because']})" if each["because"] else ""
        show(f"{_article(each['entity'])}: {said}{because}")
        for problem in each["problems"]:
            show(f"  ! {problem}", style="red")
    if step.entities and any(e["problems"] for e in step.entities):
        number = sum(len(e["problems"]) for e in step.entities)
        then(f"{count(number, 'problem')}: concord quarantine list")


def _article(entity: str) -> str:
    return f"as {'an' if entity[0] in 'aeiou' else 'a'} {entity}"
