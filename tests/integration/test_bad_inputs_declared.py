"""What a landscape asks of a target that its connector cannot do is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.cli import run
from tests.fixtures.badsource import landscape

WRITES = "mode: write}]"
CASES = {
    "on_leave": (WRITES, "mode: write, on_leave: archive}]", "a target that can archive"),
    "on_delete archive": ("    brake:", "    on_delete: archive\n    brake:", "a target that can archive"),
    "on_delete delete": ("    brake:", "    on_delete: delete\n    brake:", "a target that can delete"),
}  # fmt: skip


def edited(folder: Path, old: str, new: str) -> str:
    """Makes the edit in landscape.yaml; gives the line on which it stands."""
    file = folder / "landscape.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    return f"landscape.yaml:{text[: text.index(old)].count(chr(10)) + 1}"


@pytest.mark.parametrize("name", CASES)
def test_what_a_connector_cannot_do_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = landscape(tmp_path / "land", "http://127.0.0.1:9")
    old, new, expected = CASES[name]
    place = edited(folder, old, new)
    assert run(["check", "--offline", "--landscape", str(folder)]) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert place in told
    assert f"expected {expected} (books/entries can create, update)" in told
    assert "Traceback" not in told


def test_what_nobody_wrote_is_not_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = landscape(tmp_path / "land", "http://127.0.0.1:9")
    assert run(["check", "--offline", "--landscape", str(folder)]) == 0


def test_a_target_that_cannot_create(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = landscape(tmp_path / "land", "http://127.0.0.1:9")
    manifest = folder / "connectors" / "books_api.yaml"
    lines = [line for line in manifest.read_text(encoding="utf-8").splitlines() if "create:" not in line]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    assert run(["check", "--offline", "--landscape", str(folder)]) == 2
    assert "a target that can create" in " ".join(capsys.readouterr().out.split())
