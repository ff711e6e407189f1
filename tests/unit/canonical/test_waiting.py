"""By when an entry of a queue is to be answered, and what can be done about it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from canonical.landscape import Integration, Sla
from canonical.waiting import ANSWER_WITHIN, FINDING_KINDS, HOLD_KINDS, due_at, next_steps
from staging.tables import finding, hold

OPENED = datetime(2026, 3, 2, 9, tzinfo=UTC)
FLOWS = {
    "quick": Integration("quick", "customer", "head", sla=Sla(resolve=3600)),
    "slow": Integration("slow", "customer", "head", sla=Sla(resolve=7200)),
    "silent": Integration("silent", "order", "head"),
}
LANDSCAPE: Any = SimpleNamespace(integrations=FLOWS)


@pytest.mark.parametrize(
    ("queue", "entry", "after"),
    [
        pytest.param("quarantine", {"entity": "customer"}, timedelta(hours=1), id="the-shortest-promise-of-its-entity"),
        pytest.param("quarantine", {"entity": None}, ANSWER_WITHIN, id="no-entity"),
        pytest.param("finding", {"entity": "order"}, ANSWER_WITHIN, id="nothing-promised"),
        pytest.param("dead_letter", {"entity": "customer", "integration": "slow"}, timedelta(hours=2), id="its-own"),
        pytest.param("hold", {"due_at": OPENED + timedelta(days=9)}, timedelta(days=9), id="a-hold-has-its-own-time"),
    ],
)
def test_due(queue: str, entry: dict[str, Any], after: timedelta) -> None:
    assert due_at(LANDSCAPE, queue, {"opened_at": OPENED, **entry}) == OPENED + after


ENTRY = {
    "id": 7, "state": "open", "scope": "record", "system": "crm", "stream": "people", "source_id": "5",
    "kind": "orphan", "action": "report", "edited": None,
}  # fmt: skip


@pytest.mark.parametrize("queue", ["quarantine", "dead_letter", "review", "hold", "finding"])
def test_every_open_entry_has_a_next_step_that_exists(queue: str) -> None:
    from docs._build.reference import commands

    known = {command.path for command in commands()}
    said = next_steps(queue, ENTRY)
    assert said
    for line in said:
        for typed in re.findall(r"concord ([a-z-]+(?: [a-z-]+)?)", line):
            assert f"concord {typed}" in known or f"concord {typed.split()[0]}" in known, line
    assert next_steps(queue, {**ENTRY, "state": "resolved"}) == ()


def test_every_kind_of_the_tables_has_its_meaning() -> None:
    for table, kinds in ((finding, FINDING_KINDS), (hold, HOLD_KINDS)):
        [check] = [c for c in table.constraints if str(c.name).endswith("kind_is_known")]
        assert set(re.findall(r"'(\w+)'", str(check.sqltext))) == set(kinds)  # type: ignore[attr-defined]
