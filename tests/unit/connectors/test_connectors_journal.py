"""The journal: what was asked, without ids and values."""

from __future__ import annotations

import pytest

from connectors import journal

PATHS = {
    "an id of digits": ("/crm/v3/objects/contacts/501", "/crm/v3/objects/contacts/{id}"),
    "a uuid": ("/api.xro/2.0/Contacts/9b1d-44", "/api.xro/2.0/Contacts/{id}"),
    "a mail address": ("/people/maria@example.com", "/people/{id}"),
    "words stay": ("/crm/v3/objects/contacts/batch/create", "/crm/v3/objects/contacts/batch/create"),
    "a query is left out": ("/ledger?name=Maria", "/ledger"),
    "an id that looks like a word": ("/ledger/maria", "/ledger/{id}"),
    "a number with a name in it": ("/ledger/L1", "/ledger/{id}"),
}


@pytest.mark.parametrize(("path", "expected"), PATHS.values(), ids=PATHS)
def test_masked(path: str, expected: str) -> None:
    assert journal.masked(path, {"maria"}) == expected


def test_calls_are_counted_and_taken_once() -> None:
    with journal.kept():
        for number in range(3):
            journal.note("PATCH", f"/ledger/{number}", 200)
        journal.note("POST", "/ledger", 0)
        assert journal.take() == [
            {"request": "PATCH /ledger/{id}", "status": 200, "times": 3},
            {"request": "POST /ledger", "status": 0, "times": 1},
        ]
        assert journal.take() == []


def test_nothing_is_noted_for_nobody() -> None:
    journal.note("GET", "/ledger", 200)
    assert journal.take() == []
