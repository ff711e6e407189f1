"""What a run shows of itself in Prefect: artifacts with names, counts and next steps; never a record's value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from staging import holds
from staging.incidents import Cause
from tasks.incidents import in_words
from tasks.rehearse import Listing
from tasks.settle import Delivered
from tasks.sync import Summary
from tasks.world import World

READ = ("received", "new", "changed", "unchanged", "quarantined")
WRITTEN = ("created", "updated", "archived", "deleted", "held", "waiting")


def key_of(*parts: str) -> str:
    """An artifact's key: the same for the same integration, so that its history shows in one place."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def sync_markdown(world: World, summary: Summary, name: str) -> str:
    """What waits for whom and what to do next, then what happened per system: who reads on knows why."""
    word = "with trouble" if summary.trouble else "complete"
    rounds = "one round" if summary.rounds == 1 else f"{summary.rounds} rounds"
    parts = [
        f"# {name}: {word}",
        f"Sync {summary.sync_id}, {summary.mode}, {rounds}: {summary.golden_versions:,} golden versions,"
        f" {summary.target_writes:,} writes to systems.",
        "## What waits for whom\n" + "\n".join(f"- {line}" for line in waits(world, summary, name)),
        _section("Written", WRITTEN, summary.targets, "Nothing had to be written."),
        _section("Read", READ, summary.systems, "Nothing was read."),
    ]
    if summary.trouble:
        lines = [f"- {in_words(world, t, name)}" for t in summary.trouble]
        parts.insert(2, "## Trouble\n" + "\n".join(lines))
    return "\n\n".join(parts)


def waits(world: World, summary: Summary, name: str) -> list[str]:
    """One line for each kind of thing that waits, with its person and command; one line if nothing does."""
    found: list[str] = []
    owners = ", ".join(
        dict.fromkeys(world.contact(world.landscape.integrations[i].owner) for i in summary.integrations)
    )
    stewards = ", ".join(
        dict.fromkeys(world.owner_of(world.landscape.model[e]) for e in world.needed_entities(summary.integrations))
    )
    if summary.held:
        found += _holds(world, summary) or [f"{summary.held} writes are held for {owners}: `concord holds list`"]
    if summary.reviews:
        asked = [e for e, counts in summary.entities.items() if counts.get("asked")]
        reviewers = ", ".join(dict.fromkeys(world.owner_of(world.landscape.model[e]) for e in asked)) or stewards
        found.append(f"{summary.reviews} doubtful pairs wait for {reviewers}: `concord reviews list`")
    if summary.findings:
        found.append(f"{summary.findings} findings wait for {stewards}: `concord findings list`")
    if summary.quarantined:
        found.append(
            f"{summary.quarantined} records of this run failed a rule, for {stewards}: `concord quarantine list`"
        )
    if summary.rejected:
        found.append(
            f"{summary.rejected} writes were refused by their system, for {owners}: `concord dead-letters list`"
        )
    if summary.waiting:
        found.append(f"{summary.waiting} writes wait for another record to arrive there first; nobody has to act")
    found += [f"not read: {place}: {why}; nobody has to act" for place, why in summary.rested.items()]
    if summary.trouble:
        found.append(f"after the trouble is over: `concord sync {name}`")
    return found or ["nothing; a second sync now would write nothing"]


MOST_HOLDS = 10
"""More holds than this are a number and a command."""


def _holds(world: World, summary: Summary) -> list[str]:
    """Each hold by the number that the form `decide` asks for."""
    with world.transaction() as conn:
        waiting = holds.open_of(conn, summary.integrations)
    found = [
        f"**hold {h['id']}**: {h['writes']} × {h['op']} to {h['system']}/{h['stream']} ({h['reason']}). For"
        f" {world.contact(h['owner'] or 'nobody')}: the form `decide`, or `concord holds show {h['id']}`"
        for h in waiting[:MOST_HOLDS]
    ]
    more = len(waiting) - len(found)
    return [*found, f"{more} more holds: `concord holds list`"] if more else found


def _section(title: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, int]], nothing: str) -> str:
    if not rows:
        return f"## {title}\n{nothing}"
    head = f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}"
    lines = [
        f"| {place} | {' | '.join(f'{c.get(col, 0):,}' for col in columns)} |" for place, c in sorted(rows.items())
    ]
    return f"## {title}\n{head}\n" + "\n".join(lines)


def counts_table(summary: Summary) -> list[dict[str, Any]]:
    """Every count of a sync as rows: where, what, how many."""
    groups = (("read", summary.systems), ("match", summary.entities), ("write", summary.targets))
    return [
        {"step": step, "where": where, "what": what.replace("_", " "), "count": count}
        for step, places in groups
        for where, counts in sorted(places.items())
        for what, count in counts.items()
        if count
    ]


def inbox_of(world: World) -> str | None:
    """Where a person reads the alerts; None where the landscape names no messenger."""
    system = world.landscape.notify.get("slack")
    if not system:
        return None
    return str(world.landscape.systems[str(system)].settings.get("url") or "https://slack.com")


def _docs_index(page: str) -> str:
    """The index of the Data Docs that a validation's page belongs to, as a link; the page where there is none."""
    found = Path(page.removeprefix("file://")).absolute()
    index = next((p / "index.html" for p in found.parents if (p / "index.html").exists()), found)
    return index.as_uri()


def show_sync(world: World, summary: Summary, name: str) -> None:
    """The artifacts of a sync's flow run."""
    create_markdown_artifact(
        sync_markdown(world, summary, name), key=key_of("sync", name), description=f"What the sync of {name} did"
    )
    create_table_artifact(
        counts_table(summary) or [{"step": "read", "where": "everywhere", "what": "nothing new", "count": 0}],
        key=key_of("counts", name),
        description="Every count of this sync",
    )
    if summary.docs:
        create_link_artifact(
            _docs_index(summary.docs),
            link_text="Data Docs",
            key=key_of("data-docs", name),
            description="What was validated, rule by rule",
        )
    inbox = inbox_of(world)
    if inbox:
        create_link_artifact(
            inbox, link_text="Alert inbox", key=key_of("alerts", name), description="Where incidents are told"
        )


def in_short(summary: Summary) -> str:
    """One line for a list of runs."""
    read = sum(counts.get("received", 0) for counts in summary.systems.values())
    said = f"{read} records read, {summary.golden_versions} golden versions, {summary.target_writes} writes"
    if not summary.trouble:
        return said
    what = ", ".join(dict.fromkeys(f"{t.system} ({t.kind})" for t in summary.trouble))
    return f"trouble with {what}; the others went on: {said}"


def planned_counts(listing: Listing) -> list[dict[str, Any]]:
    """What a plan would write, counted by target and operation: the values themselves are for `concord plan`."""
    return [
        {
            "integration": target.integration,
            "target": f"{target.system}/{target.stream}",
            "operation": target.op,
            "writes": target.count,
            "then": target.verdict,
            "because": target.because,
        }
        for target in listing.targets
    ]


def show_plan(rows: list[dict[str, Any]], name: str) -> None:
    """The artifact of a plan."""
    create_table_artifact(
        rows or [{"integration": name, "target": "everywhere", "operation": "nothing to do", "writes": 0}],
        key=key_of("plan", name),
        description=f"What a sync of {name} would write; nothing was written. Record by record: concord plan {name}",
    )


def show_delivery(done: Delivered, name: str) -> None:
    """The artifact of a delivery."""
    rows = [
        {"target": where, "operation": op, "writes": n}
        for where, ops in sorted(done.done.items())
        for op, n in ops.items()
    ]
    create_table_artifact(
        rows or [{"target": "everywhere", "operation": "nothing was due", "writes": 0}],
        key=key_of("delivered", name),
        description="What was sent",
    )


def show_watch(causes: Sequence[Cause]) -> None:
    """The artifact of a watch: what needs a person, or that nothing does."""
    lines = [f"- **{c.integration}**: {c.cause}. Owner: {c.owner}. Next: {c.next_step}" for c in causes]
    create_markdown_artifact(
        "# What needs a person\n" + ("\n".join(lines) or "Nothing: everything ran as its schedule and promise say."),
        key="watch",
        description="What did not run, ran late, died, or waits too long",
    )
