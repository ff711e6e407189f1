"""What a target holds at the paths that we write, in its own spelling."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from canonical.landscape import System
from canonical.mapping.native import flat_json, from_flat_json, native_values, same_lists, same_numbers
from canonical.mapping.program import OutboundProgram, compile_outbound
from canonical.model import Model


@pytest.fixture
def program(sheet: Any, crm: System, model: Model) -> OutboundProgram:
    text = """
        order.number -> crm:invoices.InvoiceNumber
        order.gross -> crm:invoices.Total
        order.currency -> crm:invoices.Phones[PhoneType=DEFAULT].PhoneNumber
        order.lines.quantity -> crm:invoices.LineItems[].Quantity
        order.lines.description -> crm:invoices.LineItems[].Description
    """
    return compile_outbound(sheet(text), model["order"], crm, crm.streams["invoices"], model)


def held(program: OutboundProgram, *records: bytes) -> list[dict[str, Any]]:
    return [json.loads(text) for text in native_values(records, program)]


def test_every_written_path_is_read_as_the_target_spells_it(program: OutboundProgram) -> None:
    record = (
        b'{"InvoiceNumber": " A1 ", "Total": 12.50, "Phones": [{"PhoneType": "FAX", "PhoneNumber": "1"},'
        b' {"PhoneType": "DEFAULT", "PhoneNumber": "EUR"}], "Ignored": true,'
        b' "LineItems": [{"Quantity": 2.0, "Description": "x", "LineItemID": "l1"}, {"Quantity": 1}]}'
    )
    (found,) = held(program, record)
    assert found["InvoiceNumber"] == " A1 "
    assert found["Total"] == "12.50"
    assert found["Phones[PhoneType=DEFAULT].PhoneNumber"] == "EUR"
    assert "Ignored" not in found
    (lines,) = (json.loads(value) for path, value in found.items() if path.startswith("LineItems"))
    assert lines == [{"Description": "x", "Quantity": "2.0"}, {"Quantity": "1"}]


def test_what_a_record_does_not_say_is_null(program: OutboundProgram) -> None:
    empty, null, other = held(program, b"{}", b'{"InvoiceNumber": null, "LineItems": []}', b'{"InvoiceNumber": "A2"}')
    assert set(empty.values()) == {None}
    assert set(null.values()) == {None}
    assert [v for v in other.values() if v] == ["A2"]


def test_a_record_that_cannot_be_read_holds_nothing_and_moves_no_other(program: OutboundProgram) -> None:
    found = held(program, b'{"InvoiceNumber": "A1"}', b'{"InvoiceNumber": NaN}', b'{"InvoiceNumber": "A3"}')
    assert [f["InvoiceNumber"] for f in found] == ["A1", None, "A3"]


def test_a_program_of_lists_alone(sheet: Any, crm: System, model: Model) -> None:
    text = "order.lines.quantity -> crm:invoices.LineItems[].Quantity"
    program = compile_outbound(sheet(text), model["order"], crm, crm.streams["invoices"], model)
    (found,) = held(program, b'{"LineItems": [{"Quantity": 3}]}')
    assert list(map(json.loads, found.values())) == [[{"Quantity": "3"}]]


def test_no_records_give_no_values(program: OutboundProgram) -> None:
    values = native_values([], program)
    assert (values.name, values.len()) == ("native", 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        pytest.param(None, "0", False, id="empty-is-no-zero"),
        pytest.param("0", None, False, id="zero-is-not-empty"),
        pytest.param("12.5", "12.50", True, id="numbers-by-value"),
        pytest.param("1000", "1e3", True, id="an-exponent"),
        pytest.param("0.1", "0.10000000000000001", False, id="numbers-exactly"),
        pytest.param("0.1", "0.1000000000000000000000001", False, id="finer-than-can-be-held"),
        pytest.param("x", "x ", False, id="no-numbers-at-all"),
        pytest.param("1", "one", False, id="one-number"),
    ],
)
def test_same_numbers(ours: str | None, theirs: str | None, same: bool) -> None:
    assert same_numbers(text([ours, "1"]), text([theirs, "1.0"])).to_list() == [same, True]


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        pytest.param('[{"q": 2}]', '[{"q": "2.00"}]', True, id="by-value"),
        pytest.param('[{"q": 2, "d": null}]', '[{"q": 2}]', True, id="empty-members"),
        pytest.param('[{"q": 2}, {"q": 3}]', '[{"q": 3}, {"q": 2}]', False, id="in-order"),
        pytest.param('[{"q": 2}, {"q": 3}]', '[{"q": 2}]', False, id="one-fewer"),
        pytest.param('[{"d": "x"}]', '[{"d": "y"}]', False, id="other-text"),
        pytest.param('[{"d": true}]', '[{"d": true}]', True, id="booleans"),
        pytest.param('[{"d": true}]', '[{"d": 1}]', False, id="a-boolean-is-no-number"),
        pytest.param('[{"q": 12345678901234567890.12}]', '[{"q": 12345678901234567890.13}]', False, id="exactly"),
        pytest.param(None, '[{"q": 2}]', False, id="none-of-ours"),
        pytest.param("[]", None, False, id="none-of-theirs"),
    ],
)
def test_same_lists(ours: str | None, theirs: str | None, same: bool) -> None:
    beside = '[{"d":"beside"}]'
    assert same_lists(text([ours, beside]), text([theirs, beside]), ["q", "d"]).to_list() == [same, True]


def test_flat_objects_come_back_as_they_went() -> None:
    values = ['a "quoted" \\ text', "line\nbreak \x01 \u2028 é 😀", "", None]
    frame = pl.DataFrame({"a.b": text(values), 'odd"[x=y].path': text(values[::-1])})
    texts = flat_json(frame, frame.columns)
    assert [json.loads(t) for t in texts] == frame.to_dicts()
    assert from_flat_json(texts, frame.columns).equals(frame)


def test_a_path_that_an_object_does_not_name_is_null() -> None:
    assert from_flat_json(text(['{"a":"1","b":"2"}', None, "{}"]), ["a", "c"]).to_dict(as_series=False) == {
        "a": ["1", None, None],
        "c": [None, None, None],
    }


def text(values: list[str | None]) -> pl.Series:
    return pl.Series("text", values, dtype=pl.String)
