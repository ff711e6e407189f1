"""OAuth 2 as credentials: renewed early, once, stored before use; refusals in words that say what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from canonical.declarations.oauth import OAuth2 as Declared
from canonical.tokens import Grant, Held
from connectors.http import HttpClient
from connectors.oauth import OAuth2, auth_of
from connectors.oauth_endpoint import TokenEndpoint
from connectors.protocol import AuthFailed, Context, Misdeclared, Secret, SystemFault, Transient
from connectors.tokens import MemoryTokens

PERSONAL = Declared(
    grant="authorization_code",
    token_url="https://id.example/oauth/token",
    client_id="app",
    client_secret="client-secret-canary",
    authorize_url="https://id.example/oauth/authorize",
    scopes=("read", "write"),
)
OURSELVES = replace(PERSONAL, grant="client_credentials")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Provider(httpx.BaseTransport):
    """A token endpoint that rotates refresh tokens; `answers` stand in for the next ones."""

    life: Any = 100
    rotates: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    answers: list[httpx.Response | Exception] = field(default_factory=list)
    known: str = "refresh-0"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        form = dict(parse_qsl(request.read().decode()))
        self.asked.append(form)
        if self.answers:
            planned = self.answers.pop(0)
            if isinstance(planned, Exception):
                raise planned
            return planned
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.known:
            return refusal("invalid_grant")
        number = len(self.asked)
        answer: dict[str, Any] = {"access_token": f"access-{number}", "token_type": "Bearer", "expires_in": self.life}
        if self.rotates and form["grant_type"] != "client_credentials":
            self.known = answer["refresh_token"] = f"refresh-{number}"
        return httpx.Response(200, json={k: v for k, v in answer.items() if v is not None})


def refusal(error: str, status: int = 400, **more: str) -> httpx.Response:
    return httpx.Response(status, json={"error": error, **more})


@dataclass
class Setting:
    """Credentials over a store and a provider, with a clock that tests turn."""

    provider: Provider = field(default_factory=Provider)
    declared: Declared = PERSONAL
    clock: Clock = field(default_factory=Clock)
    store: Any = None
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = self.store or MemoryTokens(self.clock)
        if self.declared.grant == "authorization_code":
            self.store.save(Grant("access-0", "refresh-0", 100.0), 0)

    def auth(self) -> OAuth2:
        endpoint = TokenEndpoint("crm", self.declared, network="public", transport=self.provider)
        return OAuth2("crm", self.declared, self.store, endpoint, clock=self.clock, sleep=self.slept.append)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_token_is_used_until_four_fifths_of_its_life() -> None:
    here = Setting()
    auth = here.auth()
    here.clock.now += 79
    assert (auth.credentials(), here.provider.asked) == (bearer("access-0"), [])
    here.clock.now += 2
    assert auth.credentials() == bearer("access-1")
    assert here.provider.asked == [{"grant_type": "refresh_token", "refresh_token": "refresh-0"}]
    assert here.provider.requests[0].headers["authorization"].startswith("Basic ")
    assert auth.credentials() == bearer("access-1")


def test_a_token_that_somebody_else_renewed_is_taken_over() -> None:
    here = Setting()
    one, other = here.auth(), here.auth()
    assert one.credentials() == other.credentials()
    here.clock.now += 85
    assert one.credentials() == other.credentials() == bearer("access-1")
    assert other.renewed(bearer("access-0")) == bearer("access-1"), "the refused one is not the one that is stored"
    assert len(here.provider.asked) == 1
    assert one.renewed(bearer("access-1")) == other.renewed(bearer("access-1")) == bearer("access-2")
    assert len(here.provider.asked) == 2


def test_many_threads_make_one_renewal() -> None:
    here = Setting()
    auths = [here.auth() for _ in range(4)]
    here.clock.now += 85
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: auths[n % 4].credentials()["authorization"], range(64)))
    assert set(found) == {"Bearer access-1"}
    assert len(here.provider.asked) == 1


def test_the_new_token_is_kept_before_it_is_used() -> None:
    class Failing(MemoryTokens):
        is_down = False

        def save(self, grant: Grant, over: int) -> Held:
            if self.is_down:
                raise ConnectionError("the database went away")
            return super().save(grant, over)

    clock = Clock()
    here = Setting(clock=clock, store=Failing(clock))
    auth = here.auth()
    here.clock.now += 85
    here.store.is_down = True
    for _ in range(2):
        with pytest.raises(ConnectionError):
            auth.credentials()
    assert len(here.provider.asked) == 1, "what was given is kept in mind, not asked for again"
    here.store.is_down = False
    assert auth.credentials() == bearer("access-1")
    held = here.store.load()
    assert held is not None
    assert (held.refresh, len(here.provider.asked)) == ("refresh-1", 1)


def test_a_provider_that_does_not_rotate_keeps_its_refresh_token() -> None:
    here = Setting(Provider(rotates=False))
    here.clock.now += 85
    assert here.auth().credentials() == bearer("access-1")
    assert here.store.load().refresh == "refresh-0"


LOST = [httpx.ReadError("reset"), httpx.Response(503), httpx.Response(500), httpx.Response(200, text="<html>")]


@pytest.mark.parametrize("trouble", LOST, ids=["reset", "503", "500", "a page"])
def test_one_failure_of_the_endpoint_is_not_noticed(trouble: Any) -> None:
    here = Setting()
    here.provider.answers = [trouble]
    here.clock.now += 120
    assert here.auth().credentials() == bearer("access-2")
    assert len(here.slept) == 1


def test_while_a_token_works_its_renewal_may_fail() -> None:
    here = Setting()
    auth = here.auth()
    here.provider.answers = [httpx.Response(503)] * 4
    here.clock.now += 81
    assert auth.credentials() == bearer("access-0")
    here.clock.now += 10
    assert (auth.credentials(), len(here.provider.asked)) == (bearer("access-0"), 2), "not asked again for a while"
    here.clock.now += 10
    with pytest.raises(Transient):
        auth.credentials()
    assert auth.credentials() == bearer("access-5")


def test_a_refused_refresh_token_says_what_to_type() -> None:
    here = Setting()
    auth = here.auth()
    here.provider.known = "another"
    with pytest.raises(AuthFailed, match=r"not accepted any more \(invalid_grant\).*concord systems authorize crm"):
        auth.renewed(bearer("access-0"))
    with pytest.raises(AuthFailed, match="concord systems authorize crm"):
        here.auth().renewed(bearer("access-0"))
    assert len(here.provider.asked) == 1, "other workers do not try a token that was refused a moment ago"
    here.clock.now += 700
    with pytest.raises(AuthFailed):
        auth.credentials()
    assert len(here.provider.asked) == 2, "but now and then, should the refusal have been a mistake"


def test_a_renewal_that_was_cut_off_is_told() -> None:
    here = Setting()
    here.store.asked()  # and then the process was killed, after the provider had rotated
    here.provider.known = "refresh-1"
    here.clock.now += 300
    with pytest.raises(AuthFailed, match=r"a renewal 5 min ago was cut off .* authorise again: concord systems"):
        here.auth().credentials()


def test_a_system_that_nobody_authorised_says_so() -> None:
    declared = PERSONAL
    endpoint = TokenEndpoint("crm", declared, network="public", transport=Provider())
    with pytest.raises(AuthFailed, match="nobody has authorised Concord there yet; authorise it: concord systems"):
        OAuth2("crm", declared, MemoryTokens(), endpoint).credentials()


def test_without_a_refresh_token_it_is_used_to_its_end() -> None:
    clock = Clock()
    store = MemoryTokens(clock)
    store.save(Grant("only", None, 100.0), 0)
    endpoint = TokenEndpoint("crm", PERSONAL, network="public", transport=Provider())
    auth = OAuth2("crm", PERSONAL, store, endpoint, clock=clock)
    clock.now += 95
    assert auth.credentials() == bearer("only")
    clock.now += 10
    with pytest.raises(AuthFailed, match="no refresh token"):
        auth.credentials()


@pytest.mark.parametrize("life", [None, "-1", "soon"], ids=["absent", "never", "words"])
def test_a_token_without_an_end_is_renewed_when_it_is_refused(life: Any) -> None:
    here = Setting(Provider(life=life), OURSELVES)
    auth = here.auth()
    first = auth.credentials()
    here.clock.now += 10**6
    assert auth.credentials() == first
    assert auth.renewed(first) == bearer("access-2")


def test_client_credentials_ask_for_the_declared_scopes() -> None:
    here = Setting(Provider(life="100"), OURSELVES)
    assert here.auth().credentials() == bearer("access-1")
    assert here.provider.asked == [{"grant_type": "client_credentials", "scope": "read write"}]
    here.clock.now += 81
    assert here.auth().credentials() == bearer("access-2")


@pytest.mark.parametrize("way", ["basic", "body"])
def test_the_client_shows_its_secret_where_the_provider_wants_it(way: Any) -> None:
    here = Setting(declared=replace(OURSELVES, client_auth=way, client_id="a:b", client_secret="p&q"))
    here.auth().credentials()
    sent = here.provider.asked[0]
    if way == "body":
        assert (sent["client_id"], sent["client_secret"]) == ("a:b", "p&q")
        assert "authorization" not in here.provider.requests[0].headers
    else:
        assert here.provider.requests[0].headers["authorization"] == "Basic YSUzQWI6cCUyNnE="
        assert "client_secret" not in sent


REFUSALS = [
    (refusal("invalid_client", 401), "client_id and client_secret"),
    (refusal("invalid_scope"), "allowed the declared scopes"),
    (refusal("unsupported_grant_type", error_description="no"), "unsupported_grant_type: no"),
    (httpx.Response(400, text="<html>"), "answered 400"),
]


@pytest.mark.parametrize(("answer", "said"), REFUSALS, ids=["client", "scope", "grant", "a page"])
def test_a_refusal_says_what_to_look_at(answer: httpx.Response, said: str) -> None:
    here = Setting(declared=OURSELVES)
    here.provider.answers = [answer] * 3
    with pytest.raises(AuthFailed, match=said):
        here.auth().credentials()


def test_hubspots_own_refusal_is_understood() -> None:
    here = Setting()
    here.provider.answers = [
        httpx.Response(400, json={"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"})
    ]
    with pytest.raises(AuthFailed, match="authorise again"):
        here.auth().renewed(bearer("access-0"))


def test_an_answer_without_a_token_is_a_fault() -> None:
    here = Setting(declared=OURSELVES)
    here.provider.answers = [httpx.Response(200, json={}), httpx.Response(200, json=[1])]
    with pytest.raises(SystemFault, match="without an access_token"):
        here.auth().credentials()


def test_a_rotated_client_secret_is_used_at_once() -> None:
    kept = ["old"]
    declared = replace(OURSELVES, client_auth="body", client_secret=Secret(lambda: "old", lambda: kept[0]))
    here = Setting(declared=declared)
    here.provider.answers = [refusal("invalid_client", 401)]
    kept[0] = "new"
    assert here.auth().credentials() == bearer("access-2")
    assert [form["client_secret"] for form in here.provider.asked] == ["old", "new"]


def test_a_request_that_is_refused_is_sent_again_once_with_a_new_token() -> None:
    here = Setting()
    seen: list[str] = []

    def system(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200 if seen[-1].endswith("access-1") else 401, json={})

    client = HttpClient("https://crm.example", system="crm", auth=here.auth(), transport=httpx.MockTransport(system))
    assert client.get("x").status == 200
    assert seen == ["Bearer access-0", "Bearer access-1"]


def test_a_system_that_goes_on_refusing_is_not_asked_for_ever() -> None:
    here = Setting()
    transport = httpx.MockTransport(lambda request: httpx.Response(401, text=request.headers["authorization"]))
    client = HttpClient("https://crm.example", system="crm", auth=here.auth(), transport=transport)
    with pytest.raises(AuthFailed, match="authorise again: concord systems authorize crm") as raised:
        client.get("x")
    assert len(here.provider.asked) == 1
    assert "access-" not in str(raised.value)


def test_a_missing_right_renews_nothing() -> None:
    here = Setting()
    transport = httpx.MockTransport(lambda _: httpx.Response(403, json={"message": "scope contacts missing"}))
    client = HttpClient("https://crm.example", system="crm", auth=here.auth(), transport=transport)
    with pytest.raises(AuthFailed, match=r"\(403\).*authorise again"):
        client.get("x")
    assert here.provider.asked == []


def test_no_secret_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    here = Setting()
    here.store.save(Grant("access-canary", "refresh-canary", 100.0), 1)
    here.provider.answers = [
        refusal("invalid_grant", error_description="refresh-canary of app with client-secret-canary is unknown")
    ]
    auth = here.auth()
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthFailed) as raised:
        auth.renewed(bearer("access-canary"))
    shown = f"{raised.value} {caplog.text} {here.store.load()!r} {here.declared!r} {auth!r}"
    shown += repr(auth.begin())
    assert "canary" not in shown.replace(repr(here.declared.client_secret), "")


# --------------------------------------------------------------------------------------------------- a person's yes


def test_a_person_is_sent_to_a_url_with_state_and_proof() -> None:
    here = Setting(declared=replace(PERSONAL, params={"access_type": "offline"}))
    one, other = here.auth().begin(), here.auth().begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(one.url).query).items()}
    assert one.url.startswith("https://id.example/oauth/authorize?")
    assert query["response_type"] == "code"
    assert query["redirect_uri"] == "http://localhost:9419/authorized"
    assert (query["scope"], query["access_type"], query["code_challenge_method"]) == ("read write", "offline", "S256")
    assert len(query["code_challenge"]) == 43
    assert one.state != other.state
    assert one.verifier not in one.url


def test_the_code_that_comes_back_gives_the_first_token() -> None:
    here = Setting(store=MemoryTokens())
    auth = here.auth()
    asked = auth.begin()
    auth.finish(asked, "the-code", asked.state)
    assert here.provider.asked == [
        {
            "grant_type": "authorization_code",
            "code": "the-code",
            "redirect_uri": "http://localhost:9419/authorized",
            "code_verifier": asked.verifier,
        }
    ]
    assert auth.credentials() == bearer("access-1")


@pytest.mark.parametrize(("state", "said"), [("other", "state differs"), (None, "code was refused")])
def test_an_answer_that_is_not_ours_or_too_late(state: str | None, said: str) -> None:
    here = Setting()
    asked = here.auth().begin()
    here.provider.answers = [refusal("invalid_grant")]
    with pytest.raises(AuthFailed, match=said):
        here.auth().finish(asked, "code", asked.state if state is None else state)


def test_nobody_authorises_client_credentials() -> None:
    with pytest.raises(Misdeclared, match="client_credentials"):
        Setting(declared=OURSELVES).auth().begin()


def test_a_lock_that_somebody_keeps_is_a_passing_trouble() -> None:
    class Kept(MemoryTokens):
        @contextmanager
        def lock(self) -> Iterator[MemoryTokens]:
            raise TimeoutError
            yield self

    clock = Clock()
    here = Setting(clock=clock, store=Kept(clock))
    auth = here.auth()
    clock.now += 85
    assert auth.credentials() == bearer("access-0")
    clock.now += 40
    with pytest.raises(Transient, match="another worker"):
        auth.credentials()


def test_a_connector_gets_its_credentials_from_either_setting() -> None:
    assert auth_of(Context("crm", {"token": "t"}, {})).credentials() == bearer("t")
    assert isinstance(auth_of(Context("crm", {"oauth2": PERSONAL}, {})), OAuth2)
    with pytest.raises(Misdeclared, match="`token` or `oauth2`"):
        auth_of(Context("crm", {}, {}))
