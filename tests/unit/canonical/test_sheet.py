"""Mapping sheets: what spreadsheet programs make of CSV is understood, what could lose a cell is refused."""

from __future__ import annotations

import pytest

from canonical.mapping.sheet import SheetRow, parse_sheet
from canonical.problems import Refused

HEADER = "source_system,source_field,target_system,target_field,rule,notes\n"


def test_rows_know_their_sides() -> None:
    inbound, outbound, constant, ignored = parse_sheet(
        "m.csv",
        (
            HEADER + "crm,contacts.first + contacts.last,canonical,customer.name,join,\n"
            "canonical,order.lines.quantity,erp,invoices.Lines[].Quantity,,\n"
            "canonical,,erp,contacts.Status,const ACTIVE,\n"
            "crm,contacts.hs_*,ignore,-,,marketing\n"
        ).encode(),
    )
    assert (inbound.direction, inbound.system, inbound.stream, inbound.entity) == (
        "inbound",
        "crm",
        "contacts",
        "customer",
    )
    assert (inbound.paths, inbound.target_path) == (("first", "last"), "name")
    assert (outbound.direction, outbound.system, outbound.stream, outbound.entity) == (
        "outbound",
        "erp",
        "invoices",
        "order",
    )
    assert outbound.target_path == "Lines[].Quantity"
    assert (constant.direction, constant.sources, constant.entity) == ("outbound", (), None)
    assert (ignored.direction, ignored.system, ignored.stream, ignored.entity) == ("ignored", "crm", "contacts", None)
    assert [row.line for row in (inbound, outbound, constant, ignored)] == [2, 3, 4, 5]


ROW = SheetRow("crm", "contacts.name", "canonical", "customer.name", "trim", "a, b", "m.csv", 2)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('crm,contacts.name,canonical,customer.name,trim,"a, b"\n', id="commas"),
        pytest.param(
            'crm,contacts.name,canonical,customer.name,trim,"a, b"\r\n\r\n,,,,,\r\n', id="crlf-and-blank-rows"
        ),
        pytest.param(' crm , contacts.name ,canonical,customer.name,trim," a, b"\n', id="blanks-around-cells"),
    ],
)
def test_harmless_forms_are_read(text: str) -> None:
    assert parse_sheet("m.csv", ("\ufeff" + HEADER + text).encode()) == [ROW]


def test_empty_columns_at_the_right_are_passed_over() -> None:
    text = HEADER.replace("\n", ",,\n") + 'crm,contacts.name,canonical,customer.name,trim,"a, b",,\n'
    assert parse_sheet("m.csv", text.encode()) == [ROW]


@pytest.mark.parametrize("delimiter", [";", "\t"], ids=["semicolon", "tab"])
def test_other_delimiters_are_seen_from_the_header(delimiter: str) -> None:
    text = HEADER.replace(",", delimiter) + delimiter.join(
        ["crm", "contacts.name", "canonical", "customer.name", "trim", "a, b"]
    )
    assert parse_sheet("m.csv", text.encode()) == [ROW]


def test_a_standard_sheet_is_given_its_system() -> None:
    (row,) = parse_sheet("m.csv", (HEADER + "{system},a.b,canonical,c.d,,\n").encode(), system="crm")
    assert row.source_system == "crm"


@pytest.mark.parametrize(
    ("text", "line", "where", "expected"),
    [
        pytest.param("", 1, "the sheet", "the columns source_system", id="empty-file"),
        pytest.param(HEADER, 1, "the sheet", "at least one row", id="63-no-rows"),
        pytest.param(HEADER.replace("rule,", ""), 1, "the header", "the column rule", id="62-missing-column"),
        pytest.param(HEADER.replace("notes", "rule"), 1, "the header", "the column notes", id="62-column-twice"),
        pytest.param(HEADER.replace("notes", "notes,extra"), 1, "the header", "no other column", id="62-other-column"),
        pytest.param(HEADER + "crm,a.b,canonical,c.d,join a, b,\n", 2, "row 2", "6 cells", id="comma-without-quotes"),
        pytest.param(
            HEADER + '\ncrm,"a.\nb",canonical,c.d,,\n', 3, "row 3, column source_field", "at most", id="62-newline"
        ),
        pytest.param(HEADER + 'crm,a.b,canonical,c.d,,"x\n', 2, "row 2", "cells of a CSV file", id="open-quote"),
        pytest.param(
            HEADER + f"crm,a.b,canonical,c.d,,{'x' * 140_000}\n", 2, "row 2, cell 6", "at most 131", id="62-huge-cell"
        ),
        pytest.param(
            HEADER + ",a.b,canonical,c.d,,\n", 2, "row 2, column source_system", "a system", id="no-source-system"
        ),
        pytest.param(HEADER + "crm,a.b,,c.d,,\n", 2, "row 2, column target_system", "a system", id="no-target-system"),
        pytest.param(
            HEADER + "crm,a.b,erp,c.d,,\n", 2, "row 2, column target_system", "canonical on one", id="no-canonical"
        ),
        pytest.param(
            HEADER + "canonical,a.b,canonical,c.d,,\n",
            2,
            "row 2, column target_system",
            "canonical on one",
            id="both-canonical",
        ),
        pytest.param(HEADER + "crm,,canonical,c.d,trim,\n", 2, "row 2, column source_field", "a field", id="no-source"),
        pytest.param(
            HEADER + "crm,name,canonical,c.d,,\n", 2, "row 2, column source_field", "STREAM.FIELD", id="no-stream"
        ),
        pytest.param(HEADER + "crm,a.b,canonical,c,,\n", 2, "row 2, column target_field", "ENTITY.FIELD", id="no-leaf"),
        pytest.param(
            HEADER + "crm,a.b + c.d,canonical,e.f,join,\n",
            2,
            "row 2, column source_field",
            "fields of one",
            id="two-streams",
        ),
        pytest.param(HEADER + "crm,a.b,ignore,-,trim,\n", 2, "row 2, column rule", "nothing", id="rule-on-ignored"),
        pytest.param(HEADER + "crm,a.b\0,ignore,-,,\n", 2, "the file", "printable text", id="nul"),
        pytest.param("PK\x03\x04", None, "the file", "CSV", id="workbook"),
    ],
)
def test_refused_with_the_cell(text: str, line: int | None, where: str, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_sheet("m.csv", text.encode())
    problem = refused.value.problems[0]
    assert (problem.file, problem.line) == ("m.csv", line)
    assert problem.where.startswith(where)
    assert problem.expected.startswith(expected)


def test_latin_1_is_refused_with_its_line() -> None:
    with pytest.raises(Refused) as refused:
        parse_sheet("m.csv", (HEADER + "crm,a.b,ignore,-,,").encode() + b"caf\xe9\n")
    assert refused.value.problems[0].line == 2


def test_five_megabytes_are_the_end() -> None:
    with pytest.raises(Refused, match="at most 5 MB"):
        parse_sheet("m.csv", b"x" * 5_000_001)


def test_all_bad_rows_are_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        parse_sheet("m.csv", (HEADER + ",a.b,canonical,c.d,,\ncrm,x,canonical,c.d,,\ncrm,a.b,erp,c.d,,\n").encode())
    assert [problem.line for problem in refused.value.problems] == [2, 3, 4]
