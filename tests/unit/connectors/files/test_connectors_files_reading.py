"""What people leave in folders arrives as records, or is refused with the cell that is wrong."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from canonical.landscape import ChildOf
from connectors.files import FilesConnector
from connectors.protocol import ConnectorError, Misdeclared, SystemFault, Transient, Unreachable
from tests.unit.connectors.files.books import OLD, FakeClock, workbook

Connect = Callable[..., FilesConnector]
Put = Callable[..., Path]
ROWS = [["SKU", "Price"], ["A", 1], ["B", 2], ["C", 3]]


def records(connector: FilesConnector) -> list[dict[str, Any]]:
    return [json.loads(p) for page in connector.read("prices", None) for p in page.payloads]


def refused(connector: FilesConnector) -> list[str]:
    return [r.reason for page in connector.read("prices", None) for r in page.refused]


def values(connector: FilesConnector, column: str) -> list[Any]:
    return [record[column] for record in records(connector)]


@pytest.mark.parametrize(
    "text",
    [
        b"SKU,Price\nA,1.50\n",
        b"SKU;Price\r\nA;1.50\r\n",
        b"SKU\tPrice\nA\t1.50",
        b"SKU|Price\nA|1.50\n",
        b"\xef\xbb\xbfSKU;Price\nA;1.50\n",
        b"\n\nSKU,Price\n\nA,1.50\n,\n\n",
        b"Prices, of May\nplease, do not forward\nSKU,Price\nA,1.50\n",
        b'"SKU","Price"\n"A","1.50"\n',
    ],
    ids=["comma", "semicolon CRLF", "tab, no end", "bar", "BOM", "blank rows", "title rows", "quoted"],
)
def test_csv_of_every_dress_is_the_same_list(put: Put, connect: Connect, text: bytes) -> None:
    put("p.csv", text)
    assert records(connect("p.csv")) == [{"SKU": "A", "Price": "1.50"}]


def test_csv_cells_are_text_as_they_stand(put: Put, connect: Connect) -> None:
    put("p.csv", b'SKU,Price,Note\n0012,"1.234,50","two\nlines, ""quoted"""\n7,, x \n')
    assert records(connect("p.csv")) == [
        {"SKU": "0012", "Price": "1.234,50", "Note": 'two\nlines, "quoted"'},
        {"SKU": "7", "Price": None, "Note": " x "},
    ]


def test_a_declared_separator_and_encoding_are_used(put: Put, connect: Connect) -> None:
    put("p.csv", "SKU;Größe\nA;1,2\n".encode("cp1252"))
    assert records(connect("p.csv", delimiter=";", encoding="cp1252")) == [{"SKU": "A", "Größe": "1,2"}]


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        ("SKU,X\nA,1\nB,Größe\n".encode("latin-1"), {}, "line 3 is not utf-8"),
        (b"\xef\xbb\xbfSKU\nA\n", {"encoding": "cp1252"}, "says that it is UTF-8"),
        ("SKU\nA\n".encode("utf-16"), {}, "encoding: utf-16"),
        (b"SKU\nA\n", {"encoding": "utf-9"}, "expected a known one"),
        (b"SKU\nA\n", {"delimiter": "x"}, "expected one of"),
        (b'SKU,X\nA,"cut', {}, "is no CSV"),
        (b"", {}, "empty"),
        (b"\n\n\n", {}, "expected the column SKU"),
        (b"SKU,Price,SKU\nA,1,B\n", {}, "p.csv!A1 and p.csv!C1"),
        (b"SKUU,Price\nA,1\n", {}, "did you mean SKUU"),
        (b"SKU,Price\nA,1\n", {"header": 2}, "row 2"),
        (b"SKU,Price\nA,1\n", {"page_size": 0}, "page_size"),
        (b"SKU,Price\nA,1\n", {"sheeet": "x"}, "found sheeet"),
    ],
    ids=[
        "latin-1", "BOM against declaration", "utf-16", "unknown encoding", "unknown separator", "cut inside quotes",
        "no byte", "only blank lines", "column twice", "column missing", "wrong header row", "page size",
        "unknown option",
    ],
)  # fmt: skip
def test_a_csv_that_cannot_be_trusted_is_refused_whole(
    put: Put, connect: Connect, data: bytes, options: dict[str, Any], says: str
) -> None:
    put("p.csv", data)
    with pytest.raises(ConnectorError, match=says):
        list(connect("p.csv", **options).read("prices", None))


def test_a_file_with_only_its_header_is_a_list_without_rows(put: Put, connect: Connect) -> None:
    put("p.csv", b"SKU,Price\n")
    [page] = connect("p.csv").read("prices", None)
    assert (page.ids, page.is_last, page.total) == ([], True, 0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b",1", "p.csv!A3: the key is blank"),
        (b" B,1", "p.csv!A3: the key has spaces"),
        (b"B,#REF!", "p.csv!B3 holds the error #REF!"),
        (b"B,1,2", "p.csv!C3 has a value but its column has no name"),
        (b"B", "p.csv!B3: the row ends before its last column"),
        (b"B,a\x00b", "p.csv!B3 holds a NUL character"),
        (b"A,2", "several rows with different content"),
    ],
    ids=["blank key", "key with spaces", "error", "cell without a name", "short row", "NUL", "key twice"],
)
def test_a_bad_row_is_refused_alone_with_its_cell(put: Put, connect: Connect, row: bytes, says: str) -> None:
    put("p.csv", b"SKU,Price\nA,1\n" + row + b"\nC,3\n")
    connector = connect("p.csv")
    assert "C" in values(connector, "SKU")
    assert any(says in reason for reason in refused(connector))


def test_trim_is_declared(put: Put, connect: Connect) -> None:
    put("p.csv", b"SKU,Price\n A , 1 \n")
    assert records(connect("p.csv", trim=True)) == [{"SKU": "A", "Price": "1"}]


def test_the_same_row_twice_counts_once(put: Put, connect: Connect) -> None:
    put("p.csv", b"SKU,Price\nA,1\nA,1\n")
    assert values(connect("p.csv"), "SKU") == ["A"]


def test_cells_of_a_workbook_arrive_as_a_person_sees_them(put: Put, connect: Connect) -> None:
    def dress(book: Any) -> None:
        sheet = book["Prices"]
        sheet["B6"].number_format = "00000"
        sheet["B7"].number_format = "yyyy-mm-dd hh:mm"

    rows: list[list[Any]] = [
        ["SKU", "Value"],
        ["float", 0.1 + 0.2],
        ["int", 1234.0],
        ["money", 1234.5],
        ["tiny", 1e-7],
        ["padded", 123],
        ["midnight", datetime(2024, 2, 29)],
        ["day", date(2024, 2, 29)],
        ["moment", datetime(2024, 2, 29, 13, 5, 7)],
        ["clock", time(8, 30)],
        ["yes", True],
        ["code", "0012"],
        ["blank", "  "],
    ]
    put("p.xlsx", workbook(rows, dress))
    [page] = connect("p.xlsx").read("prices", None)
    assert [p.decode().split('"Value":')[1].rstrip("}") for p in page.payloads] == [
        "0.3", "1234", "1234.5", "0.0000001", '"00123"', '"2024-02-29T00:00:00"', '"2024-02-29"',
        '"2024-02-29T13:05:07"', '"08:30:00"', "true", '"0012"', "null",
    ]  # fmt: skip


def test_a_number_as_key_keeps_its_digits(put: Put, connect: Connect) -> None:
    put("p.xlsx", workbook([["SKU"], [4711], [12345678901234567890]]))
    connector = connect("p.xlsx")
    [page] = connector.read("prices", None)
    assert page.ids == ["4711"]
    assert "Prices!A3: the number is too long" in page.refused[0].reason


def test_header_names_are_mappable(put: Put, connect: Connect) -> None:
    put("p.xlsx", workbook([["SKU", "Tel.\nno", " Net  price "], ["A", "1", 2]]))
    assert records(connect("p.xlsx")) == [{"SKU": "A", "Tel_ no": "1", "Net price": 2}]


def test_title_rows_and_their_merged_cells_stand_above_the_header(put: Put, connect: Connect) -> None:
    rows = [["Price list"], [], *ROWS]
    put("p.xlsx", workbook(rows, lambda book: book["Prices"].merge_cells("A1:B1")))
    assert values(connect("p.xlsx"), "SKU") == ["A", "B", "C"]


@pytest.mark.parametrize("area", ["A1:B1", "A2:A3"], ids=["header", "rows"])
def test_merged_cells_are_refused_by_name(put: Put, connect: Connect, area: str) -> None:
    def merge(book: Any) -> None:
        book["Prices"].merge_cells(area)

    rows = [["SKU", None], ["A", 1], ["B", 2]] if area == "A1:B1" else ROWS
    put("p.xlsx", workbook(rows, merge))
    with pytest.raises(Misdeclared, match=f"Prices!{area}"):
        list(connect("p.xlsx").read("prices", None))


def test_a_formula_without_a_stored_result_is_not_an_empty_cell(put: Put, connect: Connect) -> None:
    put("p.xlsx", workbook([["SKU", "Price"], ["A", "=1+1"], ["B", 2]]))
    connector = connect("p.xlsx")
    assert values(connector, "SKU") == ["B"]
    assert "Prices!B2 holds a formula without a stored result" in refused(connector)[0]


def with_part(data: bytes, name: str, content: bytes, replace: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            if not (replace and item.filename == name):
                new.writestr(item, old.read(item))
        new.writestr(name, content)
    return out.getvalue()


def sheet_xml(change: Callable[[bytes], bytes]) -> bytes:
    data = workbook(ROWS)
    name = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        return with_part(data, name, change(package.read(name)), replace=True)


def test_a_formula_arrives_by_its_stored_result_and_an_error_by_its_cell(put: Put, connect: Connect) -> None:
    def store(xml: bytes) -> bytes:
        xml = xml.replace(b'<c r="B2" t="n"><v>1</v></c>', b'<c r="B2"><f>6*7</f><v>42</v></c>')
        return xml.replace(b'<c r="B3" t="n"><v>2</v></c>', b'<c r="B3" t="e"><f>X1</f><v>#REF!</v></c>')

    put("p.xlsx", sheet_xml(store))
    connector = connect("p.xlsx")
    assert records(connector) == [{"SKU": "A", "Price": 42}, {"SKU": "C", "Price": 3}]
    assert refused(connector) == ["Prices!B3 holds the error #REF!"]


HOSTILE = {
    "macros": lambda: with_part(workbook(ROWS), "xl/vbaProject.bin", b"x"),
    "links": lambda: with_part(workbook(ROWS), "xl/externalLinks/externalLink1.xml", b"<x/>"),
    "connections": lambda: with_part(workbook(ROWS), "xl/connections.xml", b"<x/>"),
    "way out": lambda: with_part(workbook(ROWS), "../evil.xml", b"<x/>"),
    "nested": lambda: with_part(workbook(ROWS), "xl/more.zip", b"PK"),
    "bomb": lambda: with_part(workbook(ROWS), "xl/media/a.xml", b"0" * 40_000_000),
    "entities": lambda: sheet_xml(lambda xml: b'<!DOCTYPE x [<!ENTITY a "b">]>' + xml),
    "cut": lambda: workbook(ROWS)[:-300],
    "damaged": lambda: workbook(ROWS)[:2000] + b"\0" * 50 + workbook(ROWS)[2050:],
    "password": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    "no zip": lambda: b"<html>Please log in</html>",
    "no workbook": lambda: with_part(b"PK\x05\x06" + b"\0" * 18, "a.txt", b"x"),
    "many parts": lambda: many_parts(),
    "empty": lambda: b"",
}


def many_parts() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for i in range(2_001):
            package.writestr(f"p{i}.xml", b"")
    return out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_workbook_that_is_not_safe_and_whole_is_refused(put: Put, connect: Connect, name: str) -> None:
    put("p.xlsx", HOSTILE[name]())
    with pytest.raises(SystemFault):
        list(connect("p.xlsx").read("prices", None))


def test_of_several_sheets_one_is_named(put: Put, connect: Connect) -> None:
    def add(book: Any) -> None:
        other = book.create_sheet("Old")
        other.append(["SKU"])
        other.append(["Z"])
        hidden = book.create_sheet("Lists")
        hidden.sheet_state = "hidden"

    put("p.xlsx", workbook(ROWS, add))
    with pytest.raises(Misdeclared, match="Prices, Old"):
        connect("p.xlsx").check()
    with pytest.raises(Misdeclared, match="found no Nope"):
        connect("p.xlsx", sheet="Nope").check()
    assert values(connect("p.xlsx", sheet="Old"), "SKU") == ["Z"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Misdeclared),
        ({"path": "missing.csv"}, Unreachable),
        ({"path": "../outside.csv"}, Misdeclared),
        ({"path": "book.xlsm"}, Misdeclared),
        ({"path": "picture.png"}, Misdeclared),
        ({"glob": "../*.csv"}, Misdeclared),
        ({"glob": "nothing-*.csv"}, Unreachable),
    ],
    ids=["nothing named", "missing", "outside", "macros", "no table", "glob outside", "no match"],
)
def test_only_tables_below_the_folder_are_read(
    put: Put, connect: Connect, tmp_path: Path, options: dict[str, Any], expected: type[Exception]
) -> None:
    (tmp_path.parent / "outside.csv").write_bytes(b"SKU\nA\n")
    put("book.xlsm", b"x")
    put("picture.png", b"x")
    with pytest.raises(expected):
        connect(**options).check()


def test_a_link_out_of_the_folder_is_not_followed(connect: Connect, tmp_path: Path) -> None:
    (tmp_path.parent / "secret.csv").write_bytes(b"SKU\nA\n")
    (tmp_path / "p.csv").symlink_to(tmp_path.parent / "secret.csv")
    with pytest.raises(Misdeclared, match="below"):
        connect(glob="*.csv").check()


def test_a_pattern_reads_its_files_as_one_list(put: Put, connect: Connect) -> None:
    put("2024/a.csv", b"SKU,Price\nA,1\n")
    put("2024/b.xlsx", [["Price", "SKU"], [2, "B"]])
    put("2024/~$b.xlsx", b"lock")
    assert values(connect(glob="2024/*.*"), "SKU") == ["A", "B"]


def test_pages_are_cut_and_say_which_is_the_last(put: Put, connect: Connect) -> None:
    put("p.xlsx", workbook(ROWS))
    pages = list(connect("p.xlsx", page_size=2).read("prices", None))
    assert [(p.ids, p.is_last, p.total) for p in pages] == [(["A", "B"], False, 3), (["C"], True, 3)]
    assert pages[0].cursor == {}


def test_unchanged_files_have_no_pages_since_their_cursor(put: Put, connect: Connect) -> None:
    put("p.csv", b"SKU,Price\nA,1\n")
    cursor = json.loads(json.dumps(list(connect("p.csv").read("prices", None))[-1].cursor))
    assert list(connect("p.csv").read("prices", cursor)) == []
    assert values(connect("p.csv"), "Price") == ["1"]


@pytest.mark.parametrize("what", ["content", "time", "declaration"])
def test_a_change_of_file_or_declaration_reads_all_rows_again(put: Put, connect: Connect, what: str) -> None:
    put("p.csv", b"SKU,Price\nA,1\n")
    cursor = list(connect("p.csv").read("prices", None))[-1].cursor
    put("p.csv", b"SKU,Price\nA,2\n" if what == "content" else b"SKU,Price\nA,1\n", OLD + 5 * (what == "time"))
    options = {"trim": True} if what == "declaration" else {}
    assert [p.ids for p in connect("p.csv", **options).read("prices", cursor)] == [["A"]]


def test_a_file_that_is_being_written_is_awaited(put: Put, connect: Connect, clock: FakeClock) -> None:
    path = put("p.csv", b"SKU,Price\nA,1\n", at=clock.time)
    left = [b"B,2\n", b"C,3\n"]

    def write_more() -> None:
        if left:
            path.write_bytes(path.read_bytes() + left.pop(0))

    clock.while_asleep = write_more
    assert values(connect("p.csv"), "SKU") == ["A", "B", "C"]


def test_a_file_that_is_never_quiet_is_transient(put: Put, connect: Connect, clock: FakeClock) -> None:
    path = put("p.csv", b"SKU,Price\nA,1\n", at=clock.time)
    clock.while_asleep = lambda: path.write_bytes(path.read_bytes() + b"B,2\n") and None
    with pytest.raises(Transient, match="still being written"):
        list(connect("p.csv").read("prices", None))


def test_a_child_list_names_parents_and_a_change_mark_is_passed_on(put: Put, connect: Connect) -> None:
    put("p.csv", b"Order,Line,At\n7,1,2024-01-01\n7,2,2024-01-02\n")
    lines = connect("p.csv", key=("Order", "Line"), changed="At", child_of=ChildOf("orders", "Order", "lines"))
    [page] = lines.read("prices", None)
    assert page.ids == ['["7","1"]', '["7","2"]']
    assert (page.parents, page.changed) == (["7", "7"], ["2024-01-01", "2024-01-02"])
    assert [r.id for r in lines.get("prices", ['["7","2"]', "x"])] == ['["7","2"]']


def test_hostile_text_is_only_text(put: Put, connect: Connect) -> None:
    hostile = [
        '=HYPERLINK("http://x")',
        "+cmd|' /C calc'!A0",
        "{{7*7}}",
        "<script>",
        "\u202ename",
        "'; DROP TABLE x; --",
    ]
    put("p.csv", ("SKU\tText\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(hostile))).encode())
    assert values(connect("p.csv", delimiter="\t"), "Text") == hostile
