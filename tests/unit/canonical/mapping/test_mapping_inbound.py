"""A sheet's inbound rows as a program: three states, failures that cost a field or the record, conditions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest

from canonical.landscape import System
from canonical.mapping.decode import decode
from canonical.mapping.program import InboundProgram, Mapped, compile_inbound
from canonical.model import Model
from canonical.problems import Refused


@pytest.fixture
def program(sheet: Any, london: System, model: Model) -> Any:
    def compiled(
        text: str, when: str | None = None, stream: str = "contacts", entity: str = "customer"
    ) -> InboundProgram:
        rows = sheet(text)
        return compile_inbound(rows, london, london.streams[stream], model[entity], when, model, "Europe/London")

    return compiled


def run(program: InboundProgram, records: Sequence[Any]) -> Mapped:
    payloads = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    return program.run(decode(payloads, program.paths))


def problems(mapped: Mapped) -> list[tuple[int, str, str, bool]]:
    return [(p["_row"], p["column"], p["rule"], p["fatal"]) for p in mapped.problems.iter_rows(named=True)]


def test_records_become_candidates_in_canonical_form(program: Any) -> None:
    compiled = program("""
        contacts.first + contacts.last -> customer.name : join
        contacts.email -> customer.email
        contacts.phone -> customer.phone
        contacts.status -> customer.status : map OPEN=lead CUSTOMER=active *=flag
        contacts.a -> customer.address.postcode : address_part postcode
        contacts.a -> customer.address.country : address_part country
        contacts.owed -> customer.credit : money de
        contacts.since -> customer.since : date DD/MM/YYYY
        contacts.seen -> customer.seen
        contacts.vip -> customer.vip : boolean yes=true no=false
        contacts.parent -> customer.parent : lookup contacts
    """)
    record = {
        "first": "Ann", "last": "Lee", "email": "A@B.com", "phone": "020 7946 0000", "status": "OPEN",
        "a": "1 High St, London SW1A 1AA", "owed": "1.234,5", "since": "31/01/2024", "seen": "2024-07-01T10:00:00",
        "vip": "Yes", "parent": 7,
    }  # fmt: skip
    mapped = run(compiled, [record])
    assert mapped.frame.row(0, named=True) == {
        "_row": 0,
        "name": "Ann Lee",
        "email": "a@b.com",
        "phone": "+442079460000",
        "status": "lead",
        "address_postcode": "SW1A 1AA",
        "address_country": "GB",
        "credit": "1234.50",
        "since": "2024-01-31",
        "seen": "2024-07-01T09:00:00.000000Z",
        "vip": "true",
        "parent": '["link","crm","contacts","7"]',
    }
    assert set(compiled.columns) == set(mapped.frame.columns) - {"_row"}
    assert (problems(mapped), mapped.absent.to_list(), mapped.ignored) == ([], [[]], 0)


@pytest.mark.parametrize(
    ("field", "record", "value", "has_opinion"),
    [
        pytest.param("email", {}, None, False, id="absent: no opinion"),
        pytest.param("email", {"x": None}, None, True, id="null: empty"),
        pytest.param("email", {"x": ""}, None, True, id="blank: empty"),
        pytest.param("email", {"x": "  "}, None, True, id="white space: empty"),
        pytest.param("note", {"x": None}, None, False, id="null kept: no opinion"),
        pytest.param("note", {"x": ""}, None, False, id="blank kept: no opinion"),
        pytest.param("note", {}, None, False, id="absent where all is kept: no opinion"),
        pytest.param("note", {"x": "n"}, "n", True, id="value where all is kept"),
        pytest.param("memo", {"x": None}, None, False, id="only null is kept: null"),
        pytest.param("memo", {"x": ""}, None, True, id="only null is kept: blank"),
        pytest.param("hint", {"x": None}, None, True, id="only blank is kept: null"),
        pytest.param("hint", {"x": ""}, None, False, id="only blank is kept: blank"),
        pytest.param("since", {"x": "0000-00-00"}, None, True, id="sentinel: empty"),
        pytest.param("since", {"x": "9999-12-31"}, None, True, id="another sentinel: empty"),
    ],
)
def test_absent_null_and_blank_are_three_things(
    field: str, record: dict[str, Any], value: str | None, has_opinion: bool, program: Any
) -> None:
    compiled = program(f"contacts.x -> customer.{field}")
    for others in ([], [{"x": None}], [{"q": 1}]):
        mapped = run(compiled, [*others, record])
        assert mapped.frame[field].to_list()[-1] == value
        assert (field not in mapped.absent.to_list()[-1]) == has_opinion
        assert problems(mapped) == []


@pytest.mark.parametrize(
    ("record", "has_opinion"),
    [({}, False), ({"a": None}, True), ({"a": "x"}, True), ({"b": ""}, True)],
    ids=["none of them", "one is null", "one has a value", "one is blank"],
)
def test_joined_fields_have_no_opinion_only_when_all_are_absent(record: Any, has_opinion: bool, program: Any) -> None:
    mapped = run(program("contacts.a + contacts.b -> customer.memo"), [record, {"a": "1", "b": "2"}])
    expected = has_opinion and record != {"a": None}  # memo keeps its value at null
    assert ("memo" not in mapped.absent.to_list()[0]) == expected


def test_a_default_is_an_opinion(program: Any) -> None:
    mapped = run(program("contacts.x -> customer.status : default lead"), [{}, {"x": "active"}])
    assert mapped.frame["status"].to_list() == ["lead", "active"]
    assert mapped.absent.to_list() == [[], []]


@pytest.mark.parametrize(
    ("row", "value", "problem", "keeps"),
    [
        ("customer.name", None, ("name", "required", True), False),
        ("customer.name", "", ("name", "required", True), False),
        ("customer.email", "a@b.com\nc@d.com", ("email", "email", True), False),
        ("customer.status : map OPEN=lead", "??", ("status", "choice", True), False),
        ("customer.status", "??", ("status", "choice", True), False),
        ("customer.tier", "tin", ("tier", "choice", False), True),
        ("customer.phone", "0", ("phone", "phone", False), True),
        ("customer.phone", "1" * 40, ("phone", "phone", False), True),
        ("customer.since : date DD/MM/YYYY", "30/02/2024", ("since", "date", True), False),
        ("customer.since", "03/04/2024", ("since", "date", True), False),
        ("customer.since", "1900-01-01T05:00:00", ("since", "date", True), False),
        ("customer.credit", "1.234,56", ("credit", "money", True), False),
        ("customer.credit", 12.345, ("credit", "money", True), False),
        ("customer.vip", 2, ("vip", "boolean", True), False),
        ("customer.address.country", "Narnia", ("address_country", "country", True), False),
        ("customer.staff", "1.5", ("staff", "integer", True), False),
    ],
)
def test_a_bad_value_costs_what_its_field_says(
    row: str, value: Any, problem: tuple[str, str, bool], keeps: bool, program: Any
) -> None:
    mapped = run(program(f"contacts.x -> {row}"), [{"x": value}])
    assert problems(mapped) == [(0, *problem)]
    assert mapped.frame[problem[0]].to_list() == [None]
    assert mapped.absent.to_list() == [[problem[0]] if keeps else []]


def test_an_absent_required_field_is_a_problem(program: Any) -> None:
    assert problems(run(program("contacts.x -> customer.name"), [{}])) == [(0, "name", "required", True)]


def test_a_required_phone_costs_the_record(sheet: Any, crm: System, model: Model) -> None:
    customer = model["customer"]
    needed = dataclasses.replace(customer.by_name["phone"], required=True)
    strict = dataclasses.replace(customer, fields=(needed,))
    compiled = compile_inbound(
        sheet("contacts.x -> customer.phone"), crm, crm.streams["contacts"], strict, None, model, "UTC"
    )
    assert problems(run(compiled, [{"x": "0"}])) == [(0, "phone", "phone", True)]


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(1)", "+cmd|'/C calc'!A0", "'; DROP TABLE x;--", "{{7*7}}", "<script>", "%s%n"]
)
def test_naughty_values_stay_plain_text(text: str, program: Any) -> None:
    assert run(program("contacts.x -> customer.name"), [{"x": text}]).frame["name"].to_list() == [text]


def test_money_from_a_float_keeps_its_digits(program: Any) -> None:
    compiled = program("contacts.x -> customer.credit")
    mapped = run(compiled, [b'{"x":0.10}', b'{"x":0.30000000000000004}', b'{"x":1e2}', b'{"x":12}'])
    assert mapped.frame["credit"].to_list() == ["0.10", None, "100.00", "12.00"]


def test_a_rules_currency_fills_the_currency_leaf(program: Any) -> None:
    compiled = program("contacts.x -> customer.balance : money en GBP")
    mapped = run(compiled, [{"x": "1,000"}, {"x": None}, {}])
    assert mapped.frame["balance"].to_list() == ["1000.00", None, None]
    assert mapped.frame["balance_currency"].to_list() == ["GBP", None, None]
    assert set(compiled.columns) == {"balance", "balance_currency"}
    assert [sorted(a) for a in mapped.absent.to_list()] == [[], [], ["balance", "balance_currency"]]


def test_a_currency_may_stand_in_another_source_field(program: Any) -> None:
    compiled = program("contacts.x -> customer.balance : money from ccy")
    mapped = run(compiled, [{"x": 1.5, "ccy": "eur"}, {"x": 1.5, "ccy": "jpy"}, {"x": 1, "ccy": "ABC"}])
    assert "ccy" in compiled.paths
    assert mapped.frame["balance"].to_list() == ["1.50", None, None]
    assert problems(mapped) == [(1, "balance", "money", True), (2, "balance", "money", True)]


def test_a_currency_leaf_serves_its_amount_whatever_the_order_of_rows(program: Any) -> None:
    compiled = program("contacts.x -> customer.balance\ncontacts.c -> customer.balance.currency")
    mapped = run(compiled, [{"x": "5", "c": "jpy"}, {"x": "5", "c": None}])
    assert mapped.frame["balance"].to_list() == ["5", None]
    assert problems(mapped) == [(1, "balance", "money", True)]


def test_when_picks_the_records_that_make_the_entity(program: Any) -> None:
    compiled = program("contacts.p.x -> customer.email", when="p.kind == 'b' || !has(p.kind)")
    mapped = run(compiled, [{"p": {"kind": "a"}}, {"p": {"kind": "b", "x": "a@b.com"}}, {"p": {}}, b'{"p":1,"p":2}'])
    assert mapped.frame.rows() == [(1, "a@b.com"), (2, None)]
    assert mapped.absent.to_list() == [[], ["email"]]
    assert mapped.ignored == 1
    assert set(compiled.paths) == {"p.x", "p.kind"}


def test_problems_name_the_row_of_the_batch(program: Any) -> None:
    compiled = program("contacts.x -> customer.email", when="keep == true")
    mapped = run(compiled, [{"keep": False, "x": "bad"}, {"keep": True, "x": "bad"}])
    assert problems(mapped) == [(1, "email", "email", True)]


def test_refused_records_make_nothing(program: Any) -> None:
    mapped = run(program("contacts.x -> customer.email"), [b"{", {"x": "a@b.com"}, b'{"x":NaN}'])
    assert mapped.frame.rows() == [(1, "a@b.com")]
    assert mapped.ignored == 0


def test_an_empty_batch(program: Any) -> None:
    mapped = run(program("contacts.x -> customer.balance : money en GBP\ncontacts.p -> customer.phone"), [])
    assert (mapped.frame.height, mapped.absent.len(), mapped.problems.height) == (0, 0, 0)


def test_rows_of_others_are_passed_over(program: Any) -> None:
    compiled = program("""
        orders.x -> customer.email
        contacts.x -> order.number
        contacts.y -> -
        customer.name -> crm:contacts.Name
        contacts.z -> customer.name
    """)
    assert compiled.columns == ("name",)
    assert compiled.paths == ("z",)


def test_all_that_is_wrong_with_a_sheet_is_said_at_once_with_its_place(program: Any) -> None:
    with pytest.raises(Refused) as caught:
        program("""
            contacts.a -> customer.emial
            contacts.b -> customer.phone : fone GB
            contacts.c[x -> customer.name
            contacts.d -> customer.balance
            contacts.e -> customer.parent
            contacts.f -> customer.site
            contacts.g -> customer.site
        """, when="kind = 'b'")  # fmt: skip
    found = {(p.file, p.line): p for p in caught.value.problems}
    assert [line for _, line in found] == [None, 2, 3, 4, 5, 6, 8]
    assert found["m.csv", 2].suggestion == "email"
    assert found["m.csv", 3].suggestion == "phone"
    assert "currency" in found["m.csv", 5].expected
    assert "lookup" in found["m.csv", 6].expected
    assert "once" in found["m.csv", 8].expected
    assert found["landscape.yaml", None].where == "streams.contacts.makes.when"
