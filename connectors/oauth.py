"""OAuth 2 as credentials: tokens from a shared store, renewed early, by one worker at a time (RFC 6749, 7636, 9700).

The way of a renewal: take the store's lock, read again (somebody may have been faster), note that we ask, ask, store,
and only then use. What the provider puts in place of the old refresh token is therefore never used before it is kept.
A crash between its answer and our commit leaves the note: the next refusal then says what happened.

An answer that was lost is asked for once more with the same refresh token. Some vendors accept it for a while after
its rotation (Xero: 30 minutes, developer.xero.com/faq/oauth2); with the others nothing is lost by asking.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx

from canonical.declarations.oauth import OAuth2 as Declared
from canonical.tokens import Grant, Held, next_step, refusal
from connectors.auth import Auth, Bearer, Credentials, reveal
from connectors.oauth_endpoint import GrantRefused, TokenEndpoint
from connectors.protocol import AuthFailed, Context, Misdeclared, RateLimited, SystemFault, Transient
from connectors.tokens import LockedToken, MemoryTokens, TokenStore

_PAUSE_SECONDS = 30.0
"""How long a token that still works is used on after its early renewal has failed."""
_RETRY_SECONDS = 1.0


def auth_of(context: Context, *, transport: httpx.BaseTransport | None = None) -> Auth:
    """The credentials of a system that declares either `token` or `oauth2`: what most vendors' connectors need."""
    if "oauth2" in context.settings:
        return OAuth2.of(context, transport=transport)
    if "token" in context.settings:
        return Bearer(context.settings["token"])
    raise Misdeclared("expected `token` or `oauth2`, found neither", where=context.system)


@dataclass(frozen=True, slots=True)
class Asked:
    """A person is asked to let Concord in at `url`; the answer must carry `state` and a code."""

    url: str
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


class OAuth2:
    """Credentials of one system. Thread-safe; `close` it in the end."""

    def __init__(
        self,
        system: str,
        declared: Declared,
        store: TokenStore,
        endpoint: TokenEndpoint,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._system = system
        self._declared = declared
        self._store = store
        self._endpoint = endpoint
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._held: Held | None = None
        self._look_at = 0.0
        """Until when the held token needs no second look, on the monotonic clock."""
        self._unsaved: tuple[Grant, int] | None = None
        """A token that was given and could not be stored yet: it is not used before it is."""

    @classmethod
    def of(cls, context: Context, *, transport: httpx.BaseTransport | None = None) -> OAuth2:
        """From a system's declared `oauth2`. Raises Misdeclared where it has none."""
        declared = context.settings.get("oauth2")
        if not isinstance(declared, Declared):
            raise Misdeclared("expected the setting `oauth2`, found none", where=context.system)
        endpoint = TokenEndpoint(context.system, declared, network=context.network, transport=transport)
        return cls(context.system, declared, context.tokens or MemoryTokens(), endpoint)

    @property
    def advice(self) -> str:
        """What a person can do when the system lets us in no more."""
        if self._declared.grant == "client_credentials":
            return "see that client_id and client_secret are right, and that the app has these scopes"
        return f"authorise again: concord systems authorize {self._system}"

    def close(self) -> None:
        """Close the connections to the token endpoint."""
        self._endpoint.close()

    # ---------------------------------------------------------------------------------------------- as credentials

    def credentials(self) -> Credentials:
        """The access token, renewed if it is due. Raises AuthFailed when only a person can go on from here."""
        with self._lock:
            if self._held is None or self._clock() >= self._look_at:
                self._keep(self._current(None))
            return self._header()

    def renewed(self, refused: Credentials) -> Credentials | None:
        """Another access token than the refused one: somebody else's newer one, or a new one of our own."""
        with self._lock:
            old = refused.get("authorization", "").removeprefix("Bearer ")
            if self._held is None or self._held.access == old:
                self._keep(self._current(old))
            return self._header()

    def _header(self) -> Credentials:
        assert self._held is not None
        return {"authorization": f"Bearer {reveal(self._held.access, 'access token')}"}

    def _keep(self, held: Held) -> None:
        self._held = held
        due = [s for s in (held.due_seconds, held.left_seconds) if s is not None and s > 0]
        self._look_at = self._clock() + min(due, default=_PAUSE_SECONDS if held.left_seconds is not None else 1e9)

    # ---------------------------------------------------------------------------------------------- renewing

    def _current(self, refused: str | None) -> Held:
        """The stored token if it will do, else a new one."""
        held = self._store.load()
        if self._unsaved is None and self._use(held, refused):
            assert held is not None
            return held
        try:
            with self._store.lock() as locked:
                return self._under_lock(locked, refused)
        except TimeoutError:
            trouble: Exception = Transient("another worker has been renewing the token for too long", where=self._where)
        except (Transient, SystemFault) as failed:
            trouble = failed
        if held is not None and refused is None and held.left_seconds is not None and held.left_seconds > 1:
            return _paused(held)  # renewed early, so there is time to try again
        raise trouble

    def _use(self, held: Held | None, refused: str | None) -> bool:
        step = next_step(held, self._declared.grant, refused_access=refused)
        if step.action == "authorise":
            raise self._failed(step.because)
        return step.action == "use"

    def _under_lock(self, locked: LockedToken, refused: str | None) -> Held:
        if self._unsaved is not None:
            self._save(locked, *self._unsaved)
        held = locked.load()
        if self._use(held, refused):
            assert held is not None
            return held
        if self._declared.grant == "client_credentials":
            grant = self._ask(self._endpoint.client_credentials)
        else:
            assert held is not None
            refresh = held.refresh
            assert refresh is not None
            locked.asked()
            try:
                grant = self._ask(lambda: self._endpoint.refresh(refresh))
            except GrantRefused as no:
                locked.refused(no.said)
                raise self._failed(refusal(held, no.said)) from None
        return self._save(locked, grant, held.version if held else 0)

    def _save(self, locked: LockedToken, grant: Grant, over: int) -> Held:
        self._unsaved = grant, over
        held = locked.save(grant, over)
        self._unsaved = None
        return held

    def _ask(self, ask: Callable[[], Grant]) -> Grant:
        """Once more when the answer was lost or the endpoint stumbled."""
        try:
            return ask()
        except RateLimited:
            raise
        except (Transient, SystemFault):
            self._sleep(_RETRY_SECONDS)
            return ask()

    # ---------------------------------------------------------------------------------------------- a person's yes

    def begin(self) -> Asked:
        """The URL at which a person lets Concord in, with a state and a proof key (PKCE) made for it."""
        if self._declared.grant != "authorization_code":
            raise Misdeclared(
                "nobody has to authorise here: the grant is client_credentials", where=f"systems.{self._system}.oauth2"
            )
        verifier = secrets.token_urlsafe(64)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        state = secrets.token_urlsafe(32)
        params = {
            **self._declared.params,
            "response_type": "code",
            "client_id": reveal(self._declared.client_id, "client_id"),
            "redirect_uri": self._declared.redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self._declared.scopes:
            params["scope"] = " ".join(self._declared.scopes)
        url = f"{self._declared.authorize_url}?{urlencode(params)}"
        return Asked(url, self._declared.redirect_uri, state, verifier)

    def finish(self, asked: Asked, code: str, state: str) -> Held:
        """Trade the code that came back for the first token, and store it. Raises AuthFailed."""
        if not secrets.compare_digest(state.encode(), asked.state.encode()):
            raise AuthFailed(
                "the answer belongs to another request (its state differs); ask again", where=f"systems.{self._system}"
            )
        try:
            grant = self._endpoint.code(code, asked.redirect_uri, asked.verifier)
        except GrantRefused as no:
            raise AuthFailed(f"the code was refused ({no.said}); ask for a new one", where=self._where) from None
        with self._lock, self._store.lock() as locked:
            held = locked.load()
            self._unsaved = None
            self._keep(locked.save(grant, held.version if held else 0))
            assert self._held is not None
            return self._held

    @property
    def _where(self) -> str:
        return f"{self._system} authorisation"

    def _failed(self, because: str) -> AuthFailed:
        advice = self.advice
        if self._held is None and self._store.load() is None:
            advice = advice.replace("authorise again", "authorise it")
        return AuthFailed(f"{because}; {advice}", where=self._where)


def _paused(held: Held) -> Held:
    """The same token, to be looked at again after a while or when it ends."""
    left = held.left_seconds or 0.0
    return Held(held.version, held.access, held.refresh, left, min(_PAUSE_SECONDS, left))
