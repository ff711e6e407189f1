"""Sheets that people keep in a spreadsheet, by the command line: nothing is lost, nothing is written unseen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from apps import exits
from apps.cli import run

TOP = Path(__file__).resolve().parents[3]
SHOP = TOP / "tests" / "fixtures" / "landscapes" / "shop"
DEMO = TOP / "deployments" / "demo"
HEADER = "source_system,source_field,target_system,target_field,rule,notes"
NOTES = (
    '=HYPERLINK(""http://x.example"")', "=1+1", "+44 20", "-5", "@SUM(A1)", "5", "0042", "1.50", "1-2", "2024-02-30",
    "TRUE", "#N/A", "_x0041_", "_x005F_x0041_", "naïve 東京 🙂", "\u202eabc", "'quoted",
)  # fmt: skip
NAME = "list,customers.Name,canonical,customer.name,trim"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A landscape of one's own, named by the environment."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    monkeypatch.setenv("CONCORD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(folder))
    return folder


def _sheets(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "mappings").iterdir()}


def _exported(tmp_path: Path, *more: str) -> Path:
    book = tmp_path / "sheets.xlsx"
    assert run(["mapping", "export", "--to", str(book), "--yes", *more]) == 0
    return book


def _edited(book: Path, edit: Callable[[Worksheet], object], sheet: str = "list") -> Path:
    """Saved by a spreadsheet program after somebody typed into it."""
    loaded = openpyxl.load_workbook(book)
    edit(loaded[sheet])
    loaded.save(book)
    return book


# ---- there and back


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{HEADER}\n{NAME},\n", id="plain"),
        pytest.param(f"{HEADER}\n{NAME},", id="no-newline-at-the-end"),
        pytest.param(f"\ufeff{HEADER}\r\n{NAME},\r\n\r\n,,,,,\r\n", id="bom-crlf-blank-rows-at-the-end"),
        pytest.param(f"\n# who they are, in short\n{HEADER}\n\n{NAME},x\n# the end", id="comments-and-blank-rows"),
        pytest.param(f"{HEADER.replace(',', ';')}\n{NAME.replace(',', ';')};a, b \n", id="semicolons"),
        pytest.param(f"{HEADER}\n" + ",".join(f'"{c}"' for c in NAME.split(",")) + ',"say ""hi"", so"\n', id="quotes"),
        pytest.param(f"{HEADER}\n list , customers.Name,canonical,customer.name, trim,\n", id="blanks-around-cells"),
        pytest.param(f"{HEADER},,\n{NAME},,,\n", id="empty-columns-at-the-right"),
        pytest.param(
            "Target System,target_field,Source_System,source_field,notes,rule\n"
            "canonical,customer.name,list,customers.Name,,trim\n",
            id="columns-in-another-order",
        ),
        pytest.param(
            "notes,rule,source_system,source_field,target_system,target_field\n"
            "#1 of them,trim,list,customers.Name,canonical,customer.name\n",
            id="notes-first-no-comments",
        ),
        pytest.param(
            f"{HEADER}\n{NAME},\n"
            + "".join(f'list,customers.x{n},ignore,-,,"{note}"\n' for n, note in enumerate(NOTES)),
            id="notes-that-look-like-something-else",
        ),
    ],
)
def test_an_untouched_sheet_comes_back_to_the_byte(
    text: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "mappings" / "list.csv").write_bytes(text.encode())
    before = _sheets(shop)
    book = _exported(tmp_path)
    assert run(["mapping", "import", str(book)]) == 0
    _edited(book, lambda sheet: None)  # saved again by another program, nothing typed
    assert run(["mapping", "import", str(book)]) == 0
    assert capsys.readouterr().out.count("nothing to write") == 2
    assert _sheets(shop) == before


def test_an_edit_changes_its_own_line_alone(shop: Path, tmp_path: Path) -> None:
    lines = [HEADER.encode(), b"# quoted as ever", b'"list","customers.Name",canonical,customer.name,"trim",""', b""]
    lines += [b"list,customers.Mail,canonical,customer.email,,x", b""]
    (shop / "mappings" / "list.csv").write_bytes(b"\r\n".join(lines))
    book = _edited(_exported(tmp_path), lambda sheet: sheet.cell(5, 5, "trim | lower"))
    assert run(["mapping", "import", str(book), "--yes"]) == 0
    lines[4] = b"list,customers.Mail,canonical,customer.email,trim | lower,x"
    assert (shop / "mappings" / "list.csv").read_bytes() == b"\r\n".join(lines)


def test_every_cell_is_text_and_safe(shop: Path, tmp_path: Path) -> None:
    (shop / "mappings" / "list.csv").write_text(f"{HEADER}\n{NAME},=1+1\n")
    sheet = openpyxl.load_workbook(_exported(tmp_path))["list"]
    cells = [cell for row in sheet.iter_rows(max_row=2) for cell in row]
    assert {cell.data_type for cell in cells} == {"s"}
    assert {cell.number_format for cell in cells} == {"@"}
    assert (cells[-1].value, cells[-1].quotePrefix) == ("=1+1", True)
    assert sheet.column_dimensions["F"].number_format == "@"  # what is typed later stays text too


def test_a_workbook_is_made_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(DEMO))
    book = openpyxl.load_workbook(_exported(tmp_path))
    sheets = sorted(path.stem for path in (DEMO / "mappings").glob("*.csv"))
    assert book.sheetnames[: len(sheets)] == sheets
    assert {"(crm standard)", "(accounting standard)", "(rules)", "_concord"} <= set(book.sheetnames[len(sheets) :])
    assert book["_concord"].sheet_state == "hidden"
    crm = book["crm"]
    assert crm.freeze_panes == "A2"
    assert all(crm.column_dimensions[letter].width > 12 for letter in "ABCDEF")
    offered = {str(v.sqref).split(":")[0]: _offered(book, v.formula1) for v in crm.data_validations.dataValidation}
    assert set(offered) == {"A2", "B2", "C2", "D2", "E2"}
    assert {"crm", "canonical"} <= set(offered["A2"])
    assert "ignore" in offered["C2"]
    assert {"companies.properties.name", "customer.address.postcode", "order.lines.quantity"} <= set(offered["B2"])
    assert "contacts.Name" not in offered["B2"]  # another system's
    assert "date [DD/MM/YYYY …]" in offered["E2"]
    standard = book["(crm standard)"]
    assert standard.protection.sheet
    by = {row[1].value: row[6].value for row in standard.iter_rows(min_row=2)}
    assert by["companies.properties.name"].startswith("mappings/crm.csv:")
    assert by["companies.archived"] is None


def _offered(book: openpyxl.Workbook, formula: str) -> list[str]:
    _, column, first, _, last = formula.replace(":", "").split("$")
    return [str(cell.value) for (cell,) in book["_concord"][f"{column}{first}:{column}{last}"]]


def test_only_the_sheets_of_a_system(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = openpyxl.load_workbook(_exported(tmp_path, "--system", "desk"))
    assert [name for name in book.sheetnames if name[0].isalpha()] == ["desk"]
    assert run(["mapping", "import", str(tmp_path / "sheets.xlsx")]) == 0
    assert "mappings/desk.csv as it stands" in capsys.readouterr().out
    assert run(["mapping", "export", "--to", str(tmp_path / "x.xlsx"), "--system", "dsk"]) == exits.REFUSED
    assert "did you mean desk" in capsys.readouterr().err


def test_a_system_without_a_sheet_is_given_one_to_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    main = folder / "landscape.yaml"
    text = main.read_text()
    second = "  crm-two: {connector: hubspot, token: {env: CRM_TWO}, owner: head-of-sales}\n"
    main.write_text(text.replace("\nsystems:\n", "\nsystems:\n" + second, 1))
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(folder))
    book = _exported(tmp_path, "--system", "crm-two")
    assert [name for name in openpyxl.load_workbook(book).sheetnames if name[0] != "_"] == [
        "crm-two", "(crm-two standard)", "(rules)",
    ]  # fmt: skip
    assert run(["mapping", "import", str(book)]) == 0
    assert "nothing to write" in capsys.readouterr().out
    row = ["crm-two", "companies.properties.name", "canonical", "customer.name", "trim | upper"]
    _edited(book, lambda sheet: [sheet.cell(2, n, value) for n, value in enumerate(row, start=1)], "crm-two")
    assert run(["mapping", "import", str(book), "--yes"]) == 0
    assert "run no more: yours replace them" in capsys.readouterr().out
    assert (folder / "mappings" / "crm-two.csv").read_text() == f"{HEADER}\n{','.join(row)},\n"


def test_a_workbook_is_not_written_over_unasked(shop: Path, tmp_path: Path) -> None:
    book = _exported(tmp_path)
    before = book.read_bytes()
    assert run(["mapping", "export", "--to", str(book)]) == exits.REFUSED
    assert run(["mapping", "export", "--to", str(tmp_path / "sheets.csv")]) == exits.REFUSED
    assert book.read_bytes() == before
    assert run(["mapping", "export", "--to", str(tmp_path / "no" / "sheets.xlsx")]) == exits.REFUSED


# ---- the way in: seen, checked, agreed


def _typed(sheet: Worksheet) -> None:
    """One row changed, one added, one removed, one moved to the end."""
    sheet["E5"] = "phone DE"
    sheet.delete_rows(4)
    moved = [cell.value for cell in sheet[2]]
    sheet.delete_rows(2)
    for column, value in enumerate(moved, start=1):
        sheet.cell(8, column, value)
    for column, value in enumerate(["list", "customers.From", "ignore", "-", None, "new"], start=1):
        sheet.cell(9, column, value)


def test_a_reviewer_reads_rows_not_lines(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _sheets(shop)
    book = _edited(_exported(tmp_path), _typed)
    capsys.readouterr()
    assert run(["mapping", "import", str(book)]) == exits.REFUSED  # nobody to ask
    said = capsys.readouterr()
    assert "add --yes" in said.err
    assert "removed: 1 row\n- list customers.Mail → canonical customer.email" in said.out
    assert "added: 1 row\n+ list customers.From ignored" in said.out
    assert "changed: 1 row\n~ list customers.Phone → canonical customer.phone" in said.out
    assert "rule: “phone GB” → “phone DE”" in said.out
    assert "17 rows unchanged" in said.out
    assert _sheets(shop) == before
    assert run(["mapping", "import", str(book), "--yes"]) == 0
    assert b"customers.Mail" not in (shop / "mappings" / "list.csv").read_bytes()
    assert run(["mapping", "import", str(book)]) == 0
    assert not [path for path in (shop / "mappings").iterdir() if path.name.startswith(".")]


def test_the_whole_landscape_is_checked_before_anything_is_written(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _sheets(shop)

    def edit(sheet: Worksheet) -> None:
        sheet["B2"], sheet["D3"], sheet["E4"] = "custmers.Name", "customer.tax", "trimm"
        sheet.insert_rows(2)

    book = _edited(_exported(tmp_path), edit)
    assert run(["mapping", "import", str(book), "--yes"]) == exits.REFUSED
    said = capsys.readouterr().err
    assert "sheets.xlsx:3: worksheet list, cell B3 (source_field): expected a stream of list" in said
    assert "sheets.xlsx:4: worksheet list, cell D4 (target_field): expected a field of customer" in said
    assert "worksheet list, cell E5 (rule): expected one of" in said
    assert "Did you mean trim?" in said
    assert _sheets(shop) == before


def test_what_a_sheet_breaks_elsewhere_is_told_too(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = _edited(_exported(tmp_path), lambda sheet: sheet.delete_rows(8, 6), "desk")
    assert run(["mapping", "import", str(book), "--yes", "--remove-many"]) == exits.REFUSED
    assert "landscape.yaml" in capsys.readouterr().err  # an integration without a row to its target


def test_standard_rows_that_run_again_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DEMO, tmp_path / "demo")
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(tmp_path / "demo"))

    def edit(sheet: Worksheet) -> None:
        for row in sheet.iter_rows(min_row=2):
            if row[1].value == "companies.properties.zip":
                for cell in row:
                    cell.value = None
            elif row[3].value == "contacts.properties.jobtitle":
                row[4].value = "upper"

    book = _edited(_exported(tmp_path), edit, "crm")
    capsys.readouterr()
    assert run(["mapping", "import", str(book), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "run again" in said
    assert "crm companies.properties.zip → canonical customer.address.postcode  [trim]  (connectors/hubspot" in said


def test_what_was_edited_meanwhile_is_not_undone_in_silence(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = _edited(_exported(tmp_path), lambda sheet: sheet.cell(2, 6, "typed"))
    path = shop / "mappings" / "list.csv"
    path.write_text(path.read_text().replace("trim | lower", "trim"))
    assert run(["mapping", "import", str(book), "--yes"]) == exits.REFUSED
    assert "changed since sheets.xlsx was made" in capsys.readouterr().err
    assert run(["mapping", "import", str(book), "--yes", "--over-newer"]) == 0
    assert "trim | lower" in path.read_text()


def test_a_new_worksheet_is_a_new_sheet(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = tmp_path / "by-hand.xlsx"
    made = openpyxl.Workbook()
    made.active.title = "extra"  # type: ignore[union-attr]
    made.active.append(HEADER.split(","))  # type: ignore[union-attr]
    made.active.append(["desk", "clients.vip", "ignore", "-", None, 5])  # type: ignore[union-attr]
    made.create_sheet("Sheet2")
    made.create_sheet("(notes to ourselves)").append(["anything"])
    made.save(book)
    assert run(["mapping", "import", str(book), "--yes"]) == 0
    assert "new sheet: mappings/extra.csv" in capsys.readouterr().out
    assert (shop / "mappings" / "extra.csv").read_text() == f"{HEADER}\ndesk,clients.vip,ignore,-,,5\n"


def test_a_workbook_among_the_sheets_is_not_passed_over(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = _edited(_exported(tmp_path), lambda sheet: sheet.cell(2, 6, "typed"))
    book = book.rename(shop / "mappings" / "sheets.xlsx")
    assert run(["check", "--offline"]) == exits.REFUSED
    assert "mappings/sheets.xlsx: the file's place: expected a sheet as CSV" in capsys.readouterr().err
    assert run(["mapping", "import", str(book), "--yes"]) == 0
    book.unlink()
    assert run(["check", "--offline"]) == 0


def test_a_sheet_that_was_hidden_is_read_all_the_same(shop: Path, tmp_path: Path) -> None:
    def edit(sheet: Worksheet) -> None:
        sheet["F2"] = "typed and hidden"
        sheet.sheet_state = "hidden"

    assert run(["mapping", "import", str(_edited(_exported(tmp_path), edit)), "--yes"]) == 0
    assert "typed and hidden" in (shop / "mappings" / "list.csv").read_text()


def test_all_sheets_are_written_or_none(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from apps.commands import mapping_sheets

    before = _sheets(shop)
    book = _exported(tmp_path)
    for sheet in ("list", "desk"):
        _edited(book, lambda s: s.cell(2, 6, "typed"), sheet)
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if target.name == "list.csv" and not source.read_bytes() == before["list.csv"]:
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(mapping_sheets.os, "replace", fail)
    assert run(["mapping", "import", str(book), "--yes"]) != 0
    assert _sheets(shop) == before
    assert "Traceback" not in capsys.readouterr().err


def test_a_csv_from_elsewhere_comes_in_the_same_way(shop: Path, tmp_path: Path) -> None:
    path = shop / "mappings" / "list.csv"
    before = path.read_bytes()
    other = tmp_path / "list.csv"
    other.write_bytes(b"\xef\xbb\xbf" + before.replace(b",", b";").replace(b"\n", b"\r\n") + b"\r\n;;;;;\r\n")
    assert run(["mapping", "import", str(other)]) == exits.REFUSED  # a blank row more: it asks
    assert run(["mapping", "import", str(other), "--yes"]) == 0
    assert path.read_bytes().startswith(before)
    assert path.read_bytes()[len(before) :].strip(b",\n") == b""


# ---- diff


def test_folders_and_files_are_compared_by_meaning(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = _edited(_exported(tmp_path), _typed)
    capsys.readouterr()
    assert run(["mapping", "diff", str(SHOP), str(book), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["source_field"] for row in found["added"]] == ["customers.From"]
    assert found["added"][0]["file"].endswith("sheets.xlsx list")
    assert found["added"][0]["line"] == 9
    assert [row["source_field"] for row in found["removed"]] == ["customers.Mail"]
    assert [change["fields"] for change in found["changed"]] == [{"rule": {"old": "phone GB", "new": "phone DE"}}]
    assert found["unchanged"] == 17
    assert found["losses"] == [{"system": "list", "before": 7, "removed": 1, "is_many": False}]
    assert run(["mapping", "diff", str(SHOP / "mappings"), str(shop)]) == 0
    assert "no difference in meaning (19 rows)" in capsys.readouterr().out


def test_a_row_that_goes_elsewhere_is_one_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text(f"{HEADER}\n{NAME},\ncrm,c.vip,canonical,customer.vip,,\ncanonical,,erp,c.Status,const A,\n")
    b.write_text(f"{HEADER}\ncanonical,,erp,c.Status,const B,\ncrm,c.vip,ignore,-,,\n{NAME}.x,\n")
    assert run(["mapping", "diff", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["added"], found["removed"]) == ([], [])
    assert [list(change["fields"]) for change in found["changed"]] == [
        ["rule"],
        ["target_system", "target_field"],
        ["rule"],
    ]
    assert found["losses"] == [{"system": "crm", "before": 1, "removed": 1, "is_many": True}]


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["mapping", "diff", str(tmp_path / "empty"), str(SHOP)]) == exits.REFUSED
    assert run(["mapping", "diff", str(tmp_path / "none.csv"), str(SHOP)]) == exits.REFUSED
    assert run(["mapping", "diff", str(SHOP / "landscape.yaml"), str(SHOP)]) == exits.REFUSED
    assert "Traceback" not in capsys.readouterr().err


# ---- bad inputs 60 to 65 (RELIABILITY 3)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        *(
            pytest.param("    fallback:", f"    {text}\n    fallback:", words, id=f"60-{text}")
            for text, words in {
                'brake: {deletes: "0"}': "brake.deletes: expected a threshold",
                'brake: {deletes: "max(0, 0%)"}': "brake.deletes: expected a threshold",
                'brake: {changes: "max(5, 101%)"}': "brake.changes: expected a threshold",
                'brake: {changes: "101%"}': "brake.changes: expected a threshold",
                "brake: {blanked: -5}": "brake.blanked: expected a threshold",
                'brake: {blanked: "-5%"}': "brake.blanked: expected a threshold",
                'brake: {money: "0%"}': "brake.money: expected a percentage",
                'brake: {money: "101%"}': "brake.money: expected a percentage",
                "brake: {count_drop: -0.1}": "brake.count_drop: expected a percentage",
                'sla: {accuracy: "101%"}': "sla.accuracy: expected a percentage",
                "sla: {timeliness: 0m}": "sla.timeliness: expected a duration",
                "sla: {timeliness: -5m}": "sla.timeliness: expected a duration",
                "level: 0": "level: expected a whole number from 1 to 4",
                "level: -1": "level: expected a whole number from 1 to 4",
            }.items()
        ),
        *(
            pytest.param("*/15 * * * *", cron, words, id=f"61-{cron}")
            for cron, words in {
                "* * * * * *": "five fields",
                "*/1 * * * * *": "five fields",
                "@every 1s": "five fields",
                "0 0 31 2 *": "Bad day-of-month",
                "0 0 30 2 *": "Bad day-of-month",
                "60 * * * *": "five fields",
                "*/0 * * * *": "five fields",
                "-1 * * * *": "five fields",
            }.items()
        ),
    ],
)
def test_thresholds_and_schedules_that_cannot_be_meant(
    old: str, new: str, expected: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shop / "landscape.yaml"
    path.write_text(path.read_text().replace(old, new))
    assert run(["check", "--offline"]) == exits.REFUSED
    said = capsys.readouterr().err
    assert "landscape.yaml:" in said
    assert expected in said


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('tolerance: "0"', "tolerance: expected a threshold"),
        ('tolerance: "max(0, 0%)"', "tolerance: expected a threshold"),
        ('tolerance: "101%"', "tolerance: expected a threshold"),
        ("tolerance: -1", "tolerance: expected a threshold"),
        ('volume: {at_least: "0%"}', "volume.at_least: expected a percentage"),
        ('volume: {at_least: "101%"}', "volume.at_least: expected a percentage"),
        ("volume: {at_least: -0.5}", "volume.at_least: expected a percentage"),
    ],
    ids=lambda value: f"60-{value}" if "expected" not in value else "",
)
def test_expectations_that_stop_everything_or_nothing(
    line: str, expected: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "expectations").mkdir()
    (shop / "expectations" / "customer.yaml").write_text(f"entity: customer\n{line}\n")
    assert run(["check", "--offline"]) == exits.REFUSED
    assert f"expectations/customer.yaml:2: {expected}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{HEADER.replace(',', ';')}\n{NAME.replace(',', ';')};\n", id="62-semicolons"),
        pytest.param(f"{HEADER}\n{NAME},\n".replace(",", "\t"), id="62-tabs"),
        pytest.param(f"\ufeff{HEADER}\r\n{NAME},\r\n", id="62-bom-and-crlf"),
        pytest.param(f"{HEADER}\n\n{NAME},\n\n,,,,,\n", id="62-blank-rows"),
    ],
)
def test_harmless_forms_of_a_sheet_are_read(text: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "mappings" / "list.csv").write_bytes(text.encode())
    assert run(["mapping", "show", "list", "--json"]) == 0
    assert [row["target_field"] for row in json.loads(capsys.readouterr().out)] == ["customer.name"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            f"{HEADER[: HEADER.index(',notes')]}\n{NAME}\n", "the column notes, found no such", id="62-missing"
        ),
        pytest.param(f"{HEADER},rule\n{NAME},,\n", "once rule, found it twice", id="62-twice"),
        pytest.param("source_system,,target_system,,rule,notes\n", "the column source_field", id="62-merged-header"),
        pytest.param(f'{HEADER}\n{NAME},"a\nb"\n', "row 2, column notes: expected", id="62-quoted-newline"),
        pytest.param(f"{HEADER}\n{NAME},{'x' * 131_073}\n", "row 2, cell 6: expected at most 131,072", id="62-huge"),
        pytest.param(f"{HEADER}\n{NAME},{'x' * 10_001}\n", "row 2, column notes: expected at most", id="62-long"),
        pytest.param(
            f"{HEADER}\nlist,2024-01-02,canonical,customer.name,,\n", "row 2, column source_field", id="62-date"
        ),
        pytest.param(f"{HEADER}\n", "at least one row below the header", id="63-no-rows"),
        pytest.param("", "the columns source_system", id="63-nothing"),
    ],
)
@pytest.mark.parametrize("way", ["check", "import"])
def test_sheets_that_could_lose_a_row_are_refused(
    text: str, expected: str, way: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _sheets(shop)
    place = shop / "mappings" / "list.csv" if way == "check" else tmp_path / "list.csv"
    place.write_bytes(text.encode())
    arguments = (
        ["check", "--offline"] if way == "check" else ["mapping", "import", str(place), "--yes", "--remove-many"]
    )
    assert run(arguments) == exits.REFUSED
    assert expected in capsys.readouterr().err
    if way == "import":
        assert _sheets(shop) == before


@pytest.mark.parametrize(
    ("cell", "value", "expected"),
    [
        pytest.param("F2", date(2024, 1, 2), "cell F2: expected text", id="62-date"),
        pytest.param("E2", "=1+1", "cell E2: expected text (format the column as text", id="62-formula"),
        pytest.param("F2", 1.5, "cell F2: expected text", id="62-decimal"),
        pytest.param("F2", True, "cell F2: expected text", id="62-truth"),
        pytest.param("A1", None, "worksheet list, row 1: expected the column source_system", id="62-missing-column"),
        pytest.param("F1", "rule", "worksheet list, row 1: expected once rule", id="62-column-twice"),
        pytest.param("H2", "beside", "cell H2: expected nothing beside", id="62-value-beside"),
        pytest.param("F2", "a\nb", "cell F2 (notes): expected", id="62-newline"),
        pytest.param("F2", "x" * 10_001, "cell F2 (notes): expected at most 10000", id="62-long"),
        pytest.param("F30000", "x", "row 30000: expected at most 20,000 rows", id="62-far-away"),
    ],
)
def test_cells_that_a_spreadsheet_has_made_something_else_of(
    cell: str, value: object, expected: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _sheets(shop)

    def edit(sheet: Worksheet) -> None:
        sheet[cell].number_format = "General"
        sheet[cell] = value

    book = _edited(_exported(tmp_path), edit)
    assert run(["mapping", "import", str(book), "--yes"]) == exits.REFUSED
    assert expected in capsys.readouterr().err
    assert _sheets(shop) == before


def test_merged_cells_are_refused(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = _edited(_exported(tmp_path), lambda sheet: sheet.merge_cells("A1:B1"))
    assert run(["mapping", "import", str(book), "--yes"]) == exits.REFUSED
    assert "worksheet list, cells A1:B1: expected one value a cell, found merged cells" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [(2, 7), (1, 8)], ids=["63-header-alone", "63-nothing-at-all"])
def test_a_sheet_of_no_rows_is_not_a_wish(
    rows: tuple[int, int], shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _sheets(shop)
    book = _edited(_exported(tmp_path), lambda sheet: sheet.delete_rows(*rows))
    assert run(["mapping", "import", str(book), "--yes", "--remove-many"]) == exits.REFUSED
    assert "worksheet list" in capsys.readouterr().err
    assert _sheets(shop) == before


@pytest.mark.parametrize("kind", ["removed", "ignored"])
def test_64_half_of_a_systems_mappings_need_a_word_of_their_own(
    kind: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _sheets(shop)

    def edit(sheet: Worksheet) -> None:
        if kind == "removed":
            sheet.delete_rows(5, 4)
            return
        for row in range(5, 9):
            sheet.cell(row, 3, "ignore")
            sheet.cell(row, 4, "-")
            sheet.cell(row, 5).value = None

    book = _edited(_exported(tmp_path), edit)
    assert run(["mapping", "import", str(book), "--yes"]) == exits.REFUSED
    assert "list would lose 4 of 7 mappings" in capsys.readouterr().err
    assert _sheets(shop) == before
    assert run(["mapping", "import", str(book), "--remove-many"]) == exits.REFUSED  # the usual question stays
    assert _sheets(shop) == before
    assert run(["mapping", "import", str(book), "--remove-many", "--yes"]) == 0
    assert _sheets(shop) != before


@pytest.mark.parametrize(("answer", "code"), [("4", 0), ("y", 2), ("", 2)])
def test_64_a_person_types_the_number(
    answer: str, code: int, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps import screen
    from apps.commands import mapping_sheets

    asked: list[str] = []

    def type_in(question: str, **_: object) -> str:
        asked.append(question)
        return answer if "Type" in question else "y"

    book = _edited(_exported(tmp_path), lambda sheet: sheet.delete_rows(5, 4))
    monkeypatch.setattr(mapping_sheets, "is_interactive", lambda: True)
    monkeypatch.setattr("apps.session.is_interactive", lambda: True)
    monkeypatch.setattr(screen.err(), "input", type_in)
    assert run(["mapping", "import", str(book)]) == code
    assert asked[0] == "list would lose 4 of 7 mappings. Type 4 if that is meant: "


@pytest.mark.parametrize(
    ("part", "content", "expected"),
    [
        pytest.param("xl/externalLinks/externalLink1.xml", b"<x/>", "links to other workbooks", id="65-external-links"),
        pytest.param("xl/vbaProject.bin", b"\xd0", "macros", id="65-macros"),
        pytest.param("xl/connections.xml", b"<x/>", "data connections", id="65-connections"),
        pytest.param("xl/embeddings/a.bin", b"x", "embedded files", id="65-embedded"),
        pytest.param("xl/more.xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x/>", "its own entities", id="101-entities"),
        pytest.param("../evil.xml", b"<x/>", "a path out of it", id="102-path"),
        pytest.param("xl/inner.zip", b"PK", "another archive", id="102-nested"),
        pytest.param("xl/zeros.xml", b"0" * 70_000_000, "zip bomb", id="102-ratio"),
    ],
)
def test_unsafe_workbooks_are_not_read(
    part: str, content: bytes, expected: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zipfile

    book = _exported(tmp_path)
    with zipfile.ZipFile(book, "a", zipfile.ZIP_DEFLATED) as package:
        package.writestr(part, content)
    assert run(["mapping", "import", str(book), "--yes"]) == exits.REFUSED
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.xlsx", b""),
        ("a.xlsx", b"PK\x03\x04 cut short"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 an old .xls"),
        ("a.xls", b"x"),
        ("list.csv", b"PK\x03\x04"),
        ("list.csv", "source_system;café".encode("latin-1")),
    ],
    ids=["empty", "cut", "old", "other-kind", "workbook-as-csv", "latin-1"],
)
def test_files_that_are_no_sheets(
    name: str, data: bytes, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert run(["mapping", "import", str(tmp_path / name), "--yes"]) == exits.REFUSED
    assert "Traceback" not in capsys.readouterr().err
