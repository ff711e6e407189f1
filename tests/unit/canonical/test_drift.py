"""Which edits in a target are drift, field by field."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from canonical import drift

AUTHORITY = {"Name": "crm", "Terms": "accounting", "Phone": "crm"}


def find(
    native: dict[str, Any],
    read: dict[str, Any],
    *,
    desired: dict[str, Any] | None = None,
    fields: tuple[str, ...] = ("Name", "Terms", "Phone"),
    read_at: str = "2026-11-02",
    on_drift: Any = "restore",
) -> list[dict[str, Any]]:
    """Findings of one record, confirmed on 2026-11-01."""
    text = dict.fromkeys(["Name", "Terms", "Phone"])
    found = drift.find(
        _frame({"id": "c1", "source_id": "7", "read_at": read_at} | text | native),
        _frame({"id": "c1", "confirmed_at": "2026-11-01", "fields": list(fields)} | _read(text | read)),
        _frame({"id": "c1"} | text | (desired if desired is not None else read)),
        AUTHORITY,
        "accounting",
        on_drift,
    )
    assert found.schema == drift.FINDINGS
    return found.to_dicts()


def _frame(row: dict[str, Any]) -> pl.DataFrame:
    schema = {c: pl.List(pl.String) if c == "fields" else pl.String for c in row}
    return pl.DataFrame([row], schema=schema)


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return {f"read:{name}": value for name, value in row.items()}


def test_an_edit_of_a_governed_field_is_found_with_both_values() -> None:
    [found] = find({"Name": "Acme X"}, {"Name": "Acme"})
    assert (found["path"], found["ours"], found["theirs"], found["action"]) == ("Name", "Acme", "Acme X", "restore")
    assert (found["id"], found["source_id"], found["authority"]) == ("c1", "7", "crm")
    assert found["because"] == "Name was changed in accounting, but crm is right about it: put back"


def test_a_finding_can_be_for_information_only() -> None:
    [found] = find({"Name": "Acme X"}, {"Name": "Acme"}, on_drift="report")
    assert found["action"] == "report"
    assert found["because"].endswith("reported only")


def test_a_value_that_was_emptied_is_drift() -> None:
    [found] = find({"Phone": None}, {"Phone": "+44"})
    assert (found["ours"], found["theirs"]) == ("+44", None)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({"native": {"Name": "ACME"}, "read": {"Name": "ACME"}}, id="as-the-target-reads-it-back"),
        pytest.param({"native": {"Terms": "net7"}, "read": {"Terms": "net30"}}, id="the-target-is-its-authority"),
        pytest.param(
            {"native": {"Name": "B"}, "read": {"Name": "A"}, "desired": {"Name": "B"}}, id="what-we-now-want-anyway"
        ),
        pytest.param(
            {"native": {"Name": "B"}, "read": {"Name": "A"}, "fields": ("Phone",)}, id="not-in-our-last-write"
        ),
        pytest.param(
            {"native": {"Name": "B"}, "read": {"Name": "A"}, "read_at": "2026-11-01"},
            id="read-began-before-we-confirmed",
        ),
    ],
)
def test_what_is_no_drift(case: dict[str, Any]) -> None:
    assert find(**case) == []


def test_paths_that_nobody_read_or_kept_are_left_out() -> None:
    native = _frame({"id": "c1", "source_id": "7", "read_at": "2", "Name": "B"})
    shadow = _frame({"id": "c1", "confirmed_at": "1", "fields": ["Name"], "read:Name": "A"})
    found = drift.find(native, shadow, pl.DataFrame({"id": ["c1"]}), AUTHORITY, "accounting", "restore")
    assert found["path"].to_list() == ["Name"]
