"""A plan that was shown and what is planned now: what counts as the same, and how a difference is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canonical.plans import MovedField, PlannedWrite, compare, digest

SHOWN = PlannedWrite(
    integration="details",
    entity="customer",
    canonical_id="cus_1",
    label="Moss & Sons",
    system="desk",
    stream="clients",
    op="update",
    source_id="71",
    because="differs: phone",
    hold=None,
    waits_for=[],
    changes=[{"field": "phone", "old": "1", "new": "2", "authority": "list"}],
    write_hash="a" * 64,
    payload='{"phone":"2"}',
)
PARENT = [{"path": "Contact.ContactID", "entity": "customer", "id": "cus_9"}]


@pytest.mark.parametrize(
    "change",
    [
        {"label": "Moss and Sons"},
        {"because": "differs: telephone"},
        {"hold": "asks when …"},
        {"changes": [{"field": "phone", "old": "1", "new": "2", "authority": "crm"}]},
    ],
    ids=["the name", "the reason", "a hold", "the authority"],
)
def test_what_is_not_agreed_to_moves_nothing(change: dict[str, Any]) -> None:
    assert not compare([SHOWN], [replace(SHOWN, **change)])


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"op": "archive"}, "it would archive, not update"),
        ({"source_id": "72"}, "the target's record is 72, not 71"),
        ({"waits_for": PARENT}, "it waits for other parents"),
        ({"write_hash": "b" * 64}, "it would be sent in another form"),
    ],
    ids=["operation", "record", "parents", "payload"],
)
def test_what_is_agreed_to_moves_the_plan(change: dict[str, Any], because: str) -> None:
    [moved] = compare([SHOWN], [replace(SHOWN, **change)]).changed
    assert moved.because == (because,)
    assert digest([SHOWN]) != digest([moved.now])


def test_fields_are_told_one_by_one() -> None:
    now = replace(
        SHOWN,
        changes=[
            {"field": "phone", "old": "0", "new": "2", "authority": "list"},
            {"field": "mail", "old": None, "new": "a@b.example", "authority": "list"},
        ],
    )
    [moved] = compare([SHOWN], [now]).changed
    assert moved.fields == (
        MovedField("phone", ("1", "2"), ("0", "2")),
        MovedField("mail", None, (None, "a@b.example")),
    )
    assert moved.because == ()


def test_writes_come_and_go() -> None:
    other = replace(SHOWN, canonical_id="cus_2")
    moved = compare([SHOWN], [other])
    assert (moved.added, moved.removed, moved.changed) == ((other,), (SHOWN,), ())


def test_what_is_only_observed_is_no_part_of_what_is_agreed_to() -> None:
    observed = replace(SHOWN, mode="observe")
    assert not compare([observed], [])
    assert compare([observed], [SHOWN]).added == (SHOWN,), "it is to be sent now, and nobody has agreed to that"


def test_a_digest_does_not_know_an_order() -> None:
    other = replace(SHOWN, canonical_id="cus_2")
    assert digest([SHOWN, other]) == digest([other, SHOWN])


def test_two_integrations_may_write_to_one_record() -> None:
    other = replace(SHOWN, integration="status")
    assert not compare([SHOWN, other], [other, SHOWN])
