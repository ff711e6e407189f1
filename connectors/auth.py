"""How a system is shown who we are: credentials as headers (or, named `?name`, as query parameters).

Secrets are read anew for each request, so a rotation needs no restart; none is ever logged or put into an error.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from connectors.protocol import AuthFailed, Misdeclared, Secret

Credentials = Mapping[str, str]


class Auth(Protocol):
    """Credentials for a request, and newer ones after a 401."""

    def credentials(self) -> Credentials: ...

    def renewed(self, refused: Credentials) -> Credentials | None:
        """Credentials that differ from the refused ones, or None: then a person must act."""
        ...


def reveal(secret: Secret | str, what: str) -> str:
    """A secret's text, without the line end that files have. Misdeclared if it is empty or cannot stand in a header."""
    text = (secret.get() if isinstance(secret, Secret) else str(secret)).strip()
    if not text:
        raise Misdeclared(f"{what}: expected a secret, found an empty one")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Misdeclared(f"{what}: expected one line, found control characters")
    return text


class _Static:
    """Credentials that change only when somebody rotates the secret."""

    def credentials(self) -> Credentials:
        raise NotImplementedError

    def renewed(self, refused: Credentials) -> Credentials | None:
        now = self.credentials()
        return now if now != refused else None


class NoAuth(_Static):
    """A system that asks for nothing."""

    def credentials(self) -> Credentials:
        return {}


@dataclass(frozen=True)
class Bearer(_Static):
    """`Authorization: Bearer …`."""

    token: Secret | str = field(repr=False)

    def credentials(self) -> Credentials:
        return {"authorization": f"Bearer {reveal(self.token, 'token')}"}


@dataclass(frozen=True)
class Basic(_Static):
    """`Authorization: Basic …`."""

    user: Secret | str = field(repr=False)
    password: Secret | str = field(repr=False)

    def credentials(self) -> Credentials:
        pair = f"{reveal(self.user, 'user')}:{reveal(self.password, 'password')}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@dataclass(frozen=True)
class ApiKey(_Static):
    """A key in a header of its own, or (`?name`) in the query; `prefix` stands before it."""

    name: str
    key: Secret | str = field(repr=False)
    prefix: str = ""

    def credentials(self) -> Credentials:
        name = self.name if self.name.startswith("?") else self.name.lower()
        return {name: self.prefix + reveal(self.key, self.name)}


class ClientCredentials:
    """OAuth 2 client credentials (RFC 6749, 4.4): one thread fetches it, early, at 80 % of its life."""

    def __init__(self, fetch: Callable[[], Mapping[str, Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`fetch` asks the token endpoint and returns its answer (`access_token`, `expires_in`)."""
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0

    def credentials(self) -> Credentials:
        with self._lock:
            if self._token is None or self._clock() >= self._renew_at:
                self._refresh()
            return {"authorization": f"Bearer {self._token}"}

    def renewed(self, refused: Credentials) -> Credentials | None:
        with self._lock:
            if refused.get("authorization") == f"Bearer {self._token}":
                self._refresh()
            return {"authorization": f"Bearer {self._token}"}

    def _refresh(self) -> None:
        answer = self._fetch()
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise AuthFailed("the token endpoint gave no access_token")
        life = answer.get("expires_in")
        seconds = float(life) if isinstance(life, int | float | str) and str(life).isdigit() else 300.0
        self._token, self._renew_at = token, self._clock() + 0.8 * seconds
