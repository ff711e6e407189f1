"""Answers that come back from a meeting: all of them judged first, then each carried out in its own transaction.

An answer is refused where the entry says something else by now, or where this person may not give it; then none is
carried out. An entry that somebody has answered meanwhile is left as it is: there is nothing to do any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from canonical.agenda import Answer, digest_of
from canonical.problems import Problem
from staging import audit, entries, letters, queues, verdicts
from staging.entries import Queue
from tasks import decide
from tasks.replay import How, replay_letters, replay_records
from tasks.sync import TurnedAway
from tasks.world import World


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one answer."""

    queue: str
    id: int
    decision: str
    outcome: str
    """done | nothing to do | failing | refused"""
    because: str


def judge(world: World, file: str, answers: Sequence[Answer], *, by: str) -> list[Problem]:
    """Every answer that cannot be carried out, by its cell."""
    with world.transaction() as conn:
        return [
            Problem(file, answer.row, answer.where, expected, found)
            for answer in answers
            for expected, found in _wrong(conn, world, answer, by)
        ]


def _wrong(conn: Any, world: World, answer: Answer, by: str) -> Iterator[tuple[str, str]]:
    """(expected, found) of an answer that cannot be carried out."""
    entry = entries.one(conn, _queue(answer), answer.id)
    if entry is None:
        yield "an entry that is known", f"no {answer.queue} {answer.id}"
        return
    if entry["state"] != "open":
        return
    if answer.as_shown != digest_of(entry):
        yield "the entry as it was exported", "one that says something else by now: export again"
    if answer.queue == "quarantine" and answer.decision == "replay" and entry["scope"] == "unreadable":
        yield "discard", "replay, of a record that could not be read: only its system can send it again"
    if answer.queue == "hold" and answer.decision == "approve":
        try:
            decide.check_approver(world, by, entry)
        except TurnedAway as no:
            yield "another approver", str(no)


def carry_out(world: World, answers: Sequence[Answer], *, by: str) -> list[Carried]:
    """Does what was answered, in the order of the rows; replays of one reason together."""
    done: list[Carried] = []
    replays: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        if _is_closed(world, answer):
            done.append(_carried(answer, "nothing to do", "somebody has answered it meanwhile"))
        elif answer.decision == "replay":
            replays.setdefault((answer.queue, answer.reason), []).append(answer)
        else:
            done.append(_one(world, answer, by))
    for (queue, reason), some in replays.items():
        done += _replayed(world, queue, some, by=by, reason=reason)
    return done


def _is_closed(world: World, answer: Answer) -> bool:
    with world.transaction() as conn:
        entry = entries.one(conn, _queue(answer), answer.id)
    return entry is None or entry["state"] != "open"


def _one(world: World, answer: Answer, by: str) -> Carried:
    if answer.queue == "hold":
        return _decided(world, answer, by)
    with world.transaction() as conn:
        if answer.queue == "review":
            verdict = "link" if answer.decision == "same" else "separate"
            is_done = verdicts.answer(conn, world.landscape.model, answer.id, verdict, by=by, reason=answer.reason)
        elif answer.queue == "quarantine":
            is_done = verdicts.discard_quarantine(conn, answer.id, by=by, reason=answer.reason)
        elif answer.queue == "finding":
            is_done = queues.accept_finding(conn, answer.id, by=by, reason=answer.reason)
        else:
            is_done = bool(letters.end(conn, [answer.id], "discarded", by=by, reason=answer.reason))
            if is_done:
                audit.append(conn, by, "letter.discarded", f"letter:{answer.id}", reason=answer.reason)
    return _carried(answer, "done", "") if is_done else _carried(answer, "nothing to do", "it was closed meanwhile")


def _decided(world: World, answer: Answer, by: str) -> Carried:
    try:
        decision: decide.Decision = "approve" if answer.decision == "approve" else "reject"
        number = decide.decide(world, answer.id, decision, by=by, reason=answer.reason)
    except TurnedAway as no:
        return _carried(answer, "refused", str(no))
    return _carried(answer, "done", f"{number} writes")


def _replayed(world: World, queue: str, some: Sequence[Answer], *, by: str, reason: str) -> list[Carried]:
    numbers = [answer.id for answer in some]
    if queue == "quarantine":
        found = replay_records(world, numbers, by=by, reason=reason)
    else:
        with world.transaction() as conn:
            edited = {row["id"] for row in letters.some(conn, numbers) if row["edited"] is not None}
        chosen: list[tuple[int, How]] = [(n, "edited" if n in edited else "current") for n in numbers]
        found = replay_letters(world, chosen, by=by, reason=reason)
    told = {one.id: one for one in found}
    return [
        _carried(answer, "done" if one.outcome not in ("failing", "left") else "failing", one.because)
        if (one := told.get(answer.id))
        else _carried(answer, "nothing to do", "it was closed meanwhile")
        for answer in some
    ]


def _queue(answer: Answer) -> Queue:
    return cast(Queue, answer.queue)


def _carried(answer: Answer, outcome: str, because: str) -> Carried:
    return Carried(answer.queue, answer.id, answer.decision, outcome, because)
