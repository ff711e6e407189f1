"""How a system is shown who we are: credentials as headers (or, named `?name`, as query parameters).

Secrets are read anew for each request, so a rotation needs no restart; none is ever logged or put into an error.
Tokens that end and are renewed are connectors.oauth's.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from connectors.protocol import Misdeclared, Secret

Credentials = Mapping[str, str]


class Auth(Protocol):
    """Credentials for a request, and newer ones after a 401."""

    @property
    def advice(self) -> str:
        """What a person can do when the system does not let us in."""
        ...

    def credentials(self) -> Credentials: ...

    def renewed(self, refused: Credentials) -> Credentials | None:
        """Credentials that differ from the refused ones, or None: then a person must act."""
        ...

    def close(self) -> None: ...


def reveal(secret: Secret | str, what: str, *, is_anew: bool = False) -> str:
    """A secret's text, without the line end that files have; `is_anew`: past any cache. Misdeclared if it is empty or
    cannot stand in a header."""
    if isinstance(secret, Secret):
        text = (secret.get_anew() if is_anew else secret.get()).strip()
    else:
        text = str(secret).strip()
    if not text:
        raise Misdeclared(f"{what}: expected a secret, found an empty one")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Misdeclared(f"{what}: expected one line, found control characters")
    return text


class _Static(ABC):
    """Credentials that change only when somebody rotates the secret."""

    @property
    def advice(self) -> str:
        return "put valid credentials, with the rights that are needed, where the landscape says they are kept"

    def credentials(self) -> Credentials:
        return self._shown(is_anew=False)

    def renewed(self, refused: Credentials) -> Credentials | None:
        now = self._shown(is_anew=True)
        return now if now != refused else None

    def close(self) -> None:  # noqa: B027 - whoever holds something open closes it
        """Nothing is held open."""

    @abstractmethod
    def _shown(self, *, is_anew: bool) -> Credentials: ...


class NoAuth(_Static):
    """A system that asks for nothing."""

    def _shown(self, *, is_anew: bool) -> Credentials:
        return {}


@dataclass(frozen=True)
class Bearer(_Static):
    """`Authorization: Bearer …`."""

    token: Secret | str = field(repr=False)

    def _shown(self, *, is_anew: bool) -> Credentials:
        return {"authorization": f"Bearer {reveal(self.token, 'token', is_anew=is_anew)}"}


@dataclass(frozen=True)
class Basic(_Static):
    """`Authorization: Basic …`."""

    user: Secret | str = field(repr=False)
    password: Secret | str = field(repr=False)

    def _shown(self, *, is_anew: bool) -> Credentials:
        user = reveal(self.user, "user", is_anew=is_anew)
        pair = f"{user}:{reveal(self.password, 'password', is_anew=is_anew)}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@dataclass(frozen=True)
class ApiKey(_Static):
    """A key in a header of its own, or (`?name`) in the query; `prefix` stands before it."""

    name: str
    key: Secret | str = field(repr=False)
    prefix: str = ""

    def _shown(self, *, is_anew: bool) -> Credentials:
        name = self.name if self.name.startswith("?") else self.name.lower()
        return {name: self.prefix + reveal(self.key, self.name, is_anew=is_anew)}
