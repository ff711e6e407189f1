"""A provider's token endpoint: each grant as one form, each answer as a Grant or a reason in plain words.

Secrets are read anew for each request; when the client is refused and its secret has changed meanwhile, once more.
Of an answer that refuses only the standard's fields are repeated, without anything that we sent.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from canonical.declarations.oauth import OAuth2 as Declared
from canonical.tokens import Grant
from connectors.auth import reveal
from connectors.http.allow import Network
from connectors.http.client import Answer, HttpClient
from connectors.http.outcome import masked
from connectors.protocol import AuthFailed, ConnectorError, SystemFault

_REFUSED = frozenset({400, 401, 403})
_DEADLINE_SECONDS = 30.0
_DEAD = frozenset({"invalid_grant", "BAD_REFRESH_TOKEN", "BAD_AUTH_CODE", "EXPIRED_AUTH_CODE"})
"""What refuses the code or the refresh token; HubSpot says it in words of its own."""
_CLIENT = frozenset({"invalid_client", "unauthorized_client", "BAD_CLIENT_ID", "BAD_CLIENT_SECRET"})
_MOST_SAID = 200


class GrantRefused(AuthFailed):
    """The code or refresh token is not accepted. `said`: the endpoint's own words."""

    def __init__(self, said: str, where: str) -> None:
        self.said = said
        super().__init__(said, where=where)


class TokenEndpoint:
    """Speaks to the declared `token_url`. Raises AuthFailed, and what HttpClient raises."""

    def __init__(
        self, system: str, declared: Declared, *, network: Network, transport: httpx.BaseTransport | None = None
    ) -> None:
        url = httpx.URL(declared.token_url)
        self._declared = declared
        self._path = url.path
        self._where = f"{system} POST {url.path}"
        self._client = HttpClient(
            str(url.copy_with(path="/", query=None)),
            system=system,
            network=network,
            deadline_seconds=_DEADLINE_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        self._client.close()

    def code(self, code: str, redirect_uri: str, verifier: str) -> Grant:
        """The first token, for the code of a person's yes."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return self._ask({**form, "code_verifier": verifier})

    def refresh(self, refresh: str) -> Grant:
        """The next token. A provider that does not rotate gives no refresh token with it: the old one stays."""
        return self._ask({"grant_type": "refresh_token", "refresh_token": refresh}, keep=refresh)

    def client_credentials(self) -> Grant:
        """A token for ourselves."""
        form = {"grant_type": "client_credentials"}
        if self._declared.scopes:
            form["scope"] = " ".join(self._declared.scopes)
        return self._ask(form)

    def _ask(self, form: Mapping[str, str], keep: str | None = None) -> Grant:
        client = self._identity(is_anew=False)
        answer = self._send(form, client)
        if answer.status in _REFUSED and _is_client_refused(answer):
            fresh = self._identity(is_anew=True)
            if fresh != client:
                client = fresh
                answer = self._send(form, client)
        if answer.status in _REFUSED:
            raise self._refused(answer, {*form.values(), *filter(None, client)} - {form["grant_type"]})
        return self._grant(answer, keep)

    def _identity(self, *, is_anew: bool) -> tuple[str, str | None]:
        """Client id and secret; `is_anew`: past any cache."""
        name = reveal(self._declared.client_id, "client_id", is_anew=is_anew)
        secret = self._declared.client_secret
        return name, None if secret is None else reveal(secret, "client_secret", is_anew=is_anew)

    def _send(self, form: Mapping[str, str], client: tuple[str, str | None]) -> Answer:
        name, secret = client
        headers = {"content-type": "application/x-www-form-urlencoded"}
        sent = dict(form)
        if secret is not None and self._declared.client_auth == "basic":
            pair = f"{quote(name, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            sent |= {"client_id": name} | ({"client_secret": secret} if secret is not None else {})
        return self._client.send(
            "POST", self._path, content=urlencode(sent).encode(), headers=headers, effect="read", accept=_REFUSED
        )

    def _refused(self, answer: Answer, ours: set[str]) -> AuthFailed:
        """Why we got no token; nothing of what we sent is in it."""
        error, more = _words(answer)
        words = f"{error}: {more}" if more and more != error else error or f"answered {answer.status}"
        said = masked(words.encode(), ours).decode()[:_MOST_SAID]
        if error in _DEAD:
            return GrantRefused(said, self._where)
        if error in _CLIENT or answer.status == 401:
            advice = "see that client_id and client_secret are those of the app"
        elif error == "invalid_scope":
            advice = "see that the app is allowed the declared scopes"
        else:
            advice = "compare the declared oauth2: with the app's settings"
        return AuthFailed(f"no token was given ({said}); {advice}", where=self._where)

    def _grant(self, answer: Answer, keep: str | None) -> Grant:
        found = answer.json()
        access = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(access, str) or not access:
            raise SystemFault("the token endpoint answered without an access_token", where=self._where)
        refresh = found.get("refresh_token")
        return Grant(
            access=access,
            refresh=refresh if isinstance(refresh, str) and refresh else keep,
            life_seconds=_seconds(found.get("expires_in")),
            scopes=str(found.get("scope") or "")[:2_000],
        )


def _is_client_refused(answer: Answer) -> bool:
    return answer.status == 401 or _words(answer)[0] in _CLIENT


def _words(answer: Answer) -> tuple[str, str]:
    """(error, description) of a refusal: the standard's fields, or HubSpot's."""
    try:
        found = answer.json()
    except ConnectorError:  # a page, or nothing: the status speaks alone
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    error = found.get("error") or found.get("status") or ""
    more = found.get("error_description") or found.get("message") or ""
    return _line(error), _line(more)


def _line(text: Any) -> str:
    shown = "".join(char if char.isprintable() else " " for char in str(text)[:_MOST_SAID])
    return " ".join(shown.split())


def _seconds(life: Any) -> float | None:
    """`expires_in`, which some send as text; None where there is none, or it means never."""
    try:
        seconds = float(life)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < 1e9 else None
