"""`concord status`: one page that says what ran, what waits for whom, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from apps import session
from apps.options import Json
from apps.screen import age, count, emit, heading, show, table, then, when

if TYPE_CHECKING:
    from canonical.landscape import Integration, Target
    from staging.engine import Connection
    from staging.golives import GoingLive
    from tasks.world import World


def register(root: typer.Typer) -> None:
    root.command("status", rich_help_panel="Look")(status)


def status(context: typer.Context, as_json: Json = False) -> None:
    """What ran last and when it is due next, which writes wait, what waits for whom, and what to type next."""
    with session.of(context).reading() as (world, conn):
        found = gather(world, conn)
    if as_json:
        emit(found)
    else:
        _print(found)


def gather(world: World, conn: Connection) -> dict[str, Any]:
    """The state of everything, under stable keys."""
    from staging import golives, reports

    now = datetime.now(UTC)
    last = reports.last_syncs(conn, list(world.landscape.integrations))
    live = golives.live(conn)
    found: dict[str, Any] = {
        "landscape": world.landscape.name,
        "at": now,
        "integrations": [
            {
                **_integration(world, i, _as_it_is(conn, last[i.name]), now),
                "targets": [_target(i.name, target, live) for target in i.to],
            }
            for i in world.landscape.integrations.values()
        ],
        "outbox": reports.outbox_waits(conn),
        "queues": reports.open_queues(conn),
        "incidents": reports.incidents(conn),
        "paused": reports.pauses(conn),
    }
    found["next"] = _next_steps(found)
    return found


def _as_it_is(conn: Connection, last: Mapping[str, Any]) -> Mapping[str, Any]:
    """A sync that says it runs, but whose lane nobody holds, was killed."""
    from staging import locks

    is_dead = (
        last["state"] == "running"
        and last["silent_seconds"] >= DEAD_SECONDS
        and not locks.is_held(conn, f"sync:{last['integration']}")
    )
    return {**last, "state": "abandoned"} if is_dead else last


def _integration(world: World, integration: Integration, last: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    started, ended = last["started_at"], last["ended_at"]
    seconds = (ended - started).total_seconds() if ended and started else None
    due = _next_due(integration.timing.schedule, world.landscape.timezone, now)
    return {
        "integration": integration.name,
        "owner": world.contact(integration.owner),
        "entity": integration.entity,
        "schedule": integration.timing.schedule,
        "next_due": due,
        "last": None
        if last["id"] is None
        else {
            "sync_id": last["id"],
            "ran_as": last["ran_as"],
            "state": last["state"],
            "started_at": started,
            "ended_at": ended,
            "seconds": seconds,
            "started_by": last["started_by"],
            "error": last["error"],
            "silent_seconds": last["silent_seconds"] if last["state"] == "running" else None,
        },
        "last_complete_at": last["last_complete_at"],
    }


def _target(name: str, target: Target, live: Mapping[tuple[str, str, str], GoingLive]) -> dict[str, Any]:
    """A target with the mode that holds now: as declared, or live by a person's word."""
    went = live.get((name, target.system, target.stream)) if target.mode == "observe" else None
    return {
        "system": target.system,
        "stream": target.stream,
        "declared": target.mode,
        "mode": "write" if went else target.mode,
        "live_by": went.by if went else None,
        "live_at": went.at if went else None,
    }


def _next_due(schedule: str | None, timezone: str, now: datetime) -> datetime | None:
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    found: datetime | None = next(CronSim(schedule, now.astimezone(ZoneInfo(timezone)))) if schedule else None
    return found


DEAD_SECONDS = 5
"""Between opening its row and taking its lane a sync may take so long."""
RESULT = {"complete": "done", "failed": "failed", "running": "running", "abandoned": "ended without a word"}
COMMANDS = {
    "incident": None,
    "dead_letter": "concord dead-letters list",
    "hold": "concord holds list",
    "review": "concord reviews list",
    "quarantine": "concord quarantine list",
    "finding": "concord findings list",
}
WORDS = {
    "incident": ("incident", "incidents"),
    "dead_letter": ("dead letter (refused write)", "dead letters (refused writes)"),
    "hold": ("hold (writes that need a yes)", "holds (writes that need a yes)"),
    "review": ("review (possible match)", "reviews (possible matches)"),
    "quarantine": ("quarantined record", "quarantined records"),
    "finding": ("finding", "findings"),
}


def _next_steps(found: Mapping[str, Any]) -> list[str]:
    """What to type, the most urgent first."""
    steps = []
    runs = [i["last"] for i in found["integrations"]]
    if not any(runs):
        return ["concord plan", "concord sync"]
    if any(r and r["state"] in ("failed", "abandoned") for r in runs):
        steps.append("concord systems check")
    waiting = {q["queue"] for q in found["queues"]}
    steps += [c for queue, c in COMMANDS.items() if c and queue in waiting and queue != "finding"]
    if any(w["state"] == "ready" for w in found["outbox"]):
        steps.append("concord deliver")
    if "finding" in waiting:
        steps.append("concord findings list")
    return steps or ["concord sync"]


def _print(found: Mapping[str, Any]) -> None:
    heading(f"{found['landscape']}: integrations")
    table(
        ("integration", "last run", "result", "by", "last good", "next due", "owner"),
        [_run_row(i, found["at"]) for i in found["integrations"]],
    )
    _print_errors(found)
    _print_incidents(found["incidents"])
    _print_switches(found)
    if found["outbox"]:
        heading("writes on their way")
        table(
            ("target", "state", "#writes", "oldest", "why"),
            [
                (f"{w['system']}/{w['stream']}", w["state"], w["count"], age(w["oldest_seconds"]), w["reason"])
                for w in found["outbox"]
            ],
        )
    heading("waits for a person")
    if found["queues"]:
        table(
            ("#", "what", "for", "oldest", "look"),
            [
                (q["count"], WORDS[q["queue"]][q["count"] != 1], q["owner"], age(q["oldest_seconds"]),
                 COMMANDS[q["queue"]] or "above")
                for q in found["queues"]
            ],
        )  # fmt: skip
    else:
        show("nothing")
    show("")
    then(*found["next"])


def _print_switches(found: Mapping[str, Any]) -> None:
    """What is paused, and which targets are only observed or went live by a person's word."""
    for pause in found["paused"]:
        kind, _, name = pause["what"].partition(":")
        until = f"until {when(pause['until'])}" if pause["until"] else "until somebody resumes it"
        show(f"paused: {kind} {name}, by {pause['by']} since {when(pause['at'])}, {until}: {pause['reason']}")
        behind = count(pause["waiting"], "write waits", "writes wait") + " behind it; " if pause["waiting"] else ""
        then(f"{behind}concord resume {name}")
    for each in found["integrations"]:
        for target in each["targets"]:
            place = f"{each['integration']} to {target['system']}/{target['stream']}"
            if target["mode"] == "observe":
                show(f"observed only: {place}: it is planned and reported, nothing is sent")
                then(f"concord golive {each['integration']}")
            elif target["live_by"]:
                show(f"live by {target['live_by']} since {when(target['live_at'])}: {place}")


def _run_row(each: Mapping[str, Any], now: datetime) -> Sequence[object]:
    last = each["last"]
    due = each["next_due"]
    soon = f"in {age(due - now)}" if due else "by hand"
    if last is None:
        return (each["integration"], "never", "", "", "", soon, each["owner"])
    took = f" in {age(last['seconds'])}" if last["seconds"] is not None and last["state"] == "complete" else ""
    result = RESULT[last["state"]] + took
    if last["state"] == "running" and last["silent_seconds"] and last["silent_seconds"] > 300:
        result = f"running, silent for {age(last['silent_seconds'])}"
    good = each["last_complete_at"]
    return (
        each["integration"],
        f"{age(now - last['started_at'])} ago",
        result,
        last["started_by"],
        f"{age(now - good)} ago" if good else "never",
        soon,
        each["owner"],
    )


CUT = 240
"""Characters of an error on this page; `--json` has all of it."""


def _print_errors(found: Mapping[str, Any]) -> None:
    """Why runs failed, once for each run, unless an open incident has told it since."""
    told: set[int] = set()
    for each in found["integrations"]:
        last = each["last"]
        if last is None or not last["error"] or last["sync_id"] in told:
            continue
        told.add(last["sync_id"])
        if any(incident["last_seen_at"] >= last["started_at"] for incident in found["incidents"]):
            continue
        error = last["error"] if len(last["error"]) <= CUT else last["error"][: CUT - 1] + "…"
        show(f"! {last['ran_as']}: {error}", style="red")


def _print_incidents(incidents: Sequence[Mapping[str, Any]]) -> None:
    if not incidents:
        return
    heading(count(len(incidents), "open incident"))
    for incident in incidents:
        show(f"! {incident['cause']}", style="red")
        show(
            f"  since {when(incident['opened_at'])}, seen {count(incident['times'], 'time')}, for {incident['owner']};"
            f" unaffected: {incident['unaffected'] or 'not said'}"
        )
        if incident["next_step"]:
            then(incident["next_step"])
