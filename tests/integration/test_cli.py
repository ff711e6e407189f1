"""The command line on a small business: a list of customers in a CSV file, an order desk's database, real PostgreSQL.

The module's tests read one story in order: applied, synced, looked at, decided upon, synced again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps import exits
from apps.cli import run
from staging import locks
from staging.embedded import EmbeddedServer
from staging.engine import engine, transaction
from tasks import sync as syncs
from tasks.world import World
from tests.fixtures.database import TestDatabase
from tests.fixtures.said import Concord, speaker

SHOP = Path(__file__).resolve().parents[1] / "fixtures" / "landscapes" / "shop"
LIST = """Ref,Name,VAT,Mail,Phone,Town,Postcode,State,Colour
1,Harlow Tools Ltd,GB111111111,post@harlow.example,01144960001,Leeds,LS1 1AA,a,red
2,Moss & Sons,GB222222222,post@moss.example,01144960002,York,YO1 7AA,a,
3,Nobody Knows,GB333333333,post@nobody.example,01144960003,York,YO1 7AB,zz,
4,Bakewell Ovens Ltd,,info@bakewell.example,01144960004,Derby,DE1 1AA,a,
5,Moss and Sons,GB222222222,post@moss.example,01144960002,York,YO1 7AA,a,
"""
DESK = """
create table clients (client_no integer primary key, fullname text, tax_no text, mail text, phone text, town text,
  postcode text);
insert into clients values (71, 'Harlow Tools Ltd', 'GB111111111', 'old@harlow.example', '01144960001', 'Leeds',
  'LS1 1AA');
insert into clients values (72, 'Bakewel Ovens', '', 'office@bakewell-ovens.example', '01144960004', 'Derby',
  'DE1 1AA');
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase) -> Iterator[Path]:
    """The landscape with its file and its database; the variables that lead there are set."""
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(SHOP, folder / "landscape")
    declared = folder / "landscape" / "landscape.yaml"
    declared.write_text(declared.read_text().replace("path: BOOKS", f"path: {folder}"))
    (folder / "customers.csv").write_text(LIST)
    with sqlite3.connect(folder / "desk.db") as desk:
        desk.executescript(DESK)
    desk.close()
    wanted = {
        "CONCORD_LANDSCAPE": str(folder / "landscape"),
        "CONCORD_HOME": str(folder / "home"),
        "SHOP_DESK": f"sqlite:///{folder / 'desk.db'}",
        "BEN_CODE": "correct horse",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    yield folder
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def concord(shop: Path, capsys: pytest.CaptureFixture[str]) -> Concord:
    return speaker(capsys)


@pytest.fixture(scope="module")
def synced(shop: Path, module_database: TestDatabase) -> Path:
    """After `model apply` and the first sync."""
    assert run(["model", "apply", "--yes"]) == exits.DONE
    assert run(["sync", "--without-prefect"]) == exits.DONE
    return shop


def desk_rows(shop: Path) -> dict[int, str]:
    with sqlite3.connect(shop / "desk.db") as desk:
        found = dict(desk.execute("select client_no, mail from clients").fetchall())
    desk.close()
    return found


# ------------------------------------------------------------------------------------------------------ before a sync


def test_a_sync_whose_model_is_not_applied_stops_and_says_so(concord: Concord) -> None:
    said = concord("sync", "--without-prefect")
    assert said.code == exits.DATABASE
    assert "concord model apply" in said.err


def test_the_models_statements_are_shown_and_not_run_unasked(concord: Concord) -> None:
    said = concord("model", "apply")
    assert said.code == exits.REFUSED
    assert "CREATE TABLE golden.customer" in said.out
    assert "--yes" in said.err
    assert concord("status").code == exits.DATABASE


def test_database_and_systems_are_checked(concord: Concord, shop: Path) -> None:
    assert concord("db", "status", "--json").json["state"] == "running"
    answers = concord("systems", "check", "--json").json
    assert {a["system"]: a["is_fine"] for a in answers} == {"list": True, "desk": True}


def test_a_system_that_is_away_is_5_and_the_others_are_told(concord: Concord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DESK", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    said = concord("systems", "check")
    assert said.code == exits.SYSTEM
    assert "the others are unaffected" in said.out
    assert "finance-lead (Ben Okoro)" in said.out


def test_a_secret_that_is_not_set_is_named_not_guessed(concord: Concord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_DESK")
    said = concord("systems", "check", "desk")
    assert said.code == exits.SYSTEM
    assert "SHOP_DESK" in said.out


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me@127.0.0.1:9/none", "cannot reach the database"),
        ("mysql://me@127.0.0.1/none", "expected a postgresql:// URL"),
        ("not a url", "CONCORD_DATABASE_URL"),
    ],
    ids=["nobody answers", "another kind", "no URL"],
)
def test_a_database_that_cannot_be_used_is_4(
    url: str, words: str, concord: Concord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_DATABASE_URL", url)
    said = concord("status")
    assert said.code == exits.DATABASE
    assert words in said.err


# ----------------------------------------------------------------------------------------------------- after the first


def test_a_plan_writes_nothing(synced: Path, concord: Concord) -> None:
    before = desk_rows(synced)
    said = concord("plan", "--json")
    assert said.code == exits.DONE
    assert said.json["golden_versions"] == 0
    assert desk_rows(synced) == before


def test_status_says_what_waits_for_whom_and_what_to_type(synced: Path, concord: Concord) -> None:
    found = concord("status", "--json").json
    [integration] = found["integrations"]
    assert integration["last"]["state"] == "complete"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", integration["next_due"])
    waits = {q["queue"]: (q["count"], q["owner"]) for q in found["queues"]}
    assert waits == {
        "hold": (2, "head-of-sales (Ada Moss)"),
        "review": (1, "head-of-sales (Ada Moss)"),
        "quarantine": (1, "head-of-sales (Ada Moss)"),
        "finding": (1, "head-of-sales (Ada Moss)"),
    }
    assert found["next"][0] == "concord holds list"
    shown = concord("status").out
    assert "waits for a person" in shown
    assert "→ concord reviews list" in shown


def test_the_ledger_agrees(synced: Path, concord: Concord) -> None:
    said = concord("ledger", "verify", "--json")
    assert said.code == exits.DONE
    assert said.json["ok"] is True


def test_a_field_that_nobody_speaks_of_is_reported(synced: Path, concord: Concord) -> None:
    said = concord("mapping", "report", "list", "--json")
    assert said.code == exits.NEEDS_A_PERSON
    [stream] = said.json
    assert stream["unmapped"] == ["Colour"]
    assert stream["mapped"]["Name"] == ["customer.name"]


def test_a_quarantined_record_is_shown_as_it_was_read(synced: Path, concord: Concord) -> None:
    [entry] = concord("quarantine", "list", "--json").json["entries"]
    assert (entry["record"], entry["field"]) == ("list/customers/3", "status")
    shown = concord("quarantine", "show", str(entry["id"]))
    assert '"State": "zz"' in shown.out


def test_one_records_story(synced: Path, concord: Concord) -> None:
    story = concord("explain", "customer", "GB111111111", "--json").json
    assert story["label"] == "Harlow Tools Ltd"
    assert {(link["system"], link["source_id"]) for link in story["links"]} == {("list", "1"), ("desk", "71")}
    fields = {f["field"]: f for f in story["fields"]}
    assert fields["email"]["values"] == {"email": "post@harlow.example"}
    claims = {c["system"]: (c["values"]["email"], c["is_winner"]) for c in fields["email"]["claims"]}
    assert claims == {"list": ("post@harlow.example", True), "desk": ("old@harlow.example", False)}
    assert [(w["op"], w["state"], w["fields"]) for w in story["writes"]] == [("update", "held", ["mail"])]
    assert "list is the system of record" in concord("explain", "customer", "desk/clients/71").out


def test_a_record_without_a_golden_one_says_why(synced: Path, concord: Concord) -> None:
    said = concord("explain", "customer", "list/customers/3")
    assert "belongs to no golden customer yet" in said.out
    assert "concord quarantine show" in said.out


def test_an_unknown_record_is_refused(synced: Path, concord: Concord) -> None:
    said = concord("explain", "customer", "Nobody & Co")
    assert said.code == exits.REFUSED
    assert "SYSTEM/STREAM/ID" in said.err


@pytest.mark.parametrize(
    "command",
    [
        "quarantine discard 1 --by head-of-sales --reason known",
        "findings accept 1 --by head-of-sales --reason known",
        "holds reject 1 --by head-of-sales --reason known",
        "reviews answer 1 --same --by head-of-sales --reason known",
    ],
)
def test_a_decision_is_not_taken_where_nobody_confirms(command: str, synced: Path, concord: Concord) -> None:
    said = concord(*command.split(" "))
    assert said.code == exits.REFUSED
    assert "--yes" in said.err


@pytest.mark.parametrize(
    "command",
    ["holds approve 1", "quarantine discard 1", "findings accept 1", "reviews answer 1 --same"],
)
def test_a_decision_needs_a_declared_role(command: str, synced: Path, concord: Concord) -> None:
    said = concord(*command.split(" "), "--by", "head-of-sale", "--reason", "known", "--yes")
    assert said.code == exits.REFUSED
    assert "did you mean head-of-sales?" in said.err


# ------------------------------------------------------------------------------------------------------- decisions


def holds_by_op(concord: Concord) -> dict[str, int]:
    return {h["op"]: h["id"] for h in concord("holds", "list", "--json").json["entries"]}


def test_who_has_a_personal_code_must_give_it(synced: Path, concord: Concord, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = holds_by_op(concord)["create"]
    decide = ("holds", "approve", str(hold), "--by", "finance-lead", "--reason", "as agreed", "--yes")
    assert "CONCORD_APPROVAL_CODE" in concord(*decide).err
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "wrong horse")
    refused = concord(*decide)
    assert refused.code == exits.REFUSED
    assert "horse" not in refused.err
    assert len(desk_rows(synced)) == 2
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "correct horse")
    assert concord(*decide).code == exits.DONE
    again = concord(*decide)
    assert again.code == exits.DONE
    assert "nothing to do" in again.err


def test_what_was_approved_is_delivered_and_nothing_else(synced: Path, concord: Concord) -> None:
    said = concord("deliver", "--json")
    assert said.json["done"] == {"desk/clients": {"create": 1}}
    rows = desk_rows(synced)
    assert len(rows) == 3
    assert rows[71] == "old@harlow.example"


def test_what_was_rejected_is_not_sent(synced: Path, concord: Concord) -> None:
    hold = holds_by_op(concord)["update"]
    shown = concord("holds", "show", str(hold)).out
    assert "old@harlow.example" in shown
    assert "post@harlow.example" in shown
    decide = ("holds", "reject", str(hold), "--by", "head-of-sales", "--reason", "ask them first", "--yes")
    assert concord(*decide).code == exits.DONE
    assert concord("deliver", "--json").json["writes"] == 0
    assert desk_rows(synced)[71] == "old@harlow.example"


def test_an_answered_review_is_acted_on_by_the_next_sync(synced: Path, concord: Concord) -> None:
    [review] = concord("reviews", "list", "--json").json["entries"]
    shown = concord("reviews", "show", str(review["id"]), "--json").json
    assert {f["field"]: f["agrees"] for f in shown["fields"]}["name"] is False
    done = concord(
        "reviews", "answer", str(review["id"]), "--same", "--by", "head-of-sales", "--reason", "rang them", "--yes"
    )
    assert done.code == exits.DONE
    assert concord("sync", "--without-prefect", "--json").code == exits.DONE
    story = concord("explain", "customer", "desk/clients/72", "--json").json
    assert {(link["system"], link["source_id"]) for link in story["links"]} == {("list", "4"), ("desk", "72")}
    assert concord("reviews", "list", "--json").json["total"] == 0


def test_entries_are_closed_with_a_name_and_a_reason(synced: Path, concord: Concord) -> None:
    [entry] = concord("quarantine", "list", "--json").json["entries"]
    decide = ("--by", "head-of-sales", "--reason", "left us long ago", "--yes")
    assert concord("quarantine", "discard", str(entry["id"]), *decide).code == exits.DONE
    closed = concord("quarantine", "show", str(entry["id"]), "--json").json
    assert (closed["state"], closed["closed_by"]) == ("discarded", "head-of-sales")
    [finding] = concord("findings", "list", "--kind", "duplicate", "--json").json["entries"]
    assert concord("findings", "accept", str(finding["id"]), *decide).code == exits.DONE
    accepted = concord("findings", "show", str(finding["id"]), "--json").json
    assert "left us long ago" in accepted["closed_because"]


def test_a_second_sync_of_the_same_integration_is_told_who_runs(synced: Path, concord: Concord) -> None:
    world = World.of()
    sync_id = syncs.begin(world, "customer-details", "incremental", started_by="ada@office")
    try:
        with locks.lane(world.engine, "sync:customer-details"):
            said = concord("sync", "customer-details", "--without-prefect")
        assert said.code == exits.BUSY
        assert "started by ada@office" in said.err
    finally:
        with transaction(engine("app")) as conn:
            from staging import runs

            runs.end_sync(conn, sync_id, "failed", error="ended by the test")
        world.close()


def test_a_sync_with_a_system_away_does_the_rest_and_is_1(
    synced: Path, concord: Concord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DESK", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    said = concord("sync", "--without-prefect", "--json")
    assert said.code == exits.NEEDS_A_PERSON
    assert {t["system"] for t in said.json["trouble"]} == {"desk"}
    assert "list/customers" in said.json["systems"]
    shown = concord("status").out
    assert "failed" in shown
    assert "→ concord systems check" in shown


def test_the_ledger_still_agrees_and_a_row_deleted_by_hand_is_found(synced: Path, concord: Concord) -> None:
    assert concord("ledger", "verify").code == exits.DONE
    with engine("owner").begin() as conn:
        conn.exec_driver_sql("delete from ops.outbox where id = (select min(id) from ops.outbox)")
    said = concord("ledger", "verify")
    assert said.code == exits.NEEDS_A_PERSON
    assert "DIFFERS" in said.out


# ----------------------------------------------------------------------------------------------------------- the demo


@pytest.mark.slow
def test_the_demo_from_nothing_kept_up_explored_and_stopped(tmp_path: Path) -> None:
    """Through Prefect flows; the second sync writes nothing; commands without a landscape work on the demo."""
    home = Path(tempfile.mkdtemp(prefix="concord-demo-"))
    home.chmod(0o755)
    hidden = ("CONCORD_", "PREFECT_", "CRM_TOKEN", "ACCOUNTING_TOKEN", "LEGACY_URL", "SLACK_WEBHOOK")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"CONCORD_HOME": str(home), "PYTHONPATH": str(SHOP.parents[3])}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "apps.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)

    try:
        made = call("demo", "--keep", "--json", "--scale", "0.05")
        assert made.returncode == exits.DONE, made.stderr
        figures = json.loads(made.stdout)
        systems = {"crm", "accounting", "legacy", "warehouse", "projects", "workbook", "hr"}
        assert set(figures["systems"]) == systems
        assert figures["target_writes"] > 0
        assert figures["reviews"] > 0
        assert figures["links"]["prefect_run"].startswith("http://127.0.0.1:")
        assert Path(figures["links"]["data_docs"].removeprefix("file://")).is_file()
        again = call("sync", "--json")
        assert again.returncode == exits.DONE, again.stderr
        found = json.loads(again.stdout)
        assert (found["target_writes"], found["golden_versions"]) == (0, 0)
        assert call("ledger", "verify").returncode == exits.DONE
        busy = call("demo")
        assert busy.returncode == exits.BUSY
        assert "concord demo --stop" in busy.stderr
    finally:
        stopped = call("demo", "--stop")
        EmbeddedServer(home / "demo" / "postgres").destroy()
        shutil.rmtree(home, ignore_errors=True)
    assert "the business systems, Prefect, the database" in stopped.stdout
