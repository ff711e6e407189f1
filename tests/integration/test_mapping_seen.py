"""What was read is offered to whoever maps it, and every field that is read says how it could be written back."""

from __future__ import annotations

import json
from pathlib import Path

import openpyxl
import pytest

from apps.cli import run
from tests.fixtures.mainjob import MainJob


def test_fields_that_were_seen_are_offered(
    shared_job: MainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(shared_job.folder))
    path = shared_job.folder / "mappings" / "legacy.csv"
    lines = [line for line in path.read_text().splitlines() if ",ignore," not in line or "clients" not in line]
    path.write_text("\n".join(lines) + "\n")
    offered = {}
    for more in ((), ("--seen",)):
        book = tmp_path / f"{len(more)}.xlsx"
        assert run(["mapping", "export", "--to", str(book), "--system", "legacy", *more]) == 0
        lists = openpyxl.load_workbook(book)["_concord"]
        column = next(cells for cells in lists.iter_cols(min_col=4, values_only=True) if cells[0] == "legacy")
        offered[more] = {value for value in column if value}
    assert offered[("--seen",)] > offered[()]
    assert "clients.deleted_flag" in offered[("--seen",)] - offered[()]
    capsys.readouterr()
    run(["mapping", "report", "legacy", "--json"])
    streams = {stream["stream"]: stream for stream in json.loads(capsys.readouterr().out)}
    back = {(way["field"], way["target"]): way for way in streams["clients"]["write_back"]}
    assert back["since", "customer.since"]["writes"] == "date DD/MM/YYYY"
    assert back["fullname", "contact.first_name"]["writes"] is None
    assert streams["clients"]["unmapped"] == ["deleted_flag"]
    run(["mapping", "report", "legacy", "--write-back"])
    assert "date DD/MM/YYYY" in capsys.readouterr().out
