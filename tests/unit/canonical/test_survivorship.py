"""Whose value each field takes: by system of record, stand-ins, emptiness that was observed, groups."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.model import Entity, Field
from canonical.survivorship import Survived, differences, explain, survive


def field(name: str, kind: Any = "text", record: str = "crm", **more: Any) -> Field:
    return Field(name, kind, record, "owner", record, **more)


ENTITY = Entity(
    "customer",
    "A buyer",
    "owner",
    "crm",
    "crm",
    (
        field("name"),
        field("phone", "phone", until_recorded=("support", "shop")),
        field("address", "address"),
        field("credit", "money", "accounting"),
        field("notes"),
    ),
    until_recorded=("shop",),
)
COLUMNS = ENTITY.columns
CRM, PEOPLE, SHOP = ("crm", "companies"), ("crm", "people"), ("shop", "buyers")
SUPPORT, ACCOUNTING, OTHER = ("support", "users"), ("accounting", "contacts"), ("archive", "old")
SLOTS = (CRM, PEOPLE, SHOP, SUPPORT, ACCOUNTING, OTHER)
MAPPED = {slot: frozenset(COLUMNS) - {"notes"} for slot in SLOTS}
LINKED = {
    **dict.fromkeys(("canonical_id", "key", "system", "stream", "source_id"), pl.String),
    "absent": pl.List(pl.String),
    "deleted": pl.Boolean,
    "changed_at": pl.String,
    **dict.fromkeys(COLUMNS, pl.String),
}
CURRENT = {
    "id": pl.String,
    "version": pl.Int64,
    "provisional": pl.List(pl.String),
    **dict.fromkeys(COLUMNS, pl.String),
}
NONE_YET = pl.DataFrame(schema=CURRENT)


def record(slot: tuple[str, str], *, absent: list[str] | None = None, **values: Any) -> dict[str, Any]:
    head = {"canonical_id": "c1", "key": "/".join(slot), "system": slot[0], "stream": slot[1], "source_id": "1"}
    return head | {"absent": absent, "deleted": False, "changed_at": None} | dict.fromkeys(COLUMNS) | values


def linked(*records: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(records), schema=LINKED)


def golden(provisional: tuple[str, ...] = (), **values: Any) -> pl.DataFrame:
    row = {"id": "c1", "version": 3, "provisional": list(provisional)} | dict.fromkeys(COLUMNS) | values
    return pl.DataFrame([row], schema=CURRENT)


def one(survived: Survived, name: str) -> tuple[str | None, bool, str | None]:
    """A field's first leaf, is it provisional, and from which system."""
    row = survived.frame.row(0, named=True)
    leaf = next(f for f in ENTITY.fields if f.name == name).leaves[0].column
    source = survived.provenance.filter(pl.col("field") == name)["system"].to_list()
    return row[leaf], name in row["provisional"], source[0] if source else None


def again(survived: Survived) -> pl.DataFrame:
    """The golden records after the first pass, as the next one reads them."""
    return survived.frame.with_columns(pl.lit(1, dtype=pl.Int64).alias("version")).select(*CURRENT)


PHONE_CASES = [
    pytest.param([record(CRM, phone="1"), record(SHOP, phone="2")], NONE_YET, ("1", False, "crm"), id="record-wins"),
    pytest.param(
        [record(CRM, phone=None), record(SHOP, phone="2"), record(SUPPORT, phone="3")], NONE_YET,
        ("3", True, "support"), id="an-empty-record-blanks-nothing-at-first-and-the-first-stand-in-counts",
    ),
    pytest.param(
        [record(CRM, phone="1", absent=["phone"]), record(SHOP, phone="2")], NONE_YET,
        ("2", True, "shop"), id="a-record-without-opinion",
    ),
    pytest.param(
        [record(CRM, phone="1", deleted=True), record(SHOP, phone="2")], NONE_YET, ("2", True, "shop"),
        id="a-deleted-record-has-none",
    ),
    pytest.param([record(OTHER, phone="9")], NONE_YET, ("9", True, "archive"), id="any-other-system-stands-in-last"),
    pytest.param([record(OTHER)], NONE_YET, (None, True, None), id="nobody-has-one"),
    pytest.param(
        [record(CRM, phone=None), record(SHOP, phone="2")], golden(phone="1"), (None, False, "crm"),
        id="an-observed-change-to-empty-blanks",
    ),
    pytest.param(
        [record(CRM, phone=None), record(SHOP, phone="2")], golden(), (None, False, "crm"),
        id="what-was-emptied-stays-empty",
    ),
    pytest.param(
        [record(CRM, phone=None), record(SHOP)], golden(("phone",), phone="2"), ("2", True, None),
        id="a-provisional-value-is-not-blanked-by-a-record-that-never-had-one",
    ),
    pytest.param(
        [record(CRM, phone="x", absent=["phone"]), record(SHOP, phone="2")], golden(phone="1"), ("1", False, None),
        id="the-last-good-value-outlives-a-bad-update",
    ),
    pytest.param(
        [record(CRM, absent=["phone"]), record(SHOP, phone="2")], golden(), ("2", True, "shop"),
        id="a-field-the-model-gained-is-filled",
    ),
    pytest.param(
        [record(CRM, phone="1"), record(SHOP, phone="2")], golden(("phone",), phone="2"), ("1", False, "crm"),
        id="the-record-speaks-at-last",
    ),
    pytest.param(
        [record(CRM, phone="1", changed_at="2026-01-01"), record(PEOPLE, phone="5", changed_at="2026-02-01")],
        NONE_YET, ("5", False, "crm"), id="two-streams-of-the-record-the-latest-counts",
    ),
    pytest.param(
        [record(CRM, phone="1"), record(PEOPLE, phone="5", changed_at="2026-02-01")], NONE_YET, ("5", False, "crm"),
        id="an-undated-one-is-older",
    ),
    pytest.param(
        [record(CRM, phone="1", changed_at="2026-01-01"), record(PEOPLE, changed_at="2026-02-01")], golden(phone="1"),
        ("1", False, "crm"), id="an-empty-twin-blanks-nothing",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("records", "current", "expected"), PHONE_CASES)
def test_a_field(records: list[dict[str, Any]], current: pl.DataFrame, expected: tuple[Any, bool, Any]) -> None:
    assert one(survive(linked(*records), ENTITY, MAPPED, current), "phone") == expected


def test_an_entity_s_own_stand_ins_count_where_the_field_names_none() -> None:
    survived = survive(linked(record(SUPPORT, name="S"), record(SHOP, name="H")), ENTITY, MAPPED, NONE_YET)
    assert one(survived, "name") == ("H", True, "shop")


def test_an_empty_record_at_first_link_is_reported() -> None:
    survived = survive(linked(record(CRM), record(SHOP, phone="2")), ENTITY, MAPPED, NONE_YET)
    [found] = survived.findings.to_dicts()
    assert (found["field"], found["system"], found["stream"]) == ("phone", "crm", "companies")


def test_an_address_survives_as_a_whole() -> None:
    mine, theirs = {"address_line1": "1 High St"}, {"address_line1": "9 Low Rd", "address_city": "Leeds"}
    row = survive(linked(record(CRM, **mine), record(SHOP, **theirs)), ENTITY, MAPPED, NONE_YET).frame.row(
        0, named=True
    )
    assert (row["address_line1"], row["address_city"]) == ("1 High St", None)


def test_money_takes_its_currency_along() -> None:
    mine, theirs = {"credit": "10.00"}, {"credit": "9.00", "credit_currency": "EUR"}
    records = linked(record(ACCOUNTING, **mine), record(CRM, **theirs))
    row = survive(records, ENTITY, MAPPED, NONE_YET).frame.row(0, named=True)
    assert (row["credit"], row["credit_currency"]) == ("10.00", None)


def test_a_part_without_opinion_keeps_what_the_record_said_of_it() -> None:
    given = linked(record(CRM, address_line1="2 High St", absent=["address_city"]), record(SHOP, address_city="York"))
    current = golden(address_line1="1 High St", address_city="Leeds")
    row = survive(given, ENTITY, MAPPED, current).frame.row(0, named=True)
    assert (row["address_line1"], row["address_city"]) == ("2 High St", "Leeds")
    current = golden(("address",), address_line1="9 Low Rd", address_city="York")
    row = survive(given, ENTITY, MAPPED, current).frame.row(0, named=True)
    assert (row["address_line1"], row["address_city"]) == ("2 High St", None)


def test_a_field_that_nobody_maps_keeps_its_value() -> None:
    survived = survive(linked(record(CRM, notes="ignored")), ENTITY, MAPPED, golden(notes="kept"))
    assert one(survived, "notes") == ("kept", False, None)


def test_a_stream_that_is_not_mapped_has_no_opinion() -> None:
    assert one(survive(linked(record(CRM, phone="1")), ENTITY, {}, NONE_YET), "phone") == (None, True, None)


def test_records_of_several_ids_do_not_mix() -> None:
    two = linked(record(CRM, name="A"), record(SHOP, name="B") | {"canonical_id": "c2"})
    survived = survive(two, ENTITY, MAPPED, NONE_YET)
    assert dict(survived.frame.select("id", "name").iter_rows()) == {"c1": "A", "c2": "B"}


def test_no_records_no_golden_records() -> None:
    survived = survive(linked(), ENTITY, MAPPED, NONE_YET)
    assert survived.frame.columns == ["id", *COLUMNS, "provisional"]
    assert survived.frame.is_empty()


def told(current: pl.DataFrame, survived: Survived) -> tuple[list[str], list[dict[str, Any]]]:
    [(_, changed, text)] = differences(current, survived).rows()
    return changed, json.loads(text)


BY_CRM = {"system": "crm", "stream": "companies", "source_id": "1", "because": "crm is the system of record"}


def test_differences_tell_what_changed_from_what_to_what_and_by_whom() -> None:
    was = golden(name="A", phone="1")
    survived = survive(linked(record(CRM, name="A", phone='2"')), ENTITY, MAPPED, was)
    assert told(was, survived) == (["phone"], [BY_CRM | {"new": {"phone": '2"'}, "old": {"phone": "1"}}])


def test_differences_name_a_source_once_for_all_that_it_said() -> None:
    survived = survive(linked(record(CRM, name="A"), record(SHOP, phone="2")), ENTITY, MAPPED, NONE_YET)
    by_shop = {"system": "shop", "stream": "buyers", "source_id": "1", "because": "stands in until crm has a value"}
    changed, sources = told(NONE_YET, survived)
    assert changed == ["name", "phone"]
    assert sources == [BY_CRM | {"new": {"name": "A"}}, by_shop | {"new": {"phone": "2"}}]


def test_what_became_empty_is_told_by_its_old_value_alone() -> None:
    was = golden(phone="1")
    survived = survive(linked(record(CRM, phone=None)), ENTITY, MAPPED, was)
    emptied = BY_CRM | {"because": "crm is the system of record and emptied it"}
    assert told(was, survived) == (["phone"], [emptied | {"new": {}, "old": {"phone": "1"}}])


VALUE = st.sampled_from([None, "1", "2"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [
        record(
            slot,
            absent=draw(st.lists(st.sampled_from(COLUMNS), max_size=3)),
            **dict.fromkeys(draw(st.lists(st.sampled_from(COLUMNS), max_size=6)), draw(VALUE)),
        )
        | {"deleted": draw(st.booleans()), "changed_at": draw(st.sampled_from([None, "2026-01-01", "2026-02-01"]))}
        for slot in draw(st.lists(st.sampled_from(SLOTS), min_size=1, unique=True))
    ]
    values = {c: draw(VALUE) for c in COLUMNS}
    flags = draw(st.lists(st.sampled_from([f.name for f in ENTITY.fields]), unique=True))
    return linked(*rows), draw(st.sampled_from([NONE_YET, golden(tuple(flags), **values)]))


@given(worlds())
@settings(max_examples=30, deadline=None)
def test_surviving_twice_changes_nothing(world: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    records, current = world
    first = survive(records, ENTITY, MAPPED, current)
    second = survive(records, ENTITY, MAPPED, again(first))
    assert second.frame.equals(first.frame)
    assert differences(again(first), second).is_empty()


@given(worlds())
@settings(max_examples=30, deadline=None)
def test_differences_tell_each_changed_column_once(world: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    records, current = world
    survived = survive(records, ENTITY, MAPPED, current)
    was = current.row(0, named=True) if current.height else dict.fromkeys(COLUMNS)
    now = survived.frame.row(0, named=True)
    found = differences(current, survived)
    sources = json.loads(found["told"][0]) if found.height else []
    new = [pair for source in sources for pair in source["new"].items()]
    old = [pair for source in sources for pair in source.get("old", {}).items()]
    differing = [c for c in COLUMNS if was[c] != now[c]]
    assert sorted(new) == sorted((c, now[c]) for c in differing if now[c] is not None)
    assert sorted(old) == sorted((c, was[c]) for c in differing if was[c] is not None)
    assert (found["changed"].to_list() or [[]]) == [differing]


@given(worlds())
@settings(max_examples=30, deadline=None)
def test_a_record_that_speaks_is_never_provisional(world: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    records, current = world
    survived = survive(records, ENTITY, MAPPED, current)
    spoken = survived.provenance.filter(pl.col("because").str.contains("is the system of record$"))
    flagged = survived.frame["provisional"].to_list()[0]
    assert not set(spoken["field"]) & set(flagged)


def test_a_story_tells_the_claims_the_winner_and_the_reason() -> None:
    records = linked(
        record(CRM, phone=None, name="A"),
        record(SHOP, phone="2", absent=["name"]),
        record(SUPPORT, phone="3", deleted=True),
    )
    stories = {story.field: story for story in explain(records, ENTITY, MAPPED, NONE_YET)}
    phone = stories["phone"]
    assert (phone.record, phone.values, phone.is_provisional) == ("crm", {"phone": "2"}, True)
    assert phone.because == "stands in until crm has a value"
    assert [(c.system, c.said, c.is_winner) for c in phone.claims] == [
        ("crm", "empty", False),
        ("shop", "value", True),
        ("support", "absent", False),
    ]
    assert not stories["name"].is_provisional
    assert stories["notes"].because == "no system has a value, crm has never said one"
