"""Tokens that end while syncs run: one renewal for all workers, kept before it is used, whatever is killed in between.

Rows 40 and 41 of the fault matrix, judged from the twin's own log and our database."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from canonical.tokens import Grant
from connectors.oauth import OAuth2
from connectors.protocol import AuthFailed
from connectors.xero import reading
from sandbox.oauth import CLIENT_ID, CLIENT_SECRET, XERO
from staging.crash import VARIABLE
from staging.engine import transaction
from staging.tokens import KEY_VARIABLE, Tokens, TokenUnreadable, states
from tests.fixtures.database import TestDatabase
from tests.fixtures.mainjob import MainJob

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parent.parent.parent
TOKEN_PATH = XERO.token_path
_CHECK = """
import sys, time
from pathlib import Path
from tasks.world import World

world = World.of(sys.argv[1])
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
    time.sleep(0.005)
world.connector("accounting").check()
"""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def say_yes(url: str) -> str:
    """A browser whose person says yes: the address it is sent to."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.build_opener(NoRedirect).open(url, timeout=10)
    assert raised.value.code == 302
    raised.value.close()
    return str(raised.value.headers["location"])


def authorise(job: MainJob) -> None:
    auth = OAuth2.of(job.world.context("accounting", authorised_by="a test"))
    asked = auth.begin()
    back = dict(parse_qsl(urlsplit(say_yes(asked.url)).query))
    auth.finish(asked, back["code"], back["state"])
    auth.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def declared(main_job: MainJob, monkeypatch: pytest.MonkeyPatch) -> MainJob:
    """The demo, whose ledger lets Concord in by OAuth 2; nobody has said yes yet."""
    monkeypatch.setenv("LEDGER_CLIENT_SECRET", CLIENT_SECRET)
    main_job.environment["LEDGER_CLIENT_SECRET"] = CLIENT_SECRET
    url = main_job.sandbox.accounting_url
    main_job.replace_in(
        "landscape.yaml",
        "    token: {env: ACCOUNTING_TOKEN}\n",
        "    oauth2:\n"
        f"      client_id: {CLIENT_ID}\n"
        "      client_secret: {env: LEDGER_CLIENT_SECRET}\n"
        f'      authorize_url: "{url}{XERO.authorize_path}"\n'
        f'      token_url: "{url}{TOKEN_PATH}"\n'
        f'      redirect_uri: "http://localhost:{free_port()}/authorized"\n',
    )
    return main_job


@pytest.fixture
def job(declared: MainJob) -> MainJob:
    authorise(declared)
    return declared


def door(job: MainJob, name: str, **wanted: Any) -> Any:
    url = f"{job.sandbox.accounting_url}/_sandbox/oauth{name}"
    request = urllib.request.Request(url, json.dumps(wanted).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def renewals(job: MainJob, since: int = 0) -> list[int]:
    """The statuses of what the token endpoint was asked to renew."""
    asked = job.requests("accounting", since, writes=False)
    return [r["status"] for r in asked if r["path"] == TOKEN_PATH and "grant_type=refresh_token" in r["body"]]


def environment(job: MainJob, **more: str) -> dict[str, str]:
    return {**os.environ, **job.environment, "PYTHONPATH": str(TOP), "CONCORD_LANDSCAPE": str(job.folder), **more}


def checker(job: MainJob, ready: Path, go: Path, **more: str) -> subprocess.Popen[str]:
    """A process that asks the ledger as soon as `go` is there."""
    command = [sys.executable, "-c", _CHECK, str(job.folder), str(ready), str(go)]
    return subprocess.Popen(command, env=environment(job, **more), stderr=subprocess.PIPE, text=True)


def checked(job: MainJob, folder: Path, **more: str) -> tuple[int, str]:
    go = folder / "go"
    go.touch()
    process = checker(job, folder / "ready", go, **more)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def check(job: MainJob) -> None:
    job.reopen().connector("accounting").check()


def state(job: MainJob) -> str:
    with transaction(job.world.engine) as conn:
        return states(conn, ["accounting"])["accounting"].state


# --------------------------------------------------------------------------------------------------- one renewal


def test_processes_that_need_a_new_token_at_once_make_one_renewal(job: MainJob, tmp_path: Path) -> None:
    door(job, "/expire")
    go = tmp_path / "go"
    workers = [checker(job, tmp_path / f"ready-{n}", go) for n in range(2)]
    deadline = time.monotonic() + 60
    while not all((tmp_path / f"ready-{n}").exists() for n in range(2)) and time.monotonic() < deadline:
        time.sleep(0.02)
    job.fault("accounting", kind="delay", seconds=1.0, path=TOKEN_PATH)
    go.touch()
    for worker in workers:
        _, said = worker.communicate(timeout=180)
        assert worker.returncode == 0, said
    assert renewals(job) == [200]


def test_a_token_is_renewed_before_it_ends(job: MainJob) -> None:
    with transaction(job.world.engine) as conn:
        conn.execute(sa.text("update ops.token set renew_at = now() - interval '1 s'"))
    check(job)
    check(job)
    assert renewals(job) == [200]
    assert job.value("select version from ops.token") == 2
    left = job.value("select round(extract(epoch from renew_at - stored_at) / 60) from ops.token")
    assert left == 24, "80 % of 30 minutes"


# --------------------------------------------------------------------------------------------------- row 40


def test_row_40_tokens_that_end_in_the_middle_of_reading_cost_no_record(
    job: MainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that end again and again while streams are read are renewed on the way: every record arrives."""
    monkeypatch.setattr(reading, "PAGE_SIZE", 10)
    before = job.sync(mode="full")
    job.reopen()
    asked = len(renewals(job))
    for skip in (2, 12, 22, 32):
        job.fault("accounting", kind="expire", path="/api.xro/", method="GET", skip=skip)

    again = job.sync(mode="full")

    assert again.trouble == []
    assert (again.target_writes, again.golden_versions) == (0, 0)
    places = [place for place in before.systems if place.startswith("accounting/")]
    assert places
    assert {p: again.systems[p]["received"] for p in places} == {p: before.systems[p]["received"] for p in places}
    assert renewals(job)[asked:] == [200] * (len(renewals(job)) - asked)
    assert len(renewals(job)) - asked >= 3


def test_row_40_a_renewal_that_fails_once_is_not_noticed(job: MainJob) -> None:
    """A token endpoint that stumbles once is asked again, and nobody notices."""
    for trouble in ({"kind": "status", "status": 503}, {"kind": "reset_before"}, {"kind": "html200"}):
        door(job, "/expire")
        job.fault("accounting", path=TOKEN_PATH, **trouble)
        check(job)
    assert 503 in renewals(job)


def test_row_40_an_answer_that_is_lost_after_the_rotation_is_asked_for_again(job: MainJob) -> None:
    """An answer that is lost after the refresh token was rotated is asked for again with the old one."""
    door(job, "/expire")
    job.fault("accounting", kind="reset_after", path=TOKEN_PATH)
    check(job)
    assert (state(job), len(renewals(job))) == ("good", 2), "within the ledger's grace the old token still counts"


def test_row_40_a_renewal_that_fails_for_ever_stops_that_system_alone(job: MainJob) -> None:
    """A token endpoint that fails for ever stops its system alone: no record is buried, the others go on."""
    door(job, "/expire")
    job.fault("accounting", kind="status", status=500, path=TOKEN_PATH, count=-1)
    done = job.sync()
    assert {t.system for t in done.trouble} == {"accounting"}
    assert done.systems["crm/companies"]["received"] >= 0
    dead = job.value("select count(*) from ops.outbox where state = 'dead'")
    assert dead == 0, "a system's fault buries nothing"


def test_row_40_a_right_that_was_taken_away_is_told(job: MainJob) -> None:
    """A scope that was removed is told with what to type; no token is renewed in vain."""
    door(job, "/withdraw")
    with pytest.raises(AuthFailed, match=r"not permitted .*\(403\).*concord systems authorize accounting"):
        check(job)
    assert renewals(job) == [], "a new token would have no more rights"


def test_row_40_a_revoked_authorisation_is_told_once_and_mended_by_the_command(job: MainJob) -> None:
    """A revoked authorisation is asked for once, told, and mended by the command that the message names."""
    door(job, "/revoke")
    door(job, "/expire")
    for _ in range(2):
        with pytest.raises(AuthFailed, match="authorise again: concord systems authorize accounting"):
            check(job)
    assert (renewals(job), state(job)) == ([400], "refused")
    authorise(job)
    check(job)
    assert state(job) == "good"


@pytest.mark.parametrize(
    ("point", "grace", "is_mended", "stands"),
    [
        pytest.param("token.asked", 0, True, "interrupted", marks=pytest.mark.faults),
        ("token.given", 0, False, "interrupted"),
        pytest.param("token.given", 1800, True, "interrupted", marks=pytest.mark.faults),
        pytest.param("token.stored", 0, True, "good", marks=pytest.mark.faults),
    ],
)
def test_row_40_killed_around_a_rotation(
    job: MainJob, tmp_path: Path, point: str, grace: int, is_mended: bool, stands: str
) -> None:
    """Killed around a rotation, the next run goes on with the token, or says that somebody must authorise again."""
    door(job, "", grace_seconds=grace)
    door(job, "/expire")
    code, said = checked(job, tmp_path, **{VARIABLE: point})
    assert code == -signal.SIGKILL, said
    assert state(job) == stands
    if is_mended:
        check(job)
        assert state(job) == "good"
        return
    with pytest.raises(AuthFailed, match=r"cut off before its answer was stored.*concord systems authorize accounting"):
        check(job)
    done = job.sync()
    assert any("authorise again" in t.cause for t in done.trouble)
    authorise(job)
    job.reopen()
    assert job.sync().trouble == []


# --------------------------------------------------------------------------------------------------- row 41


def test_row_41_secrets_that_are_rotated_while_running(
    job: MainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next request uses the new secret without a restart; neither old nor new is shown or logged anywhere."""
    kept = tmp_path / "crm-token"
    kept.write_text("canary-old-0815\n")
    job.replace_in("landscape.yaml", "token: {env: CRM_TOKEN}", f'token: {{file: "{kept}"}}')
    crm, ledger = job.world.connector("crm"), job.world.connector("accounting")
    caplog.set_level(logging.DEBUG)
    said = []
    with pytest.raises(AuthFailed) as refused:
        crm.check()
    said.append(str(refused.value))
    kept.write_text(job.sandbox.tokens["crm"] + "\n")
    crm.check()
    kept.write_text("canary-new-0815\n")
    with pytest.raises(AuthFailed) as refused:
        crm.check()
    said.append(str(refused.value))

    monkeypatch.setenv("LEDGER_CLIENT_SECRET", "canary-client-0815")
    door(job, "/expire")
    with pytest.raises(AuthFailed, match="client_id and client_secret") as refused:
        ledger.check()
    said.append(str(refused.value))
    monkeypatch.setenv("LEDGER_CLIENT_SECRET", CLIENT_SECRET)
    ledger.check()

    token = job.value("select value from ops.token")
    shown = " ".join(said) + caplog.text
    for secret in ("canary", job.sandbox.tokens["crm"], CLIENT_SECRET, *json.loads(token).values()):
        assert secret not in shown


# --------------------------------------------------------------------------------------------------- at the prompt


@contextmanager
def concord(job: MainJob, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.cli", *arguments],
        env=environment(job, **more),
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def listed(job: MainJob) -> dict[str, Any]:
    with concord(job, "systems", "list", "--json") as process:
        out, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    return {s["system"]: s["token"] for s in json.loads(out)}


def test_a_person_lets_concord_in_from_the_command_line(declared: MainJob) -> None:
    assert listed(declared)["accounting"]["state"] == "missing"
    with concord(declared, "systems", "authorize", "accounting") as process:
        assert process.stdout is not None
        back = say_yes(process.stdout.readline().strip())
        port = urlsplit(back).port
        for attempt in (f"http://localhost:{port}/authorized?code=forged&state=guess", back):
            _visited(attempt)
        out, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert "answers and lets us in" in out
    code = dict(parse_qsl(urlsplit(back).query))["code"]
    assert code not in out + said
    token = listed(declared)["accounting"]
    assert (token["state"], token["version"], token["is_sealed"]) == ("good", 1, False)
    assert token["authorised_by"]
    assert listed(declared)["crm"] is None


def _visited(url: str) -> None:
    """Goes where the browser is sent, as soon as somebody listens there."""
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.HTTPError as refused:
            refused.close()
        except OSError:
            time.sleep(0.05)
            continue
        return


@pytest.mark.parametrize("is_whole", [True, False], ids=["the address", "the code alone"])
def test_where_the_browser_is_elsewhere_the_answer_is_pasted(declared: MainJob, is_whole: bool) -> None:
    with concord(declared, "systems", "authorize", "accounting", "--paste") as process:
        assert process.stdout is not None
        back = say_yes(process.stdout.readline().strip())
        answer = back if is_whole else dict(parse_qsl(urlsplit(back).query))["code"]
        out, said = process.communicate(f"{answer}\n", timeout=180)
    assert process.returncode == 0, said
    assert answer not in out + said


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("http://localhost/authorized?error=access_denied&state=x", 5, "did not agree: access_denied"),
        ("http://localhost/authorized?code=abc&state=other", 5, "its state differs"),
        ("made-up-code", 5, "the code was refused"),
        ("", 2, "found nothing"),
    ],
)
def test_an_answer_that_does_not_help(declared: MainJob, answer: str, code: int, said: str) -> None:
    with concord(declared, "systems", "authorize", "accounting", "--paste") as process:
        _, shown = process.communicate(f"{answer}\n", timeout=180)
    assert (process.returncode, said in shown) == (code, True), shown
    assert declared.rows("select * from ops.token") == []


def test_what_needs_no_yes_is_refused(declared: MainJob) -> None:
    with concord(declared, "systems", "authorize", "crm") as process:
        _, said = process.communicate(timeout=180)
    assert (process.returncode, "does not declare oauth2" in said) == (2, True), said
    with concord(declared, "systems", "check", "accounting", "--json") as process:
        out, _ = process.communicate(timeout=180)
    assert process.returncode == 5
    [answer] = json.loads(out)
    assert (
        "nobody has authorised Concord there yet; authorise it: concord systems authorize accounting" in answer["said"]
    )


# --------------------------------------------------------------------------------------------------- the store


def test_tokens_are_sealed_with_a_declared_key(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    store = Tokens(database.engine, "crm")
    grant = Grant("access-canary", "refresh-canary", 1800.0)

    def kept() -> str:
        with transaction(database.engine) as conn:
            return str(conn.execute(sa.text("select value from ops.token")).scalar_one())

    with store.lock() as locked:
        locked.save(grant, 0)
    assert "canary" in kept(), "without a key it is plain"
    monkeypatch.setenv(KEY_VARIABLE, old)
    with store.lock() as locked:
        assert locked.save(grant, 1).refresh == "refresh-canary"
    assert "canary" not in kept()
    monkeypatch.setenv(KEY_VARIABLE, f"{new}, {old}")
    with store.lock() as locked:
        held = locked.load()
        assert held is not None
        locked.save(Grant(held.access, held.refresh, 1800.0), held.version)
    monkeypatch.setenv(KEY_VARIABLE, old)
    with pytest.raises(TokenUnreadable, match="another key"):
        store.load()
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(TokenUnreadable, match="CONCORD_TOKEN_KEY is not set"):
        store.load()


def test_a_key_that_cannot_seal_is_refused_before_anything_is_asked(job: MainJob) -> None:
    door(job, "/expire")
    with concord(job, "systems", "check", "accounting", **{KEY_VARIABLE: "hunter2-canary"}) as process:
        _, said = process.communicate(timeout=180)
    assert (process.returncode, "expected a key of 32 bytes" in said) == (4, True), said
    assert "canary" not in said
    assert renewals(job) == []


def test_a_connection_that_is_lost_before_the_commit_loses_no_token(database: TestDatabase) -> None:
    store = Tokens(database.engine, "crm")
    with store.lock() as locked:
        locked.save(Grant("a", "r", 1800.0), 0)
    with store.lock() as locked:
        with transaction(database.engine) as conn:
            conn.execute(
                sa.text(
                    "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
                    " and pid <> pg_backend_pid() and database ="
                    " (select oid from pg_database where datname = current_database())"
                )
            )
        assert locked.save(Grant("b", "s", 1800.0), 1).access == "b"
    held = store.load()
    assert held is not None
    assert (held.access, held.version) == ("b", 2)


def test_an_older_token_never_takes_the_place_of_a_newer(database: TestDatabase) -> None:
    store = Tokens(database.engine, "crm")
    with store.lock() as locked:
        locked.save(Grant("a", "r", 1800.0), 0)
        locked.save(Grant("b", "s", 1800.0), 1)
        assert locked.save(Grant("late", "late", 1800.0), 1).access == "b"
        assert locked.save(Grant("late", "late", 1800.0), 0).access == "b"


def test_who_renews_for_too_long_does_not_hold_up_the_others(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from staging import tokens

    monkeypatch.setattr(tokens, "LOCK_PATIENCE", "200ms")
    store = Tokens(database.engine, "crm")
    with store.lock(), pytest.raises(TimeoutError), store.lock():
        pass
    with Tokens(database.engine, "crm").lock(), Tokens(database.engine, "desk").lock():
        pass
