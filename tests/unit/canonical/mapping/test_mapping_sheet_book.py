"""A sheet's text, whatever it holds, comes back from its records and from a workbook to the byte."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.mapping.book import escaped, read_book, unescaped
from canonical.mapping.book_made import Sheet, make_book
from canonical.mapping.incoming import take_in
from canonical.mapping.sheet import COLUMNS, SheetRow
from canonical.mapping.sheet_diff import compare
from canonical.mapping.sheet_text import SheetText, read_text, rewritten
from canonical.problems import Refused

HEADER = ",".join(COLUMNS)
_CELLS = st.text(
    st.one_of(
        st.sampled_from(list(" ,;\t\"'=+-@#_x0041.|[]{}")),
        st.characters(exclude_categories=("Cs", "Cc"), max_codepoint=0x1F64F, exclude_characters="\ufffe\uffff\ufeff"),
    ),
    max_size=20,
)


@st.composite
def _sheets(draw: st.DrawFn) -> bytes:
    """A sheet as some program may have saved it: any separator, quotes here and there, blank rows, comments."""
    delimiter = draw(st.sampled_from(",;\t"))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    rows = draw(st.lists(st.one_of(st.just([]), st.lists(_CELLS, min_size=6, max_size=6)), max_size=6))
    made = io.StringIO(newline="")
    made.write(newline * draw(st.integers(0, 2)))
    if draw(st.booleans()):
        made.write(f"# to begin with{newline}")
    for row in [list(COLUMNS), *rows]:
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        if row and row[0].strip().startswith("#"):
            row = ["# " + " ".join(row).replace(delimiter, " ").replace('"', "")]
        csv.writer(made, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerow(row)
    text = made.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(newline)
    return (("\ufeff" if draw(st.booleans()) else "") + text).encode()


@settings(max_examples=100, deadline=None)
@given(_sheets())
def test_records_say_all_that_a_sheet_says(data: bytes) -> None:
    text, problems = read_text("m.csv", data)
    assert problems == []
    assert "".join(record.raw for record in text.records) == data.decode().removeprefix("\ufeff")
    assert rewritten(text, text.contents, 6)[0] == data


@settings(max_examples=15, deadline=None)
@given(_sheets())
def test_a_workbook_loses_nothing(data: bytes) -> None:
    text, _ = read_text("mappings/m.csv", data)
    book = make_book([Sheet(text, data, ("a.b",))], [], ("crm",), {})
    (incoming,) = take_in("m.xlsx", book, {"mappings/m.csv": data})
    assert incoming.data == data
    (elsewhere,) = take_in("m.xlsx", book, {})  # where the sheet is not there yet: the same cells in plain CSV
    again, problems = read_text("m.csv", elsewhere.data)
    contents = text.contents
    while contents and not contents[-1]:
        contents.pop()
    assert (again.contents, problems) == (contents, [])


@given(_CELLS)
def test_signs_that_workbooks_escape(text: str) -> None:
    assert unescaped(escaped(text)) == text


def test_lines_are_counted_whatever_stands_in_them() -> None:
    old = SheetText("m.csv", newline="\r\n")
    data, lines = rewritten(old, [("a", "b"), (), ("c\nd", "e"), ("f",)], 2)
    assert data == b'a,b\r\n\r\n"c\nd",e\r\nf,\r\n'
    assert lines == [1, 2, 3, 5]


@pytest.mark.parametrize(
    "files",
    [("mappings/a.csv", "mappings/A.csv"), ("mappings/((.csv",), ("mappings/_concord.csv",)],
    ids=["twice", "none", "lists"],
)
def test_a_worksheet_needs_a_name_of_its_own(files: tuple[str, ...]) -> None:
    data = f"{HEADER}\ncrm,a.b,ignore,-,,\n".encode()
    with pytest.raises(Refused, match="a name that a worksheet can have of its own"):
        make_book([Sheet(read_text(file, data)[0], data, ()) for file in files], [], ("crm",), {})


def test_long_names_are_kept_beside_the_short_ones_of_worksheets() -> None:
    file = "mappings/customers and their orders in the shop.csv"
    data = f"{HEADER}\ncrm,a.b,ignore,-,,\n".encode()
    book = make_book([Sheet(read_text(file, data)[0], data, ())], [], ("crm",), {})
    assert [one.file for one in take_in("m.xlsx", book, {})] == [file]
    assert len(read_book("m.xlsx", book)[0].worksheets[0].title) <= 31


def test_a_remark_that_no_workbook_can_hold_is_refused() -> None:
    data = f"# bell \x07\n{HEADER}\ncrm,a.b,ignore,-,,\n".encode()
    with pytest.raises(Refused, match="printable"):
        make_book([Sheet(read_text("mappings/m.csv", data)[0], data, ())], [], ("crm",), {})


def _row(source: str, target: str = "customer.name", rule: str = "", line: int = 2) -> SheetRow:
    return SheetRow("crm", source, "canonical", target, rule, "", "m.csv", line)


def test_rows_of_one_target_in_two_streams_are_two_rows() -> None:
    before = [_row("contacts.name"), _row("companies.name", line=3)]
    found = compare(before, [_row("companies.name", line=9), _row("contacts.name", rule="trim")])
    assert [(change.before.stream, change.fields) for change in found.changed] == [("contacts", {"rule": ("", "trim")})]
    assert (found.unchanged, found.is_empty) == (1, False)


def test_what_moved_is_no_change() -> None:
    rows = [_row(f"contacts.f{n}", f"customer.f{n}", line=n) for n in range(5)]
    found = compare(rows, list(reversed(rows)))
    assert found.is_empty
    assert found.unchanged == 5


@pytest.mark.parametrize(("kept", "is_many"), [(5, False), (4, True), (0, True), (9, False)])
def test_half_is_many(kept: int, is_many: bool) -> None:
    rows = [_row(f"contacts.f{n}", f"customer.f{n}") for n in range(9)]
    found = compare(rows, rows[:kept])
    assert bool(found.many) == is_many


def _as_excel_saves(book: bytes) -> bytes:
    """The same workbook with its texts in one table of strings, as Excel and LibreOffice write them."""
    texts: list[str] = []

    def shared(found: re.Match[str]) -> str:
        texts.append(found[3])
        return f'<c{found[1]} t="s"{found[2]}><v>{len(texts) - 1}</v></c>'

    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        parts = {name: old.read(name) for name in old.namelist()}
        for name in [name for name in parts if name.startswith("xl/worksheets/sheet")]:
            inline = r'<c([^>]*) t="inlineStr"([^>]*)><is><t[^>]*>([^<]*)</t></is></c>'
            parts[name] = re.sub(inline, shared, parts[name].decode()).encode()
        items = "".join(f'<si><t xml:space="preserve">{text}</t></si>' for text in texts)
        space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{space}">{items}</sst>'.encode()
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
        override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'.encode()
        parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", override)
        for name, content in parts.items():
            new.writestr(name, content)
    assert texts
    return made.getvalue()


@settings(max_examples=10, deadline=None)
@given(_sheets())
def test_a_workbook_that_excel_has_saved_loses_nothing_either(data: bytes) -> None:
    text, _ = read_text("mappings/m.csv", data)
    book = _as_excel_saves(make_book([Sheet(text, data, ("a.b",))], [], ("crm",), {}))
    (incoming,) = take_in("m.xlsx", book, {"mappings/m.csv": data})
    assert incoming.data == data


@pytest.mark.parametrize("note", ["_x0041_", "a_x005F_b", "<&>", "=1+1", "two  blanks", "é ü 東"])
def test_texts_in_a_table_of_strings(note: str) -> None:
    data = f"{HEADER}\ncrm,a.b,ignore,-,,{note}\n".encode()
    book = _as_excel_saves(make_book([Sheet(read_text("mappings/m.csv", data)[0], data, ())], [], ("crm",), {}))
    assert take_in("m.xlsx", book, {})[0].data == data
