"""The authorisation servers of the twins: codes with proof, tokens that end, refresh tokens that rotate."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient

from sandbox import hubspot, xero
from sandbox.oauth import ASANA, CLIENT_ID, CLIENT_SECRET, HUBSPOT, XERO, Authority
from sandbox.runner import TENANT_ID
from sandbox.store import Store

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "http://localhost:9419/authorized"
CLIENT = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@dataclass
class Twin:
    """A system, its paths, and one request that needs a token."""

    client: TestClient
    authority: Authority
    path: str
    headers: dict[str, str] = field(default_factory=dict)

    def code(self, scope: str = "read offline_access") -> str:
        asked = {"client_id": CLIENT_ID, "response_type": "code", "redirect_uri": BACK, "state": "s", "scope": scope}
        asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        answer = self.client.get(self.authority.vendor.authorize_path, params=asked, follow_redirects=False)
        assert answer.status_code == 302
        back = urlsplit(answer.headers["location"])
        found = dict(parse_qsl(back.query))
        assert (f"{back.scheme}://{back.netloc}{back.path}", found["state"]) == (BACK, "s")
        return found["code"]

    def token(self, **form: str) -> Any:
        return self.client.post(self.authority.vendor.token_path, data={**CLIENT, **form})

    def first(self, **more: str) -> dict[str, Any]:
        form = {"code": self.code(), "redirect_uri": BACK, "code_verifier": VERIFIER}
        answer = self.token(grant_type="authorization_code", **{**form, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def status(self, token: str) -> int:
        return self.client.get(self.path, headers={**self.headers, "authorization": f"Bearer {token}"}).status_code

    def refreshed(self, refresh: str) -> Any:
        return self.token(grant_type="refresh_token", refresh_token=refresh)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


@pytest.fixture
def crm(store: Store) -> Twin:
    plane = hubspot.create_app(store, "static")
    assert plane.parts.oauth is not None
    return Twin(TestClient(plane), plane.parts.oauth, "/crm/v3/objects/companies")


@pytest.fixture
def ledger(store: Store) -> Twin:
    plane = xero.create_app(store, "static", TENANT_ID)
    assert plane.parts.oauth is not None
    return Twin(TestClient(plane), plane.parts.oauth, "/api.xro/2.0/Items", {"xero-tenant-id": TENANT_ID})


def test_a_code_gives_tokens_that_let_in(crm: Twin, ledger: Twin) -> None:
    for twin in (crm, ledger):
        given = twin.first()
        assert (given["expires_in"], bool(given["refresh_token"])) == (1800, True)
        assert twin.status(given["access_token"]) == 200
        assert twin.status("static") == 200, "a private app's token still works"
        assert twin.status("nothing") == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_verifier": "w" * 43},
        {"redirect_uri": "http://localhost:1/"},
        {"code": "made-up"},
        {"client_secret": "guess"},
    ],
    ids=lambda w: next(iter(w)),
)
def test_what_is_not_proved_gets_nothing(ledger: Twin, wrong: dict[str, str]) -> None:
    form = {"code": ledger.code(), "redirect_uri": BACK, "code_verifier": VERIFIER, **wrong}
    answer = ledger.token(grant_type="authorization_code", **form)
    assert answer.status_code == 400
    assert answer.json()["error"] == ("invalid_client" if "client_secret" in wrong else "invalid_grant")


def test_a_code_works_once(crm: Twin) -> None:
    code = crm.code()
    crm.first(code=code)
    again = crm.token(grant_type="authorization_code", code=code, redirect_uri=BACK, code_verifier=VERIFIER)
    assert (again.status_code, again.json()["status"]) == (400, "BAD_REFRESH_TOKEN")


def test_the_ledger_rotates_and_takes_the_old_token_for_a_while(ledger: Twin) -> None:
    first = ledger.first()
    second = ledger.refreshed(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert ledger.refreshed(first["refresh_token"]).status_code == 200, "within the grace of 30 minutes"
    ledger.client.post("/_sandbox/oauth", json={"grace_seconds": 0})
    third = ledger.refreshed(second["refresh_token"]).json()
    assert ledger.refreshed(second["refresh_token"]).json() == {"error": "invalid_grant"}
    assert ledger.refreshed(third["refresh_token"]).status_code == 200


def test_the_ledger_gives_no_refresh_token_without_the_scope_for_it(ledger: Twin) -> None:
    assert "refresh_token" not in ledger.first(code=ledger.code(scope="accounting.contacts"))


def test_the_crm_keeps_its_refresh_token(crm: Twin) -> None:
    first = crm.first()
    assert crm.refreshed(first["refresh_token"]).json()["refresh_token"] == first["refresh_token"]


def test_projects_give_a_refresh_token_only_with_a_code(store: Store) -> None:
    authority = Authority(store, ASANA)
    refresh = authority._new_refresh(["default"])
    answer = authority._given({"grant_type": "refresh_token", "refresh_token": refresh})
    assert "refresh_token" not in answer
    assert answer["data"]["gid"] == "1"


def test_a_custom_connection_needs_nobody(ledger: Twin, crm: Twin) -> None:
    given = ledger.token(grant_type="client_credentials", scope="accounting.contacts").json()
    assert ledger.status(given["access_token"]) == 200
    assert "refresh_token" not in given
    assert crm.token(grant_type="client_credentials").json()["status"] == "BAD_GRANT_TYPE"


def test_secrets_are_shown_where_the_vendor_wants_them(crm: Twin, ledger: Twin) -> None:
    form = {"grant_type": "client_credentials"}
    pair = (CLIENT_ID, CLIENT_SECRET)
    assert ledger.client.post(XERO.token_path, data=form, auth=pair).status_code == 200
    assert crm.client.post(HUBSPOT.token_path, data=form, auth=pair).json()["status"] == "BAD_CLIENT_SECRET"


def test_doors_end_tokens_and_rights(ledger: Twin) -> None:
    given = ledger.first()
    ledger.client.post("/_sandbox/oauth/withdraw")
    assert ledger.status(given["access_token"]) == 403
    ledger.client.post("/_sandbox/oauth/withdraw", json={"on": False})
    ledger.client.post("/_sandbox/oauth/expire")
    assert ledger.status(given["access_token"]) == 401
    assert ledger.refreshed(given["refresh_token"]).status_code == 200
    ledger.client.post("/_sandbox/oauth/revoke")
    assert ledger.refreshed(given["refresh_token"]).json() == {"error": "invalid_grant"}
    assert ledger.client.get("/_sandbox/oauth").json()["live"]["refresh"] == 0
    assert ledger.client.post("/_sandbox/oauth", json={"colour": 1}).status_code == 400
    assert ledger.client.post("/_sandbox/oauth/other").status_code == 404


def test_tokens_end_at_a_chosen_request(ledger: Twin) -> None:
    token = ledger.first()["access_token"]
    ledger.client.post("/_sandbox/fault", json={"kind": "expire", "skip": 2, "path": "/api.xro/"})
    assert [ledger.status(token) for _ in range(4)] == [200, 200, 401, 401]


def test_a_life_ends(store: Store) -> None:
    now = [0]
    authority = Authority(store, XERO, clock_ms=lambda: now[0])
    token = authority._answer(["x"], None)["access_token"]
    request = type("R", (), {"headers": {"authorization": f"Bearer {token}"}})()
    assert authority.verdict(request) == "known"
    now[0] = 1_800_000
    assert authority.verdict(request) == "unknown"
