"""What waits for a person: by when, and what the person can do next. Pure: an entry is as the queue shows it.

The `cause` of an entry is the class of what happened (`staging.entries`): a hundred entries of one cause are one thing
to put right. Here is what kinds of findings and holds mean, and which command comes next.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from canonical.landscape import Landscape

ANSWER_WITHIN = timedelta(days=3)
"""By when an entry is to be answered where no integration of its entity promises a time (`sla: {resolve: …}`)."""

HOLD_KINDS: Mapping[str, str] = {
    "brake": "more than the brake allows at once",
    "ask_when": "the landscape asks about such writes",
    "mode": "this target asks before every write",
    "window": "a deliberate delay",
    "delete": "a deletion that is to be asked about",
    "currency": "a change of currency",
    "duplicate": "the target seems to have it already",
}
FINDING_KINDS: Mapping[str, str] = {
    "unauthorised_edit": "a field was changed in a system that is not its authority",
    "duplicate": "two records of one system are the same thing: merge them there",
    "deleted_elsewhere": "deleted in a system that is not the authority: nothing was deleted",
    "blank_at_first_link": "the authority is empty, another system has a value",
    "orphan": "a record that nothing else knows",
    "bridge": "a record that fits two golden records",
    "unresolved_reference": "points to a record that nobody knows",
    "difference": "two systems differ",
    "target_duplicate": "a target holds the record twice",
    "reopened": "a record came back after it was gone",
    "unasked_answer": "a target's answer to a write spoke of a record that was not written",
    "ambiguous_create": "a create without an answer: it may exist in the target",
    "future_mark": "a record's change mark lies in the future: it was read, its mark moves no cursor",
    "count_drop": "far fewer records than before: nothing was deleted (accept: they are gone on purpose)",
    "schema_drift": "a mapped field is missing or of another type: nothing more is read (accept: it is meant so)",
    "new_field": "a field that was not there before: map it, or ignore it by name",
    "id_reused": "the record of this id is another one now: the last good values stay (accept: it is the same)",
    "edit_war": "a field is changed again and again: it is left alone in that target (accept: write it again)",
    "mass_rewrite": "new declarations would rewrite very many records: they stay (accept: rewrite them)",
}


def due_at(landscape: Landscape, queue: str, entry: Mapping[str, Any]) -> datetime:
    """By when somebody should have answered: a hold's own time; else what the integrations of its entity promise."""
    if queue == "hold" and entry.get("due_at"):
        at: datetime = entry["due_at"]
        return at
    opened: datetime = entry["opened_at"]
    flows = landscape.integrations
    concerned = [flows[entry["integration"]]] if entry.get("integration") in flows else list(flows.values())
    promised = [f.sla.resolve for f in concerned if f.sla.resolve and f.entity == entry.get("entity")]
    return opened + (timedelta(seconds=min(promised)) if promised else ANSWER_WITHIN)


def next_steps(queue: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What the person who answers can do, the best first; nothing where the entry is closed."""
    if entry["state"] != "open":
        return ()
    return {
        "quarantine": _quarantine,
        "dead_letter": _letter,
        "review": _review,
        "hold": _hold,
        "finding": _finding,
    }[queue](entry)


def _quarantine(entry: Mapping[str, Any]) -> tuple[str, ...]:
    number, record = entry["id"], f"{entry['system']}/{entry['stream']}/{entry['source_id']}"
    leave = f"or leave it out: concord quarantine discard {number} --by ROLE --reason TEXT"
    if entry["scope"] == "unreadable":
        again = f"or read it again at once: concord sync --record {record}" if entry["source_id"] else ""
        return tuple(
            s for s in (f"correct it in {entry['system']}; the next sync takes it up by itself", again, leave) if s
        )
    return (
        f"correct it in {entry['system']}; the next sync takes it up by itself",
        f"after the mapping or a rule was changed: concord quarantine replay {number} --dry-run",
        leave,
    )


def _letter(entry: Mapping[str, Any]) -> tuple[str, ...]:
    number = entry["id"]
    steps = ["correct the value in its system of record: the next sync plans a new write, and this closes by itself"]
    if entry.get("edited"):
        steps.append(f"send it as it was edited: concord dead-letters replay {number} --by ROLE --reason TEXT")
    else:
        steps.append(f"try it again: concord dead-letters replay {number} --dry-run")
        steps.append(f"put this one write right: concord dead-letters edit {number} --set FIELD=VALUE --by ROLE")
    return (*steps, f"or give it up: concord dead-letters close {number} --by ROLE --reason TEXT")


def _review(entry: Mapping[str, Any]) -> tuple[str, ...]:
    answer = f"concord reviews answer {entry['id']}"
    return (
        f"the same: {answer} --same --by ROLE --reason TEXT",
        f"two different ones: {answer} --different --by ROLE --reason TEXT",
    )


def _hold(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"send them: concord holds approve {entry['id']} --by ROLE --reason TEXT",
        f"drop them: concord holds reject {entry['id']} --by ROLE --reason TEXT",
    )


def _finding(entry: Mapping[str, Any]) -> tuple[str, ...]:
    accept = f"leave it as it is: concord findings accept {entry['id']} --by ROLE --reason TEXT"
    if entry["action"] == "restore":
        return ("nothing to do: the agreed value is written back, and this closes when that is confirmed", accept)
    by_hand = {
        "duplicate": f"merge the two in {entry['system']}; this closes when one of them is gone",
        "target_duplicate": f"merge them in {entry['system']}, or say which one it is",
        "ambiguous_create": f"look in {entry['system']} whether it is there",
        "unresolved_reference": "nothing to do if the other record is still to come; else correct the reference",
        "count_drop": "look whether they are gone on purpose",
        "schema_drift": f"ask whoever runs {entry['system']} what changed; then map it anew",
        "new_field": f"map it, or ignore it by name: concord mapping report {entry['system']}",
        "id_reused": f"look in {entry['system']} which record this is",
        "edit_war": "find out who else writes there, and agree who is right",
        "mass_rewrite": "see what it would change: concord plan all; correct the mapping, or accept it",
    }.get(str(entry["kind"]), f"correct it in {entry['system']}")
    return (by_hand, accept)
