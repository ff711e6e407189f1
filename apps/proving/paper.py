"""The report of a rehearsed day, in Markdown, for people who decide whether the day may come."""

from __future__ import annotations

from collections.abc import Iterator

from apps.proving.figures import FLAT, ON_TIME, Figures, Freshness, Promise

_QUEUES = {
    "quarantine": "records set aside because a rule refused them",
    "review": "possible matches that a person must judge",
    "hold": "sets of writes that wait for an approval",
    "finding": "differences that somebody should look at",
    "dead_letter": "writes that a system refused for good",
    "incident": "incidents",
}


def report(found: Figures) -> str:
    """The whole report."""
    return "\n".join([*_head(found), *_arrivals(found), *_promises(found), *_waits(found), *_how(found)]) + "\n"


def _head(found: Figures) -> Iterator[str]:
    yield f"# A rehearsal: {found.scenario}"
    yield ""
    yield f"{found.means}. {found.minutes:g} minutes, {found.changes} changes by people, up to"
    yield f"{found.changes_per_minute:g} a minute, on twins of the systems. No real system was touched."
    yield ""
    yield f"**{'Concord kept up.' if found.holds else 'Concord did not keep up.'}**"
    yield ""
    kept = len(found.promises) - len(found.broken)
    yield f"- {_arrived(found)}"
    yield f"- {kept} of {len(found.promises)} SLAs held" + (
        f"; not those of {', '.join(one.integration for one in found.broken)}." if found.broken else "."
    )
    if found.late:
        told = [f"{one.system} ({one.times_normal:g} × normal while {one.phase})" for one in found.late]
        yield f"- Late though nothing was wrong with them: {'; '.join(told)}."
    else:
        yield f"- No system was late because another was in trouble (at most {ON_TIME:g} × normal)."
    drained = found.drained_seconds
    yield (
        f"- When the day was over, everything was done within {drained:.0f} s."
        if drained is not None
        else "- When the day was over, not everything could be done."
    )
    people = sum(found.needed_a_person.values())
    yield f"- {people} {'thing' if people == 1 else 'things'} needed a person."
    yield ""


def _arrived(found: Figures) -> str:
    if found.missing:
        return f"{found.missing} changes did not arrive where they should have."
    return "Every change arrived everywhere it should."


def _arrivals(found: Figures) -> Iterator[str]:
    yield "## How fresh each system was"
    yield ""
    yield "Seconds from a person's change until the other system had it. **Bold**: the slowest of the day."
    yield ""
    yield "| what was going on | system | changes | usual (median) | 95 of 100 within | slowest | beside the rush |"
    yield "|---|---|--:|--:|--:|--:|---|"
    slowest = max((one.slowest_seconds for one in found.freshness), default=0.0)
    for one in found.freshness:
        worst = f"**{one.slowest_seconds:g}**" if one.slowest_seconds == slowest else f"{one.slowest_seconds:g}"
        yield (
            f"| {one.phase} | {one.system} | {one.changes} | {one.median_seconds:g} | {one.p95_seconds:g} | {worst} |"
            f" {_compared(one)} |"
        )
    yield ""


def _compared(one: Freshness) -> str:
    if one.missing:
        return f"{one.missing} did not arrive"
    if one.times_normal is None:
        return ""
    if one.is_hurt:
        return f"{one.times_normal:g} × (in trouble itself, or fed by the system that was)"
    return f"{one.times_normal:g} ×" + (", **too slow**" if one.is_late else ", on time")


def _promises(found: Figures) -> Iterator[str]:
    yield "## Whether each SLA held"
    yield ""
    yield "How old a value can be at worst: the longest wait for the declared schedule, and the longest time that a"
    yield "round of it took on this day, faults included."
    yield ""
    yield "| integration | waits for its schedule | slowest round | at worst | promised | held |"
    yield "|---|--:|--:|--:|--:|---|"
    for one in found.promises:
        yield (
            f"| {one.integration} | {_time(one.gap_seconds)} | {_time(one.round_seconds)} |"
            f" {_time(one.expected_seconds)} | {_time(one.promised_seconds)} | {_held(one)} |"
        )
    yield ""


def _held(one: Promise) -> str:
    return {True: "yes", False: "**no**", None: "nothing is promised"}[one.holds]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _waits(found: Figures) -> Iterator[str]:
    yield "## What waited, and what needed a person"
    yield ""
    for system, count in found.most_waiting.items():
        yield f"- {system}: at most {count} writes waited at once."
    if not found.most_waiting:
        yield "- Nothing waited long enough to be seen."
    for queue, count in found.needed_a_person.items():
        yield f"- {count} {_QUEUES.get(queue, queue)}."
    if not found.needed_a_person:
        yield "- Nothing needed a person."
    yield (
        f"- Memory of the workers: {found.megabytes_first:.0f} MB in the first half of the busy time,"
        f" {found.megabytes_last:.0f} MB in the second: {'flat' if found.is_flat else '**growing**'}."
    )
    if found.ended_workers:
        yield f"- {found.ended_workers} workers ended by themselves and were started again."
    yield ""


def _how(found: Figures) -> Iterator[str]:
    yield "## How this was measured"
    yield ""
    yield "People's changes were made in twins of the systems, on one machine; four workers went through all declared"
    yield "integrations without a pause. Each change carries a number of its own, and arrived when the other twin's"
    yield "store held it, looked at once a second; a change that was overtaken by a later one of the same record counts"
    yield "with that. Time runs 1:1: a fault of half a minute is one of half a minute; seconds depend on the machine."
    yield f"On time means at most {ON_TIME:g} × of the rush in which nobody was in trouble; flat, at most {FLAT:g} ×."
