"""Authorisation servers shaped like the vendors': codes with proof keys, tokens that end, refresh tokens that rotate.

One app is registered (`CLIENT_ID`, `CLIENT_SECRET`) and one person, who says yes at once. Tokens live in the system's
store. `/_sandbox/oauth` shows and changes how it behaves: how long tokens live, whether refresh tokens rotate, for how
long a rotated one is still taken; `/_sandbox/oauth/expire`, `/revoke` and `/withdraw` end access tokens, end refresh
tokens, take the right to the data away. A planted fault of the kind `expire` ends access tokens at a chosen request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.store import Doc, Store, now_ms

CLIENT_ID = "sandbox-app"
CLIENT_SECRET = "sandbox-app-secret"  # noqa: S105  the sandbox's own
_STREAM = "oauth"
_CODE_SECONDS = 300


class Refused(Exception):
    """A request that gets no token; `error` is the standard's word for it."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error, self.status = error, status


@dataclass(frozen=True)
class Vendor:
    """How one vendor's authorisation server behaves.

    grace_seconds: for how long a refresh token is still taken after it was rotated. offline: the scope without which no
    refresh token is given ("" where each authorisation gets one).
    """

    name: str
    authorize_path: str
    token_path: str
    life_seconds: float
    rotates: bool
    grace_seconds: float = 0.0
    offline: str = ""
    clients: tuple[Literal["basic", "body"], ...] = ("basic", "body")
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")
    gives_refresh_again: bool = True
    """Whether the answer to a refresh carries the refresh token, too."""


XERO = Vendor(  # developer.xero.com/faq/oauth2: 30 minutes, and 30 minutes' grace for a rotated refresh token
    "xero",
    "/identity/connect/authorize",
    "/connect/token",
    1800,
    rotates=True,
    grace_seconds=1800,
    offline="offline_access",
    grants=("authorization_code", "refresh_token", "client_credentials"),
)
HUBSPOT = Vendor("hubspot", "/oauth/authorize", "/oauth/v1/token", 1800, rotates=False, clients=("body",))
ASANA = Vendor(
    "asana", "/-/oauth_authorize", "/-/oauth_token", 3600, rotates=False, clients=("body",), gives_refresh_again=False
)


class Authority:
    """One system's authorisation server over its store."""

    def __init__(self, store: Store, vendor: Vendor, clock_ms: Callable[[], int] = now_ms) -> None:
        self.vendor = vendor
        self._store = store
        self._clock_ms = clock_ms
        self._is_withdrawn = False

    # ---------------------------------------------------------------------------------------------- for the system

    def owns(self, path: str) -> bool:
        """Whether a path is one of this server's, which need no access token."""
        return path in (self.vendor.authorize_path, self.vendor.token_path)

    def verdict(self, request: Request) -> Literal["known", "unknown", "forbidden"]:
        """What the access token of a request is worth. forbidden: it is good, and its right was taken away."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        held = self._store.get(_STREAM, token) if kind == "Bearer" else None
        if held is None or held["kind"] != "access" or held["until"] <= self._clock_ms():
            return "unknown"
        return "forbidden" if self._is_withdrawn else "known"

    def routes(self) -> list[Route]:
        """The paths of this server, for the system's application."""
        return [
            Route(self.vendor.authorize_path, self._authorize, methods=["GET"]),
            Route(self.vendor.token_path, self._token, methods=["POST"]),
        ]

    # ---------------------------------------------------------------------------------------------- doors for tests

    def door(self, method: str, name: str, wanted: Doc) -> Doc:
        """A request under `/_sandbox/`. Raises KeyError for a door that is not there, ValueError for bad settings."""
        match method, name:
            case "GET", "oauth":
                return self._shown()
            case "POST", "oauth":
                unknown = set(wanted) - {"life_seconds", "rotates", "grace_seconds"}
                if unknown:
                    raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
                self.vendor = replace(self.vendor, **wanted)
            case "POST", "oauth/expire":
                self.expire()
            case "POST", "oauth/revoke":
                self._end("refresh")
            case "POST", "oauth/withdraw":
                self._is_withdrawn = bool(wanted.get("on", True))
            case _:
                raise KeyError(name)
        return self._shown()

    def expire(self) -> None:
        """Every access token ends now."""
        self._end("access")

    def _end(self, kind: str) -> None:
        now = self._clock_ms()
        live = [(token, doc) for token, doc in self._store.stream(_STREAM).items() if doc["kind"] == kind]
        self._store.put_many(_STREAM, [(token, {**doc, "until": min(doc["until"], now)}) for token, doc in live])

    def _shown(self) -> Doc:
        now = self._clock_ms()
        docs = self._store.stream(_STREAM).values()
        live = {kind: sum(d["kind"] == kind and d["until"] > now for d in docs) for kind in ("access", "refresh")}
        given = sum(d["kind"] == "access" for d in docs)
        return {"vendor": asdict(self.vendor), "live": live, "given": given, "withdrawn": self._is_withdrawn}

    # ---------------------------------------------------------------------------------------------- the two endpoints

    async def _authorize(self, request: Request) -> Response:
        """The person says yes: back to the redirect URI with a code."""
        asked = request.query_params
        if asked.get("client_id") != CLIENT_ID or asked.get("response_type") != "code" or "redirect_uri" not in asked:
            return Response("unknown app, or not a request for a code", 400)
        code = secrets.token_urlsafe(24)
        names = ("redirect_uri", "scope", "code_challenge", "code_challenge_method")
        doc = {"kind": "code", "until": self._clock_ms() + _CODE_SECONDS * 1000}
        self._store.put(_STREAM, code, doc | {name: asked.get(name, "") for name in names})
        back = urlencode({"code": code, "state": asked.get("state", "")})
        return Response(status_code=302, headers={"location": f"{asked['redirect_uri']}?{back}"})

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            self._check_client(request, form)
            return _json(200, self._given(form), no_store=True)
        except Refused as refused:
            return self._refusal(refused)

    def _given(self, form: dict[str, str]) -> Doc:
        grant = form.get("grant_type", "")
        if grant not in self.vendor.grants:
            raise Refused("unsupported_grant_type")
        if grant == "client_credentials":
            return self._answer(form.get("scope", "").split(), None)
        if grant == "authorization_code":
            scopes = self._redeemed(form)
            is_offline = not self.vendor.offline or self.vendor.offline in scopes
            return self._answer(scopes, self._new_refresh(scopes) if is_offline else None)
        token = form.get("refresh_token", "")
        held = self._store.get(_STREAM, token)
        if held is None or held["kind"] != "refresh" or held["until"] <= self._clock_ms():
            raise Refused("invalid_grant")
        if not self.vendor.rotates:
            return self._answer(held["scopes"], token if self.vendor.gives_refresh_again else None)
        grace = self._clock_ms() + int(self.vendor.grace_seconds * 1000)
        self._store.put(_STREAM, token, {**held, "until": min(held["until"], grace)})
        return self._answer(held["scopes"], self._new_refresh(held["scopes"]))

    def _redeemed(self, form: dict[str, str]) -> list[str]:
        """The scopes of a code, which works once and only with the proof of who asked for it."""
        code = form.get("code", "")
        held = self._store.get(_STREAM, code)
        if held is None or held["kind"] != "code" or held["until"] <= self._clock_ms():
            raise Refused("invalid_grant")
        self._store.remove(_STREAM, code)
        proof = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        is_proved = not held["code_challenge"] or proof.rstrip(b"=").decode() == held["code_challenge"]
        if not is_proved or form.get("redirect_uri") != held["redirect_uri"]:
            raise Refused("invalid_grant")
        return str(held["scope"]).split()

    def _new_refresh(self, scopes: Sequence[str]) -> str:
        token = secrets.token_urlsafe(32)
        sixty_days = 60 * 86_400_000
        self._put(token, "refresh", sixty_days, scopes)
        return token

    def _answer(self, scopes: Sequence[str], refresh: str | None) -> Doc:
        access = secrets.token_urlsafe(48)
        self._put(access, "access", int(self.vendor.life_seconds * 1000), scopes)
        answer: Doc = {"access_token": access, "token_type": "bearer", "expires_in": self.vendor.life_seconds}
        if refresh is not None:
            answer["refresh_token"] = refresh
        if self.vendor.name == "asana":
            answer["data"] = {"id": 1, "gid": "1", "name": "Sandbox", "email": "sandbox@wholesale.example"}
        elif self.vendor.name == "xero":
            answer |= {"token_type": "Bearer", "scope": " ".join(scopes)}
        return answer

    def _put(self, token: str, kind: str, life_ms: int, scopes: Sequence[str]) -> None:
        doc = {"kind": kind, "until": self._clock_ms() + life_ms, "scopes": list(scopes)}
        self._store.put(_STREAM, token, doc)

    # ---------------------------------------------------------------------------------------------- who asks

    def _check_client(self, request: Request, form: dict[str, str]) -> None:
        shown = (form.get("client_id"), form.get("client_secret"))
        way = "body"
        if header := request.headers.get("authorization"):
            way, shown = "basic", _basic(header)
        # A code that was asked for with a proof key needs no secret: a public client has none.
        is_public = shown == (CLIENT_ID, None) and bool(form.get("code_verifier"))
        if way not in self.vendor.clients or (shown != (CLIENT_ID, CLIENT_SECRET) and not is_public):
            raise Refused("invalid_client", 401 if way == "basic" else 400)

    def _refusal(self, refused: Refused) -> Response:
        if self.vendor.name == "hubspot":
            status, message = {
                "invalid_grant": ("BAD_REFRESH_TOKEN", "missing or invalid refresh token"),
                "invalid_client": ("BAD_CLIENT_SECRET", "missing or invalid client secret"),
            }.get(refused.error, ("BAD_GRANT_TYPE", "missing or unknown grant type"))
            return _json(refused.status, {"status": status, "message": message, "correlationId": secrets.token_hex(8)})
        body: dict[str, Any] = {"error": refused.error}
        if self.vendor.name == "asana":
            body["error_description"] = "The request was refused by the sandbox."
        return _json(refused.status, body)


def _basic(header: str) -> tuple[str | None, str | None]:
    kind, _, pair = header.partition(" ")
    try:
        user, _, password = base64.b64decode(pair, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return (unquote(user), unquote(password)) if kind.lower() == "basic" else (None, None)


def _json(status: int, content: Any, *, no_store: bool = False) -> Response:
    headers = {"cache-control": "no-store"} if no_store else {}
    return Response(orjson.dumps(content), status, headers, "application/json")
