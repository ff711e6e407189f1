"""Concord at work in a process of its own, which a proof may kill. What the job may be:

    sync          syncs until nothing is left to do, then once more; says what that last one wrote
    some          syncs, one after another
    each          every integration by itself, coming back where another process is at it
    plans         saves a plan of each integration and applies it
    deliver       sends what is due, no more
    tokens        lets the ledger's token end and asks again, some times
    rounds        every integration by itself, one after another, until it is ended
    forever       syncs until it is ended; a line for each sync that found no trouble

Prints lines of JSON. A fault that ends it is one line on stderr. `apps.proving.nursery` starts it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from apps.proving.ground import call
from staging.engine import transaction
from staging.standing import unsettled
from tasks import rehearse
from tasks import sync as syncs
from tasks.apply import NotApplied, apply
from tasks.deliver import deliver
from tasks.world import World

BY = "concord prove"
MOST_SYNCS = 12
LATER_SECONDS = 0.7
TOKENS = 5
SYNCS = 3


def say(**what: Any) -> None:
    """One line for the process that watches."""
    print(json.dumps({**what, "at": time.time()}), flush=True)


def one(world: World, name: str = "all") -> syncs.Summary:
    """A sync in this process, without Prefect."""
    sync_id = syncs.begin(world, name, "incremental", started_by=BY)
    return syncs.sync(world, name, syncs.PlainSteps(world, sync_id), sync_id=sync_id)


def some(world: World) -> None:
    """Syncs one after another: points that a sync comes to once are come to several times."""
    for _ in range(SYNCS):
        done = one(world)
        say(writes=done.target_writes, versions=done.golden_versions, trouble=_told(done))


def settle(world: World) -> None:
    """Syncs until nothing is left to do; a further sync must write nothing."""
    for number in range(MOST_SYNCS):
        done = one(world)
        if not done.trouble and not _left(world):
            break
        if number:
            time.sleep(LATER_SECONDS)
    say(settled=True, trouble=_told(done), left=_left(world))
    further = one(world)
    say(writes=further.target_writes, versions=further.golden_versions, trouble=_told(further))


def each(world: World, number: str) -> None:
    """Every integration by itself, from a place of this process's own, until each had its turn."""
    names = list(world.landscape.integrations)
    start = int(number) * 3 % len(names)
    waiting = names[start:] + names[:start]
    while waiting:
        name = waiting.pop(0)
        try:
            say(integration=name, writes=one(world, name).target_writes)
        except syncs.SyncBusy:
            waiting.append(name)
            time.sleep(0.1)


def rounds(world: World, number: str) -> None:
    """Every integration by itself, again and again, until this process is ended."""
    names = list(world.landscape.integrations)
    turn = int(number) * 3
    while True:
        name = names[turn % len(names)]
        turn += 1
        try:
            done = one(world, name)
        except syncs.SyncBusy:
            time.sleep(0.1)
            continue
        say(integration=name, writes=done.target_writes, trouble=_told(done))


def plans(world: World) -> None:
    """A plan of each integration, kept and applied."""
    for name in world.landscape.integrations:
        listing = rehearse.rehearse(world, name)
        plan_id = rehearse.save(world, name, listing, mode="incremental", by=BY)
        try:
            applied = apply(world, plan_id, by=BY)
            say(plan=plan_id, states=applied.states)
        except NotApplied as moved:
            say(plan=plan_id, moved=str(moved))


def send(world: World) -> None:
    """What is due, sent."""
    say(writes=deliver(world, tuple(world.landscape.integrations)).writes)


def tokens(world: World, url: str) -> None:
    """Lets the tokens of the system at `url` end and asks it again, some times."""
    [system] = [name for name, one in world.landscape.systems.items() if one.settings.get("url") == url]
    for number in range(TOKENS):
        call(f"{url}/_sandbox/oauth/expire", "POST", {})
        world.connector(system).check()
        say(asked=number)


def forever(world: World) -> None:
    """Syncs until it is ended."""
    while True:
        started = time.time()
        try:
            done = one(world)
        except syncs.SyncBusy:
            time.sleep(0.2)
            continue
        if not done.trouble:
            say(began=started, ended=time.time(), writes=done.target_writes)


def _left(world: World) -> int:
    with transaction(world.engine) as conn:
        return unsettled(conn)


def _told(done: syncs.Summary) -> list[str]:
    return [f"{t.system}/{t.stream} {t.step}: {t.cause}" for t in done.trouble]


JOBS: dict[str, Callable[..., None]] = {
    "some": some,
    "sync": settle,
    "each": each,
    "rounds": rounds,
    "plans": plans,
    "deliver": send,
    "tokens": tokens,
    "forever": forever,
}


def main(folder: str, job: str, *more: str) -> int:
    """Runs a job in the landscape of a folder; gives the exit code."""
    try:
        world = World.of(folder)
        try:
            JOBS[job](world, *more)
        finally:
            world.close()
    except Exception as error:
        said = str(error).strip().splitlines()
        print(f"{type(error).__name__}: {said[0][:300] if said else ''}", file=sys.stderr)
        return 1
    return 0
