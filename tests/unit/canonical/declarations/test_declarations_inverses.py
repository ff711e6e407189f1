"""`inverse` in a sheet: written out when the landscape is read, or refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from apps import exits
from apps.cli import run

SHOP = Path(__file__).resolve().parents[4] / "tests" / "fixtures" / "landscapes" / "shop"
PHONE = "desk,clients.phone,canonical,customer.phone,phone GB,"
OUT = "canonical,customer.phone,desk,clients.phone,,"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    monkeypatch.setenv("CONCORD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(folder))
    return folder


def _say(shop: Path, reads: str, rule: str = "inverse", field: str = "customer.phone") -> None:
    path = shop / "mappings" / "desk.csv"
    text = path.read_text()
    if ",canonical,customer.tax_id," in reads:
        text = text.replace("desk,clients.tax_no,canonical,customer.tax_id,code,\n", "")
    text = text.replace(PHONE, reads).replace(OUT, f"canonical,{field},desk,clients.phone,{rule},")
    path.write_text(text)


@pytest.mark.parametrize(
    ("reads", "field", "rule"),
    [
        (PHONE, "customer.phone", ""),
        ("desk,clients.phone,canonical,customer.status,map L=lead A=active I=inactive,", "customer.status",
         "map lead=L active=A inactive=I"),
        ('desk,clients.a + clients.phone,canonical,customer.tax_id,join /,', "customer.tax_id", 'part 2 of 2 "/"'),
    ],
    ids=["as-it-stands", "table", "part"],
)  # fmt: skip
def test_the_rule_that_runs_is_shown(
    reads: str, field: str, rule: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _say(shop, reads, field=field)
    assert run(["mapping", "show", "desk", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["rule"] for row in rows if row["target_field"] == "clients.phone"] == [rule]
    assert run(["check", "--offline"]) == 0


@pytest.mark.parametrize(
    ("reads", "rule", "field", "expected"),
    [
        ("desk,clients.phone,canonical,customer.name2,,", "inverse", "customer.name", "a row that reads clients.phone"),
        ("desk,clients.phones,canonical,customer.phone,,", "inverse", "customer.phone", "Did you mean clients.phones?"),
        (PHONE, "trim | inverse", "customer.phone", "alone in its cell"),
        (PHONE, "inverse x", "customer.phone", "alone in its cell"),
        (PHONE.replace("phone GB", "inverse"), "", "customer.phone", "on an outbound row"),
        (
            "desk,clients.phone,canonical,customer.status,map L=lead P=lead A=active I=inactive,", "inverse",
            "customer.status", "that of 'map L=lead P=lead A=active I=inactive' in mappings/desk.csv:5: L and P both",
        ),
        ("desk,clients.phone,canonical,customer.legal,lower,", "inverse", "customer.legal", "a field of customer"),
        ('desk,clients.phone + clients.x,canonical,customer.phone,"join ""/""",', "inverse", "customer.phone",
         "no such parts"),
    ],
    ids=["not-read", "misspelt", "in-a-pipeline", "with-words", "inbound", "not-one-to-one", "no-such-field", "parts"],
)  # fmt: skip
def test_what_cannot_be_undone_is_refused_with_its_row(
    reads: str, rule: str, field: str, expected: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _say(shop, reads, rule, field)
    assert run(["check", "--offline"]) == exits.REFUSED
    said = capsys.readouterr().err
    assert "mappings/desk.csv:" in said
    assert expected in said
    assert "Traceback" not in said
