"""Whether an integration ran as its schedule says and as often as it promised, by our own ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from canonical.landscape import Integration, Sla, Timing
from staging.rhythm import LastRuns
from tasks.watch import Verdict, grace, is_silent, judge, last_due

LONDON = "Europe/London"
NOW = datetime(2026, 3, 2, 12, 7, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)


def integration(schedule: str | None = "*/15 * * * *", timeliness: int | None = 2700) -> Integration:
    return Integration("prices", "product", "sales", timing=Timing(schedule), sla=Sla(timeliness=timeliness))


def ran(started: int | None, completed: int | None = None) -> LastRuns:
    """Last begun, and last complete, so many minutes ago."""
    ago = [NOW - timedelta(minutes=m) if m is not None else None for m in (started, completed)]
    return LastRuns("prices", ago[0], ago[1])


@pytest.mark.parametrize(
    ("runs", "kind"),
    [
        pytest.param(ran(7, 6), "fine", id="ran at noon"),
        pytest.param(ran(22, 21), "missed", id="the run of noon did not begin"),
        pytest.param(ran(7, 60), "late", id="runs, but is never complete"),
        pytest.param(ran(None), "missed", id="never ran"),
        pytest.param(ran(7), "late", id="was never complete"),
    ],
)
def test_by_schedule_and_promise(runs: LastRuns, kind: str) -> None:
    assert judge(integration(), LONDON, runs, LONG_AGO, NOW).kind == kind


@pytest.mark.parametrize(
    ("asked", "runs", "known", "kind"),
    [
        pytest.param(integration(None), ran(7, 6), LONG_AGO, "fine", id="by hand only, and fresh"),
        pytest.param(integration(None, None), ran(None), LONG_AGO, "fine", id="by hand only, nothing promised"),
        pytest.param(integration(), ran(None), NOW - timedelta(minutes=6), "fine", id="declared after it was due"),
        pytest.param(integration(), ran(None), NOW - timedelta(minutes=30), "missed", id="declared before it was due"),
        pytest.param(integration("* * * * *", None), ran(1, 1), LONG_AGO, "fine", id="every minute, a minute ago"),
        pytest.param(
            integration("* * * * *", None), ran(2, 2), LONG_AGO, "missed", id="every minute, not since two of them"
        ),
        pytest.param(
            integration("5 12 * * *"), ran(24 * 60), LONG_AGO, "late", id="due two minutes ago: not missed yet"
        ),
    ],
)
def test_edges(asked: Integration, runs: LastRuns, known: datetime, kind: str) -> None:
    assert judge(asked, LONDON, runs, known, NOW).kind == kind


@pytest.mark.parametrize(
    ("runs", "kind"),
    [
        pytest.param(LastRuns("prices", NOW - timedelta(hours=1), None, None, True), "fine", id="still under way"),
        pytest.param(
            LastRuns("prices", NOW - timedelta(hours=1), None, NOW - timedelta(minutes=6)),
            "fine",
            id="over since it was due",
        ),
        pytest.param(
            LastRuns("prices", NOW - timedelta(hours=1), None, NOW - timedelta(minutes=30)), "missed", id="over before"
        ),
    ],
)
def test_a_run_that_takes_long_is_not_missed(runs: LastRuns, kind: str) -> None:
    assert judge(integration(timeliness=None), LONDON, runs, LONG_AGO, NOW).kind == kind


def missed(due: datetime) -> Verdict:
    return Verdict("missed", "…", due)


@pytest.mark.parametrize(
    ("verdicts", "last", "scheduled", "is_it"),
    [
        pytest.param([missed(NOW), missed(NOW)], ran(60), 2, True, id="all that were due"),
        pytest.param([missed(NOW), Verdict("fine")], ran(60), 2, False, id="one of two may have reasons of its own"),
        pytest.param([missed(NOW)], ran(60), 1, True, id="the only one"),
        pytest.param([missed(NOW), missed(NOW - timedelta(minutes=9))], ran(5), 2, False, id="another began since"),
        pytest.param([Verdict("fine"), Verdict("late")], ran(60), 2, False, id="nothing was due"),
    ],
)
def test_nothing_at_all_is_one_cause(verdicts: list[Verdict], last: LastRuns, scheduled: int, is_it: bool) -> None:
    assert is_silent(verdicts, [last], scheduled) is is_it


@pytest.mark.parametrize(
    ("schedule", "minutes"),
    [("* * * * *", 0.5), ("*/5 * * * *", 2.5), ("*/15 * * * *", 5), ("0 6 * * *", 5)],
    ids=["minute", "5 min", "15 min", "day"],
)
def test_a_silence_is_seen_within_two_intervals(schedule: str, minutes: float) -> None:
    assert grace(schedule, last_due(schedule, LONDON, NOW)) == timedelta(minutes=minutes)


def test_the_landscapes_own_time_counts() -> None:
    summer = datetime(2026, 7, 1, 1, 0, tzinfo=UTC)
    assert last_due("30 1 * * *", LONDON, summer) == datetime(2026, 7, 1, 1, 30, tzinfo=ZoneInfo(LONDON))


def test_a_time_that_does_not_exist_may_be_run_earlier() -> None:
    """On the night summer time begins London has no 01:30; Prefect runs at 00:30 UTC, others at 01:00."""
    began = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    now = datetime(2026, 3, 29, 6, 0, tzinfo=UTC)
    verdict = judge(integration("30 1 * * *", None), LONDON, LastRuns("prices", began, began), LONG_AGO, now)
    assert verdict.kind == "fine"


def test_the_reason_says_when() -> None:
    verdict = judge(integration(), LONDON, ran(22, 21), LONG_AGO, NOW)
    assert verdict.because == "was due at 2026-03-02 12:00 GMT and did not run; it last began: 2026-03-02 11:45"
