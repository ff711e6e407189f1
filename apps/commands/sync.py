"""`concord sync`, `plan` and `deliver`: the work itself, looked at beforehand, done, or only its last step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.commands import one_record
from apps.exits import BUSY, DATABASE, FAULT, NEEDS_A_PERSON, REFUSED, Stop
from apps.follow import following
from apps.options import Json
from apps.screen import Clock, count, emit, heading, show, table, then

if TYPE_CHECKING:
    from tasks.sync import Mode
    from tasks.world import World

Which = Annotated[str, typer.Argument(metavar="[INTEGRATION|all]", help="One integration, or all of them.")]


def register(root: typer.Typer) -> None:
    root.command("sync", rich_help_panel="Work")(sync)
    root.command("deliver", rich_help_panel="Work")(deliver)


def sync(
    context: typer.Context,
    name: Which = "all",
    full: Annotated[bool, typer.Option("--full", help="Read every record, not only what changed.")] = False,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, max=1_000_000, help="Read at most so many records of each stream.")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option("--record", metavar="SYSTEM/STREAM/ID", help="Only this record, and parents that it needs."),
    ] = None,
    without_prefect: Annotated[
        bool, typer.Option("--without-prefect", help="Run the steps here, without a flow run in Prefect.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read, check, resolve, plan and write: bring the systems of one integration, or of all, into agreement.

    With --record one record goes all the way by itself, in this process, and what became of it is told. Exit code 1 if
    a stream could not be read, a batch was stopped or a target refused a write: the rest is done."""
    clock = Clock(silent=as_json)
    here = session.of(context)
    mode: Mode = "full" if full else "incremental"
    with here.world() as world:
        names = session.integrations(world, name)
        if record is not None:
            if full or sample:
                raise Stop(REFUSED, "--record reads one record: --full and --sample have no meaning with it")
            raise typer.Exit(one_record.sync_record(world, name, record, as_json=as_json))
        clock.say(f"sync of {', '.join(names)} ({mode})")
        if not without_prefect:
            lead_prefect(here.folder, clock)
        with following(world.engine, clock, silent=as_json):
            if without_prefect:
                found = run_plainly(world, name, mode=mode, sample=sample)
            else:
                found = run_as_flow(name, mode=mode, sample=sample)
    found["seconds"] = round(clock.seconds, 1)
    if as_json:
        emit({**found, "trouble": [{**each, "cause": _told(each["kind"], each["cause"])} for each in found["trouble"]]})
    else:
        print_summary(found)
    raise typer.Exit(NEEDS_A_PERSON if found["trouble"] or found["rejected"] else 0)


def lead_prefect(folder: Path | None, clock: Clock) -> None:
    """Leads this process to its Prefect server, before anything imports Prefect, and the flow to our landscape.

    Raises PrefectUnavailable."""
    from deployments import prefect_local
    from staging.home import concord_home
    from tasks.landscape import folder_of

    os.environ["CONCORD_LANDSCAPE"] = str(folder_of(folder).absolute())
    os.environ["CONCORD_HOME"] = str(concord_home())
    # Prefect's own log lines go to its server; here they would stand in the way of ours
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if prefect_local.running() is None and "PREFECT_API_URL" not in os.environ:
        clock.say("starting the local Prefect server (about 15 s; it stays up for the next command)")
    clock.say(f"running as a flow; watch it at {prefect_local.start().ui_url}")


def run_as_flow(name: str, *, mode: Mode, sample: int | None) -> dict[str, Any]:
    """A sync as a run of the Prefect flow in this process; gives its summary with the run's address.

    Raises Stop where another one runs, and where it ended without a summary."""
    from flows.sync import run

    try:
        ran = run(name, mode=mode, sample=sample)
    finally:
        _send_logs()
    if ran.state == "Skipped":
        raise Stop(BUSY, ran.message, "see where it is: concord status")
    if ran.summary is None or (ran.state != "Completed" and not ran.summary["trouble"]):
        where = f"the run: {ran.flow_run_url}" if ran.flow_run_url else "see where it is: concord status"
        raise Stop(_code_of(ran.message), f"the run ended as {ran.state}: {ran.message}", where)
    return {**ran.summary, "flow_run_url": ran.flow_run_url}


def _send_logs() -> None:
    """The run's log lines reach Prefect before its server may be stopped."""
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()


def _code_of(message: str) -> int:
    """The exit code for the error that Prefect reports in words."""
    if any(name in message for name in ("DatabaseUnavailable", "SchemaMissing", "SchemaNewer", "OperationalError")):
        return DATABASE
    return REFUSED if "Refused" in message or "concord check --activate" in message else FAULT


def run_plainly(world: World, name: str, *, mode: Mode, sample: int | None) -> dict[str, Any]:
    """A sync in this process, step after step; gives its summary."""
    from staging.home import concord_home
    from tasks import incidents, stopping
    from tasks import sync as syncs

    sync_id = syncs.begin(world, name, mode)
    steps = syncs.PlainSteps(world, sync_id, concord_home() / "docs")
    try:
        with stopping.on_sigterm():
            summary = syncs.sync(world, name, steps, sync_id=sync_id, mode=mode, sample=sample)
            was_stopped = stopping.is_asked()
    except Exception as error:
        incidents.conclude(world, name, error)
        raise
    if not was_stopped:  # a run that did not come to its end disproves nothing
        incidents.conclude(world, name, summary)
    return {**summary.as_dict(), "flow_run_url": None}


def print_summary(found: Mapping[str, Any]) -> None:
    """What a sync did: per system, per target, what waits for a person, what to type next."""
    unread = {f"{t['system']}/{t['stream']}" for t in found["trouble"] if t["step"] == "extract"}
    read = {place: c for place, c in found["systems"].items() if c.get("received") or place not in unread}
    if read:
        heading("read")
        names = ("received", "new", "changed", "unchanged", "deleted", "quarantined")
        table(
            ("system/stream", *(f"#{'read' if n == 'received' else n}" for n in names)),
            [(place, *(int(counts.get(n, 0)) for n in names)) for place, counts in read.items()],
        )
    targets = found["targets"]
    if targets:
        heading("written")
        written = ["created", "updated", "archived", "deleted", "held", "waiting"]
        written += ["observed"] if any(counts.get("observed") for counts in targets.values()) else []
        table(
            ("target", *(f"#{n}" for n in written)),
            [(place, *(int(counts.get(n, 0)) for n in written)) for place, counts in sorted(targets.items())],
        )
    heading("outcome")
    show(
        f"{count(found['target_writes'], 'write')} to targets, {count(found['golden_versions'], 'new golden version')},"
        f" in {count(found['rounds'], 'round')} and {found['seconds']:.0f} s (sync {found['sync_id']})"
    )
    print_trouble(found["trouble"])
    if found["rejected"]:
        show(f"! {count(found['rejected'], 'write')} refused by its target for good", style="red")
        then("concord dead-letters list")
    for paused in found["paused"]:
        show(f"not planned: {paused}", style="yellow")
    for place, why in found["rested"].items():
        show(f"not read: {place}: {why}", style="yellow")
    _print_waiting(found)
    for name, what in (("flow_run_url", "this run in Prefect"), ("docs", "what was validated (Data Docs)")):
        if found.get(name):
            link = Path(found[name]).absolute().as_uri() if name == "docs" and "://" not in found[name] else found[name]
            show(f"{what}: {link}")


def print_trouble(troubles: Sequence[Mapping[str, Any]]) -> None:
    """What could not be done, where, and that the rest was."""
    alike: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for trouble in troubles:
        alike.setdefault((trouble["system"], trouble["step"], trouble["kind"]), []).append(trouble)
    for (system, step, kind), some in alike.items():
        streams = ", ".join(dict.fromkeys(t["stream"] for t in some if t["stream"]))
        place = f"{system} ({streams})" if streams else system
        said = _told(kind, some[0]["cause"])
        show(f"! {place}: {step} stopped: {kind}{f': {said}' if said else ''}", style="red")
    if troubles:
        show("  the others went on; what was read of these stays, and the next sync goes on from there")
        then("ask every system: concord systems check")


def _told(kind: str, cause: str) -> str:
    """A cause without what a system answered: that may hold a person's data, and what is printed here ends in logs and
    in cron's mails. `concord status --json` has all of it."""
    from tasks.incidents import ours

    return ours(kind, cause)


def _print_waiting(found: Mapping[str, Any]) -> None:
    waits = (
        (found["quarantined"], "record failed a rule in this run", "records failed a rule in this run", "quarantine"),
        (found["reviews"], "possible match waits for an answer", "possible matches wait for an answer", "reviews"),
        (found["held"], "write is held", "writes are held", "holds"),
        (found["findings"], "finding is open", "findings are open", "findings"),
    )
    for number, one, many, command in waits:
        if number:
            show(f"{count(number, one, many)}: concord {command} list")
    if found["waiting"]:
        show(f"{count(found['waiting'], 'write waits', 'writes wait')} for a record to exist in the target first")
    then("who has to do what: concord status")


def deliver(context: typer.Context, name: Which = "all", as_json: Json = False) -> None:
    """Send what is ready to be sent, and nothing else: after an approval, or when a target is up again."""

    from tasks import incidents, stopping
    from tasks.deliver import deliver as send
    from tasks.sync import Trouble

    clock = Clock(silent=as_json)
    with session.of(context).world() as world:
        names = session.integrations(world, name)
        clock.say(f"delivering what is ready for {', '.join(names)}")
        with stopping.on_sigterm():
            done = send(world, names)
            was_stopped = stopping.is_asked()
        troubles = [Trouble(system, "", "deliver", "DeliveryStopped", cause) for system, cause in done.troubled.items()]
        incidents.conclude_delivery(world, name, troubles, written={place.partition("/")[0] for place in done.done})
    if as_json:
        told = {name: getattr(done, name) for name in ("done", "rejected", "unknown", "retried", "found", "troubled")}
        told["troubled"] = {system: _told("DeliveryStopped", cause) for system, cause in done.troubled.items()}
        emit({**told, "writes": done.writes, "seconds": round(clock.seconds, 1)})
    else:
        _print_delivered(done)
    if was_stopped:
        clock.say("stopped as asked; what is left waits for the next: concord deliver")
    raise typer.Exit(NEEDS_A_PERSON if done.troubled or done.rejected else 0)


def _print_delivered(done: Any) -> None:
    if done.done:
        ops = ("create", "update", "archive", "delete")
        rows = [(place, *(int(counts.get(op, 0)) for op in ops)) for place, counts in sorted(done.done.items())]
        table(("target", "#created", "#updated", "#archived", "#deleted"), rows)
    show(f"{count(done.writes, 'write')} delivered" if done.writes else "nothing was ready to be sent")
    if done.retried:
        show(f"{count(done.retried, 'write')} will be tried again later")
    if done.unknown:
        show(f"{count(done.unknown, 'write')} without an answer: looked up before anything is sent again")
    for system, cause in done.troubled.items():
        show(f"! {system}: {_told('DeliveryStopped', cause)}; its writes wait", style="red")
        then(f"concord systems check {system}")
    if done.rejected:
        show(f"! {count(done.rejected, 'write')} refused for good", style="red")
        then("concord dead-letters list")
