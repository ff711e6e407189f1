"""The queues as a workbook for a meeting: harmless to open, and its answers come back whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from apps import exits
from tests.fixtures.desk import Desk, DeskBench
from tests.fixtures.said import Concord, speaker

pytestmark = pytest.mark.slow

EVIL = '=HYPERLINK("http://evil.example","Bad")'


@pytest.fixture
def concord(desk: DeskBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Concord:
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "correct horse")
    return speaker(capsys)


@pytest.fixture
def waiting(desk: DeskBench) -> DeskBench:
    """A hold over twelve names, two refused writes, three quarantined records, a finding."""
    source: Desk = desk.source
    source.refuses = lambda body: ("email", EVIL) if "refused" in str(body.get("email")) else None
    source.tick(minutes=1)
    for number in (1, 2):
        source.put(f"r{number:02}", email=f"refused{number}@example.com")
    desk.sync()
    source.tick(minutes=1)
    for number in range(10, 22):
        source.put(f"r{number}", name=f"New Name {number} Ltd")
    for number in (30, 31, 32):
        source.put(f"r{number}", email="no address")
    entry = next(e for e in source.ledger.values() if e["name"] == "Guest 35 Ltd")
    entry["name"] = EVIL
    desk.sync()
    assert len(desk.holds()) == 1
    return desk


def sheet_of(path: Path, title: str) -> tuple[Any, Any, dict[str, int]]:
    book = load_workbook(path)
    sheet = book[title]
    return book, sheet, {str(cell.value): int(cell.column or 0) for cell in sheet[1]}


def answer(path: Path, title: str, row: int, decision: str, reason: str = "agreed in the meeting") -> None:
    book, sheet, at = sheet_of(path, title)
    sheet.cell(row, at["decision"]).value = decision
    sheet.cell(row, at["reason for it"]).value = reason
    book.save(path)


def test_a_workbook_that_does_nothing_when_it_is_opened(waiting: DeskBench, concord: Concord, tmp_path: Path) -> None:
    book = tmp_path / "meeting.xlsx"
    waiting.run_sql("update ops.dead_letter set field = null, reason = :evil", evil=EVIL)
    assert concord("queues", "export", str(book)).code == exits.DONE
    opened = load_workbook(book)
    assert [s.title for s in opened if s.sheet_state == "visible"] == [
        "Holds", "Reviews", "Dead letters", "Quarantine", "Findings",
    ]  # fmt: skip
    cells = [cell for sheet in opened for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s"}
    looks = [cell for cell in cells if str(cell.value).startswith("=")]
    assert looks
    assert all(cell.quotePrefix for cell in looks)
    assert any(EVIL in str(cell.value) for cell in cells)
    _, letters, at = sheet_of(book, "Dead letters")
    row = {name: letters.cell(2, column).value for name, column in at.items()}
    assert (row["for"].split(" ")[0], row["decision"]) == ("boss", None)
    assert all(row[name] for name in ("id", "cause", "what", "record", "age", "due", "can be done"))
    assert letters.data_validations.dataValidation[0].formula1 == '"replay,close"'


def test_the_answers_of_a_meeting(waiting: DeskBench, concord: Concord, tmp_path: Path) -> None:
    book = tmp_path / "meeting.xlsx"
    concord("queues", "export", str(book))
    answer(book, "Holds", 2, "Approve")
    answer(book, "Dead letters", 2, "close")
    answer(book, "Dead letters", 3, "replay")
    answer(book, "Quarantine", 2, "discard")
    assert concord("queues", "import", str(book), "--by", "boss").code == exits.REFUSED, "nobody confirmed"
    dry = concord("queues", "import", str(book), "--by", "boss", "--dry-run", "--json")
    assert dry.json["answers"] == {
        "dead-letters: close": 1, "dead-letters: replay": 1, "holds: approve": 1, "quarantine: discard": 1,
    }  # fmt: skip
    assert len(waiting.holds()) == 1
    waiting.source.refuses = None
    done = concord("queues", "import", str(book), "--by", "boss", "--yes", "--json")
    assert (done.code, {c["outcome"] for c in done.json["carried"]}) == (exits.DONE, {"done"})
    again = concord("queues", "import", str(book), "--by", "boss", "--yes", "--json")
    assert {c["outcome"] for c in again.json["carried"]} == {"nothing to do"}
    waiting.sync()
    names = {str(e["name"]) for e in waiting.source.ledger.values()}
    assert {f"New Name {n} Ltd" for n in range(10, 22)} <= names
    ends = waiting.rows(
        "select 'letter' as q, closed_by, closed_because from ops.dead_letter where state <> 'open' union all"
        " select 'quarantine', closed_by, closed_because from ops.quarantine where state <> 'open' union all"
        " select 'hold', closed_by, closed_because from ops.hold where state <> 'open'"
    )
    assert {(e["closed_by"], e["closed_because"]) for e in ends} == {("boss", "agreed in the meeting")}
    assert [e["q"] for e in ends] == ["letter", "letter", "quarantine", "hold"]
    assert waiting.agrees()


def test_every_mistake_is_told_by_its_cell_and_nothing_is_done(
    waiting: DeskBench, concord: Concord, tmp_path: Path
) -> None:
    book = tmp_path / "meeting.xlsx"
    concord("queues", "export", str(book))
    answer(book, "Holds", 2, "approve")
    answer(book, "Dead letters", 2, "perhaps")
    answer(book, "Dead letters", 3, "replay", reason="")
    answer(book, "Quarantine", 2, "=1+1")
    said = concord("queues", "import", str(book), "--by", "boss", "--yes")
    assert said.code == exits.REFUSED
    for cell in ("Dead letters!I2", "Dead letters!J3", "Quarantine, cell I2"):
        assert cell in said.err
    assert "3 problems" in said.err
    assert len(waiting.holds()) == 1
    assert waiting.rows("select id from ops.approval") == []


def test_an_entry_that_says_something_else_by_now_is_not_answered(
    waiting: DeskBench, concord: Concord, tmp_path: Path
) -> None:
    book = tmp_path / "meeting.xlsx"
    concord("queues", "export", str(book))
    answer(book, "Quarantine", 2, "discard")
    waiting.run_sql("update ops.quarantine set reason = 'another reason' where state = 'open'")
    said = concord("queues", "import", str(book), "--by", "boss", "--yes")
    assert (said.code, "export again" in said.err, "Quarantine!I2" in said.err) == (exits.REFUSED, True, True)
    assert {e["state"] for e in waiting.rows("select state from ops.quarantine")} == {"open"}


def test_the_overview_counts_by_cause(waiting: DeskBench, concord: Concord) -> None:
    rows = concord("queues", "list", "--json").json["queues"]
    counted = {(r["command"], r["cause"], r["owner"]): r["count"] for r in rows}
    assert counted["holds", "brake", "head"] == 1
    assert sum(n for (command, *_), n in counted.items() if command == "dead-letters") == 2
    assert sum(n for (command, *_), n in counted.items() if command == "quarantine") == 3
    only = concord("queues", "list", "--queue", "holds", "--json").json["queues"]
    assert {r["command"] for r in only} == {"holds"}
    assert "concord queues export" in concord("queues", "list").out
    waiting.run_sql("update ops.hold set due_at = now() - interval '1 hour'")
    assert next(r["overdue"] for r in concord("queues", "list", "--json").json["queues"] if r["queue"] == "hold") == 1
