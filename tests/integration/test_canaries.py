"""Secrets and people's data are planted, a sync runs, fails in every way, and what all that leaves behind is searched.

Where values belong: the systems themselves, the tables that hold records, the queues, `explain`, the Data Docs'
examples of what failed, and, as far as a system repeats them when it refuses, the story of that run
(`concord status --json`). Nowhere else: no log, no message, no audit, no artifact, no answer of a command.
"""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import sqlalchemy as sa

from apps.cli import run
from deployments.prefect_local import LocalPrefect
from tests.fixtures.badsource import LEDGER, Reply
from tests.fixtures.database import TestDatabase
from tests.fixtures.messengers import Office, opened_office
from tests.fixtures.shelf import SHOP

TOP = Path(__file__).resolve().parents[2]
TOKEN, CODE = "shop-token-canary-8c1f", "personal-code-canary-77ab"
PERSON = {"name": "Zebedee Canaryson", "email": "zebedee@canary.example", "phone": "+442079460999"}
BAD = {"name": "Quentin Canaryless", "email": "quentin at canary"}
HOLDS_RECORDS = ("landing.raw_record", "staging.", "golden.", "ops.outbox", "ops.shadow", "ops.quarantine",
                 "ops.dead_letter", "ops.review", "ops.match_key", "ops.finding", "ops.attempt",
                 "ops.saved_plan", "ops.sync", "landing.extract_run")  # fmt: skip
"""Tables in which a record's values belong; of runs, what a system said when it refused."""
ANSWERS = {
    "credentials refused": Reply(401, f'{{"error": "{PERSON["name"]} may not"}}'.encode()),
    "a fault": Reply(500, f'{{"error": "cannot show {PERSON["email"]}"}}'.encode()),
    "a page": Reply(200, f"<html>{PERSON['name']}</html>".encode(), "text/html"),
    "not JSON": Reply(200, f'{{"data": [{{"name": "{PERSON["name"]}"'.encode()),
    "a bad request": Reply(400, f'{{"error": "{PERSON["phone"]} is no page"}}'.encode()),
    "an object": Reply(200, f'{{"error": "{PERSON["email"]}"}}'.encode()),
}
SAID = (
    ("watch", "--once"), ("watch", "--once", "--json"), ("systems", "check"),
    ("check",), ("ledger", "verify"), ("ledger", "verify", "--json"), ("audit", "search"), ("audit", "verify"),
    ("holds", "list"), ("systems", "list"), ("deliver",),
)  # fmt: skip


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase) -> Iterator[Office]:
    """The office with secrets of every kind, and two people among its bookings: one in order, one not."""
    folder = tmp_path_factory.mktemp("canaries")
    before = {name: os.environ.get(name) for name in ("CONCORD_HOME", "OFFICE_TOKEN", "OFFICE_CODE")}
    os.environ |= {"CONCORD_HOME": str(folder / "home"), "OFFICE_TOKEN": TOKEN, "OFFICE_CODE": CODE}
    try:
        with opened_office(folder, module_database) as made:
            _with_login(made)
            made.source.put("r1", note="n1", **PERSON)
            made.source.put("r2", note="n2", **BAD)
            yield made
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _with_login(office: Office) -> None:
    main = office.folder / "landscape.yaml"
    text = main.read_text(encoding="utf-8")
    text = text.replace("connector: shop_api,", "connector: shop_api, token: {env: OFFICE_TOKEN},")
    text = text.replace("email: ada@example.com}", "email: ada@example.com, code: {env: OFFICE_CODE}}")
    main.write_text(text, encoding="utf-8")
    shop = office.folder / "connectors" / "shop_api.yaml"
    shop.write_text(f"auth: {{kind: bearer}}\n{SHOP}", encoding="utf-8")
    office.world.close()
    office.world = type(office.world).of(office.folder)


def secrets(database: TestDatabase, office: Office) -> list[str]:
    """What must stand nowhere at all."""
    passwords = [str(url.password) for url in (database.app_url, database.owner_url)]
    return [TOKEN, CODE, "SecretCanary", "mail-password-canary", *passwords]


VALUES = [*PERSON.values(), "Canaryson", "Zebedee", "zebedee%40canary", "020 7946 0999"]


def everything_happens(office: Office) -> str:
    """A good sync and one of every kind of failure, and every command that answers with counts; what all of it said."""
    said, log = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setLevel(logging.DEBUG)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            office.work()
            for answer in ANSWERS.values():
                office.source.fault = lambda path, query, answer=answer: answer
                office.work()
                office.later(16)
            office.source.fault = None
            for status in (422, 500):
                with refusing_writes(office, status):
                    office.source.put(f"w{status}", note=f"w{status}", **PERSON)
                    office.work()
                    office.later(16)
            for arguments in SAID:
                run(["--landscape", str(office.folder), *arguments])
            office.work()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return said.getvalue() + log.getvalue()


@contextmanager
def refusing_writes(office: Office, status: int) -> Iterator[None]:
    """The books answer every write so, and repeat what they were told."""
    answer = office.source.answer

    def refuse(method: str, target: str, body: bytes) -> tuple[int, str, bytes] | Reply:
        is_write = method != "GET" and target.startswith(LEDGER)
        return (
            Reply(status, b'{"error": "no room for ' + body.replace(b'"', b"'") + b'"}')
            if is_write
            else answer(method, target, body)
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(office.source, "answer", refuse)
        yield


def tables(database: TestDatabase) -> dict[str, str]:
    """Every table's rows as text."""
    with database.owner_engine.connect() as conn:
        names = conn.execute(
            sa.text("select schemaname || '.' || tablename from pg_tables where schemaname in ('landing', 'staging',"
                    " 'golden', 'ops')")
        ).scalars().all()  # fmt: skip
        found = {}
        for name in names:
            place = ".".join(f'"{part}"' for part in str(name).split("."))
            rows = conn.exec_driver_sql(f"select coalesce(string_agg(t::text, chr(10)), '') from {place} t")
            found[str(name)] = str(rows.scalar_one())
    return found


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder, bytes as they are; what belongs to the database server aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("utf-8", "replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "postgres" not in path.relative_to(folder).parts
    }


def where(places: dict[str, str], canaries: list[str]) -> list[tuple[str, str]]:
    """(place, what stands around the canary) of every find, once each."""
    return [
        (name, text[max(0, (at := text.index(canary)) - 100) : at + 60])
        for name, text in places.items()
        for canary in canaries
        if canary in text
    ]


@pytest.mark.slow
def test_nothing_that_a_sync_and_its_failures_leave_behind_holds_a_secret_or_a_person(
    office: Office, module_database: TestDatabase
) -> None:
    said = everything_happens(office)
    assert "shop" in said
    entries = list(office.source.ledger.values())
    kept = tables(module_database)
    assert {entry["name"] for entry in entries} == {PERSON["name"]}, "the person arrived where she belongs"
    assert "refused" in kept["ops.dead_letter"] or "422" in kept["ops.attempt"], "a write was refused"
    assert BAD["email"] in kept["ops.quarantine"]

    mail = "\n".join(got.raw.decode() + got.subject + got.body for got in office.mail.inbox)
    told = {"said": said, "Slack": office.slack.text, "mail": mail}
    left = files(Path(os.environ["CONCORD_HOME"]))
    assert office.slack.messages
    assert any(name.endswith(".html") for name in left), "Data Docs were written"

    hidden = secrets(module_database, office)
    assert where({**told, **left, **kept}, hidden) == []
    people = [*VALUES, *BAD.values()]
    assert where(told, people) == []
    elsewhere = {name: text for name, text in kept.items() if not name.startswith(HOLDS_RECORDS)}
    assert where(elsewhere, people) == []
    assert where(left, VALUES) == [], "Data Docs show examples of what failed, and nobody else"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nor_does_what_prefect_keeps(
    office: Office, module_database: TestDatabase, prefect_server: LocalPrefect, tmp_path: Path
) -> None:
    """Its database, logs and artifacts after syncs that went well and badly, byte by byte."""
    said = []
    for answer in (None, ANSWERS["credentials refused"], ANSWERS["not JSON"]):
        office.source.fault = (lambda path, query, answer=answer: answer) if answer else None
        done = subprocess.run(
            [sys.executable, "-m", "apps.cli", "--landscape", str(office.folder), "sync", "bookings-to-books"],
            cwd=TOP, env={**os.environ, "PREFECT_LOGGING_LEVEL": "DEBUG"}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        said.append(done.stdout + done.stderr)
        assert done.returncode in (0, 1), said[-1]
    office.source.fault = None
    assert prefect_server.log is not None
    kept = files(Path(prefect_server.log).parent)
    database = [text for name, text in kept.items() if name.startswith("prefect.db")]
    assert any("bookings-to-books" in text for text in database), "the runs are in there"
    people = [*VALUES, *BAD.values()]
    assert where({**kept, "said": "\n".join(said)}, [*secrets(module_database, office), *people]) == []
