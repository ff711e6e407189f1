"""What a target is told: create, update, archive, adopt, nothing or a finding; a plan carried out leaves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.landscape import Target
from canonical.planning import CHANGES, FINDINGS, MONEY, WRITES, PlanInput, Planned, plan

PATHS = ("Name", "Phone", "Terms", "Parent.ID", "Balance")
TARGET = Target("accounting", "contacts", create=True, mode="write", when="status == 'active'")
AUTHORITY = {"Name": "crm", "Phone": "crm", "Terms": "accounting", "Balance": "crm"}


def frame(rows: list[dict[str, Any]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema)


def given_one(
    want: dict[str, Any] | None,
    *,
    linked: bool = True,
    asked: dict[str, Any] | None = None,
    native: dict[str, Any] | None = None,
    agrees: dict[str, bool] | None = None,
    archived: bool = False,
    in_scope: bool | None = True,
    deleted: bool = False,
    **more: Any,
) -> PlanInput:
    """One record `c1`, linked to `7`. want None: the outbound mapping gave no row; asked None: no shadow yet."""
    values = {"id": pl.String, **dict.fromkeys(PATHS, pl.String)}
    flags = {"id": pl.String, **dict.fromkeys(PATHS, pl.Boolean)}
    shadow = {"id": pl.String, **{f"asked:{p}": pl.String for p in PATHS}}
    head = {"id": "c1", "version": 2, "in_scope": in_scope, "deleted": deleted}
    return PlanInput(
        **{
            "target": TARGET,
            "entity": "customer",
            "paths": PATHS,
            "records": frame(
                [head], {"id": pl.String, "version": pl.Int64, "in_scope": pl.Boolean, "deleted": pl.Boolean}
            ),
            "desired": frame([] if want is None else [{"id": "c1"} | want], values),
            "links": frame(
                [{"id": "c1", "source_id": "7", "archived": archived}] if linked else [],
                {"id": pl.String, "source_id": pl.String, "archived": pl.Boolean},
            ),
            "shadow": frame(
                [] if asked is None else [{"id": "c1"} | {f"asked:{p}": v for p, v in asked.items()}], shadow
            ),
            "native": frame([] if native is None else [{"id": "c1"} | native], values),
            "agrees": frame([] if agrees is None else [{"id": "c1"} | agrees], flags),
            "create_only": frozenset({"Terms"}),
            "authority": AUTHORITY,
            "refs": {"Parent.ID": "customer"},
            "ref_links": frame(
                [{"entity": "customer", "id": "p1", "source_id": "77"}],
                {"entity": pl.String, "id": pl.String, "source_id": pl.String},
            ),
            **more,
        }
    )


def told(planned: Planned) -> dict[str, Any]:
    """The one write, with what is sent."""
    [write] = planned.writes.to_dicts()
    payload, present = planned.payload.row(0, named=True), planned.present.row(0, named=True)
    assert payload.pop("id") == present.pop("id") == write["id"]
    return write | {"sent": {p: payload[p] for p in PATHS if present[p]}}


def pairs(*rows: tuple[str, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.String, "path": pl.String}, orient="row")


# ── creating ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_create_sends_every_value_that_is_not_empty() -> None:
    write = told(plan(given_one({"Name": "Acme", "Terms": "net30", "Parent.ID": "p1"}, linked=False)))
    assert (write["op"], write["source_id"], write["version"]) == ("create", None, 2)
    assert write["sent"] == {"Name": "Acme", "Terms": "net30", "Parent.ID": "77"}
    assert write["because"] == "no record of this customer is linked in accounting/contacts"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({"in_scope": False}, id="out-of-scope"),
        pytest.param({"in_scope": None}, id="scope-unknown"),
        pytest.param({"deleted": True}, id="deleted"),
        pytest.param({"target": replace(TARGET, create=False)}, id="create-not-allowed"),
        pytest.param({"want": None}, id="nothing-was-mapped"),
        pytest.param({"want": {}}, id="nothing-to-say"),
    ],
)
def test_what_is_not_created(case: dict[str, Any]) -> None:
    planned = plan(given_one(**({"want": {"Name": "Acme"}, "linked": False} | case)))
    assert planned.writes.is_empty()
    assert planned.outside == 1


def test_a_create_waits_for_a_missing_parent() -> None:
    planned = plan(given_one({"Name": "Acme", "Parent.ID": "p2"}, linked=False))
    write = told(planned)
    assert write["waits_for"] == [{"path": "Parent.ID", "entity": "customer", "id": "p2"}]
    assert write["fields"] == ["Name", "Parent.ID"]
    assert write["sent"] == {"Name": "Acme"}


def test_a_deferred_parent_is_left_out_now_and_sent_later() -> None:
    given = given_one({"Name": "Acme", "Parent.ID": "p2"}, linked=False, deferred=frozenset({"Parent.ID"}))
    planned = plan(given)
    write = told(planned)
    assert (write["waits_for"], write["sent"]) == ([], {"Name": "Acme"})
    later = given_one(
        {"Name": "Acme", "Parent.ID": "p1"}, asked=planned.asked.row(0, named=True), deferred=given.deferred
    )
    assert told(plan(later))["sent"] == {"Parent.ID": "77"}


# ── updating ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_update_sends_only_what_differs_from_what_was_asked() -> None:
    planned = plan(
        given_one({"Name": "Acme", "Phone": "2"}, asked={"Name": "Acme", "Phone": "1"}, native={"Phone": "01"})
    )
    write = told(planned)
    assert (write["op"], write["source_id"], write["sent"]) == ("update", "7", {"Phone": "2"})
    assert json.loads(write["changes"]) == [{"field": "Phone", "old": "01", "new": "2", "authority": "crm"}]
    assert write["because"] == "differs: Phone"


def test_what_the_target_made_of_a_value_is_not_sent_again() -> None:
    planned = plan(given_one({"Name": "Acme"}, asked={"Name": "Acme"}, native={"Name": "ACME"}))
    assert (planned.writes.height, planned.unchanged) == (0, 1)


def test_a_field_of_the_target_s_own_is_never_updated() -> None:
    assert plan(given_one({"Terms": "net7"}, asked={"Terms": "net30"})).writes.is_empty()
    assert plan(given_one({"Terms": "net7"}, native={"Terms": "net30"})).writes.is_empty()


def test_an_observed_emptying_is_sent_and_counted() -> None:
    write = told(plan(given_one({"Name": "A"}, asked={"Name": "A", "Phone": "1"}, native={"Name": "A", "Phone": "1"})))
    assert (write["sent"], write["blanked"]) == ({"Phone": None}, 1)


def test_an_authority_that_speaks_up_late_and_agrees_writes_nothing() -> None:
    stands = {"Name": "A", "Phone": "1"}
    first = plan(given_one(stands, asked={"Name": "A", "Phone": None}, native=stands))
    assert (first.writes.height, first.adopted.height) == (0, 1)
    assert first.asked.select("Name", "Phone").rows() == [("A", "1")]
    other = told(plan(given_one({"Name": "A", "Phone": "2"}, asked={"Name": "A", "Phone": None}, native=stands)))
    assert other["sent"] == {"Phone": "2"}


def test_a_record_that_mapping_gave_no_row_for_is_left_alone() -> None:
    planned = plan(given_one(None, asked={"Name": "Acme"}))
    assert (planned.writes.height, planned.adopted.height, planned.unchanged) == (0, 0, 1)


def test_the_old_value_falls_back_to_what_was_read_or_asked() -> None:
    given = given_one({"Name": "B"}, asked={"Name": "A"})
    assert json.loads(told(plan(given))["changes"])[0]["old"] == "A"
    read = given.shadow.with_columns(pl.lit("a").alias("read:Name"))
    assert json.loads(told(plan(replace(given, shadow=read)))["changes"])[0]["old"] == "a"


def test_an_update_waits_for_a_missing_parent_as_a_whole() -> None:
    write = told(plan(given_one({"Name": "B", "Parent.ID": "p2"}, asked={"Name": "A", "Parent.ID": "77"})))
    assert write["waits_for"] == [{"path": "Parent.ID", "entity": "customer", "id": "p2"}]
    assert (write["sent"], write["blanked"]) == ({"Name": "B"}, 0)
    assert json.loads(write["changes"])[1]["new"] == "p2"


def test_drift_is_put_back_although_we_asked_for_it_before() -> None:
    given = given_one({"Name": "A", "Terms": "x"}, asked={"Name": "A", "Terms": "x"}, native={"Name": "B"})
    planned = plan(replace(given, drifted=pairs(("c1", "Name"), ("c1", "Terms"))))
    write = told(planned)
    assert write["sent"] == {"Name": "A"}
    assert write["because"] == "changed in accounting, put back: Name; sent: Name"
    assert planned.changes["why"].to_list() == ["drift"]


@pytest.mark.parametrize("path", [pytest.param("Phone", id="one-field"), pytest.param(None, id="the-whole-record")])
def test_what_flips_too_often_is_left_alone(path: str | None) -> None:
    given = given_one({"Name": "A", "Phone": "2"}, asked={"Name": "A", "Phone": "1"}, frozen=pairs(("c1", path)))
    assert plan(given).writes.is_empty()


def test_a_frozen_field_keeps_its_shadow_while_others_are_sent() -> None:
    given = given_one({"Name": "B", "Phone": "2"}, asked={"Name": "A", "Phone": "1"}, frozen=pairs(("c1", "Phone")))
    assert plan(given).asked.row(0, named=True)["Phone"] == "1"


# ── the first link ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_first_link_a_differing_value_is_sent() -> None:
    write = told(plan(given_one({"Name": "B", "Phone": "1"}, native={"Name": "A", "Phone": "1"})))
    assert write["sent"] == {"Name": "B"}


def test_at_first_link_another_spelling_of_the_same_is_left() -> None:
    given = given_one({"Phone": "+441"}, native={"Phone": "(0)1"}, agrees={"Phone": True})
    planned = plan(given)
    assert planned.writes.is_empty()
    assert planned.adopted.rows() == [("c1", "7", "accounting/contacts already holds what it should")]


def test_at_first_link_an_empty_value_never_blanks_but_is_found() -> None:
    planned = plan(given_one({"Name": "A"}, native={"Name": "A", "Phone": "1"}))
    assert planned.writes.is_empty()
    [found] = planned.findings.to_dicts()
    assert (found["kind"], found["path"], found["ours"], found["theirs"]) == ("blank_at_first_link", "Phone", None, "1")
    assert planned.adopted.height == 1


def test_at_first_link_a_missing_parent_is_waited_for_even_where_the_target_has_none() -> None:
    assert told(plan(given_one({"Parent.ID": "p2"}, native={})))["waits_for"] != []


def test_a_path_that_was_never_asked_is_at_its_first_link() -> None:
    given = given_one({"Name": "A"}, asked={"Name": "A"}, native={"Name": "A", "Phone": "1"})
    only_name = given.shadow.with_columns(pl.lit(["Name"]).alias("_asked"))
    planned = plan(replace(given, shadow=only_name))
    assert planned.findings["path"].to_list() == ["Phone"]
    assert planned.adopted.height == 1
    never = plan(replace(given, shadow=given.shadow.select("id", "asked:Name")))
    assert never.findings["path"].to_list() == ["Phone"]


# ── leaving and deleting ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("on_delete", "op", "hold"),
    [
        pytest.param("archive", "archive", None, id="archive"),
        pytest.param("delete", "delete", "a hard delete cannot be undone", id="delete-waits-for-a-person"),
        pytest.param("ask", "archive", "deleted in its system of record", id="ask"),
        pytest.param("ignore", None, None, id="ignore"),
    ],
)
def test_a_golden_tombstone(on_delete: Any, op: str | None, hold: str | None) -> None:
    planned = plan(given_one({"Name": "B"}, asked={"Name": "A"}, deleted=True, on_delete=on_delete))
    assert planned.writes["op"].to_list() == ([op] if op else [])
    if op:
        write = told(planned)
        assert (write["sent"], write["fields"], write["changes"]) == ({}, [], "[]")
        assert write["because"] == "the customer was deleted in its system of record"
        assert (write["hold"] or "").startswith(hold or "")
        assert (write["hold"] is None) is (hold is None)


@pytest.mark.parametrize(
    ("on_leave", "op"),
    [pytest.param("keep", "update", id="keep"), pytest.param("archive", "archive", id="archive"),
     pytest.param("freeze", None, id="freeze")],
)  # fmt: skip
def test_a_record_that_leaves_the_scope(on_leave: Any, op: str | None) -> None:
    target = replace(TARGET, on_leave=on_leave)
    planned = plan(given_one({"Name": "B"}, asked={"Name": "A"}, in_scope=False, target=target))
    assert planned.writes["op"].to_list() == ([op] if op else [])
    if op == "archive":
        assert told(planned)["because"] == "the customer no longer meets: status == 'active'"


def test_what_is_archived_stays_so_until_it_is_wanted_again() -> None:
    gone = plan(given_one({"Name": "A"}, asked={"Name": "A"}, archived=True, deleted=True))
    assert (gone.writes.height, gone.unchanged) == (0, 1)
    back = plan(given_one({"Name": "A"}, asked={"Name": "A"}, archived=True))
    assert back.writes.is_empty()
    assert back.findings["kind"].to_list() == ["reopened"]


# ── holds, money, shapes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_reasons_to_hold_are_joined() -> None:
    asked_for = pl.DataFrame({"id": ["c1", "c1"], "because": ["credit above 10000", "bank account changed"]})
    given = given_one({"Name": "B"}, asked={"Name": "A"}, holds=asked_for, target=replace(TARGET, mode="ask"))
    reasons = "accounting/contacts asks before every write; credit above 10000; bank account changed"
    assert told(plan(given))["hold"] == reasons


def test_money_moved_is_summed_per_currency() -> None:
    given = given_one(
        {"Balance": "12.50"}, asked={"Balance": "10.00"}, native={"Balance": "10.00"}, money={"Balance": "EUR"}
    )
    assert plan(given).money.rows() == [("update", "EUR", Decimal("2.5"), Decimal("10"))]


def test_money_may_name_its_currency_in_another_path_and_paths_not_written_do_not_count() -> None:
    money = {"Balance": "path:Name", "Elsewhere": "EUR"}
    given = given_one({"Balance": "5", "Name": "GBP"}, linked=False, money=money)
    assert plan(given).money.rows() == [("create", "GBP", Decimal("5"), Decimal("0"))]


def test_every_frame_has_its_columns_even_when_there_is_nothing() -> None:
    full = given_one({"Name": "A"})
    planned = plan(replace(full, records=full.records.clear(), links=full.links.drop("archived"), refs={}))
    assert planned.writes.schema == WRITES
    assert planned.changes.schema == CHANGES
    assert planned.findings.schema == FINDINGS
    assert planned.money.schema == MONEY
    assert planned.payload.columns == planned.present.columns == planned.asked.columns == ["id", *PATHS]


VALUE = st.sampled_from([None, "a", "b"])
ROW = st.fixed_dictionaries(
    dict.fromkeys(("Name", "Phone", "Terms", "Balance"), VALUE) | {"Parent.ID": st.sampled_from([None, "p1"])}
)


@given(
    want=ROW,
    asked=st.none() | ROW,
    native=st.none() | ROW,
    linked=st.booleans(),
    agrees=st.dictionaries(st.sampled_from(PATHS), st.booleans()),
)
@settings(max_examples=40, deadline=None)
def test_a_plan_carried_out_leaves_nothing_to_plan(
    want: dict[str, Any],
    asked: dict[str, Any] | None,
    native: dict[str, Any] | None,
    linked: bool,
    agrees: dict[str, bool],
) -> None:
    first = plan(given_one(want, asked=asked, native=native, linked=linked, agrees=agrees))
    state = first.asked.row(0, named=True) if first.asked.height else asked
    after = plan(given_one(want, asked=state, native=native, linked=linked or bool(first.writes.height)))
    assert after.writes.is_empty()
    assert after.adopted.is_empty()
    assert after.findings.is_empty()


@given(want=ROW, native=ROW)
@settings(max_examples=25, deadline=None)
def test_a_first_link_never_blanks(want: dict[str, Any], native: dict[str, Any]) -> None:
    planned = plan(given_one(want, native=native))
    assert planned.writes["blanked"].sum() == 0
    assert planned.changes["new"].null_count() == 0


@pytest.mark.parametrize(
    ("want", "asked", "native", "hold"),
    [
        pytest.param("GBP", "EUR", "EUR", "the currency changes: Phone from EUR to GBP", id="it-changes"),
        pytest.param(None, "EUR", "EUR", "the currency changes: Phone from EUR to nothing", id="it-is-emptied"),
        pytest.param("GBP", None, None, None, id="none-stood-there"),
        pytest.param("EUR", "EUR", "EUR", None, id="it-stays"),
    ],
)
def test_a_currency_that_changes_waits_for_a_person(
    want: str | None, asked: str | None, native: str | None, hold: str | None
) -> None:
    given = given_one(
        {"Name": "B", "Phone": want},
        asked={"Name": "A", "Phone": asked},
        native={"Name": "A", "Phone": native},
        currencies=frozenset({"Phone"}),
    )
    write = told(plan(given))
    assert write["hold"] == hold
    assert write["sent"]["Name"] == "B"


def test_a_create_in_any_currency_asks_nobody() -> None:
    planned = plan(given_one({"Name": "A", "Phone": "GBP"}, linked=False, currencies=frozenset({"Phone"})))
    assert told(planned)["hold"] is None
