"""A system's breaker, in the database: opened by all processes together, tried by one (rows 18 and 58)."""

from __future__ import annotations

import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from canonical.health import THRESHOLD, passage
from staging.engine import transaction
from staging.health import Healths
from tests.fixtures.database import TestDatabase
from tests.fixtures.mainjob import MainJob


def let_pass(database: TestDatabase) -> None:
    with transaction(database.engine) as conn:
        conn.execute(sa.text("update ops.breaker set until = clock_timestamp() - interval '1 s'"))


def test_row_58_failures_of_all_processes_open_it_and_one_of_them_tries(database: TestDatabase) -> None:
    """Failures count over all processes; when its time is over one of them tries, and the others wait for it."""
    ours, theirs = Healths(database.engine), Healths(database.engine)
    for number in range(THRESHOLD - 1):
        (ours if number % 2 else theirs).failed("crm", "SystemFault 500")
    assert passage(ours.of("crm")) == "go"
    theirs.failed("crm", "SystemFault 500")
    assert passage(ours.of("crm")) == "wait"
    assert passage(ours.of("accounting")) == "go", "the others are not touched"
    assert not ours.try_it("crm"), "its time is not over"
    let_pass(database)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: Healths(database.engine).try_it("crm"), range(16))) == 1
    assert passage(ours.of("crm")) == "wait", "somebody is trying"
    before = ours.of("crm").opened
    ours.failed("crm", "SystemFault 500")
    assert (ours.of("crm").opened, ours.of("crm").left_seconds > 15) == (before + 1, True)
    let_pass(database)
    assert theirs.try_it("crm")
    theirs.worked("crm")
    assert ours.of("crm").state == "closed"


def test_row_58_failures_counted_at_once_are_all_counted(database: TestDatabase) -> None:
    """Workers that fail in the same moment are all counted, and open the breaker once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Healths(database.engine).failed("crm", "503"), range(THRESHOLD + 3)))
    health = Healths(database.engine).of("crm")
    assert (health.state, health.failures, health.opened) == ("open", THRESHOLD + 3, 1)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_row_18_a_system_that_is_down_is_left_alone_and_comes_back_by_itself(
    main_job: MainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that answers 500 to everything is left alone, buries no record, and is read again by itself."""
    from canonical import health

    monkeypatch.setattr(health, "FIRST_SECONDS", 2.0)
    main_job.fault("crm", kind="status", status=500, path="/crm/", count=-1)
    for _ in range(4):
        done = main_job.sync()
        assert {t.system for t in done.trouble} == {"crm"}, "the others go on"
    asked = len(main_job.requests("crm", writes=False))
    assert any("left alone" in t.cause for t in done.trouble)
    refused = main_job.value("select count(*) from ops.outbox where state in ('dead', 'rejected')")
    assert refused == 0, "no record pays for a system's fault"

    urllib.request.urlopen(
        urllib.request.Request(f"{main_job.sandbox.crm_url}/_sandbox/faults", method="DELETE"), timeout=10
    ).close()
    deadline = time.monotonic() + 60
    while main_job.sync().trouble and time.monotonic() < deadline:
        time.sleep(0.5)
    assert main_job.sync().trouble == []
    assert main_job.value("select state from ops.breaker where system = 'crm'") == "closed"
    assert len(main_job.requests("crm", writes=False)) > asked
