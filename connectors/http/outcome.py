"""What an answer, or the lack of one, means: the error classes of connectors.protocol, as pure functions.

A read may always be repeated. A write whose bytes left may have been done unless the answer clearly says that it was
not: everything unclear about it is Ambiguous (RELIABILITY P5, P10; fault matrix 18-29).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import quote

import httpx

from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    ConnectorError,
    Misdeclared,
    RateLimited,
    SystemFault,
    Transient,
    Unreachable,
)

Effect = Literal["read", "write"]

MAX_WAIT_SECONDS = 900.0
"""A Retry-After beyond 15 minutes is taken as 15 minutes: one odd header must not park a lane for a day."""
_BUSY = frozenset({408, 425, 502, 503, 504})
_EXCERPT = 200
_SHORTEST_SECRET = 8
"""Shorter words, such as `Bearer` or a user's name, stand in ordinary sentences too."""


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds to wait, from `Retry-After` as seconds or as an HTTP date (measured from the answer's own `Date`).

    None for absent, negative, past or unreadable values: then the caller's own growing delays apply.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        then, now = _moment(text), _moment(date) or datetime.now(UTC)
        if then is None:
            return None
        seconds = (then - now).total_seconds()
    return min(seconds, MAX_WAIT_SECONDS) if seconds >= 0 else None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def unclear(effect: Effect, message: str, where: str, status: int | None = None) -> ConnectorError:
    """The system answered, but not as itself: a fault when reading; when writing, who knows."""
    error = SystemFault if effect == "read" else Ambiguous
    return error(message, where=where, status=status)


def cut_short(effect: Effect, message: str, where: str) -> ConnectorError:
    """The answer did not arrive whole: read again; for a write, look before doing it again."""
    return Transient(message, where=where) if effect == "read" else Ambiguous(message, where=where)


def of_status(
    status: int, headers: Mapping[str, str], body: bytes, effect: Effect, where: str
) -> ConnectorError | None:
    """The error that a status stands for; None for 2xx."""
    if 200 <= status < 300:
        return None
    said = excerpt(body)
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    if status == 429:
        return RateLimited("asked to slow down", wait_seconds=wait, where=where, status=status)
    if status in (401, 403):
        what = "credentials refused" if status == 401 else "not permitted with these credentials"
        return AuthFailed(f"{what} ({status}){said}", where=where, status=status)
    if status == 425 or (status in _BUSY and effect == "read"):
        return Transient(f"not available now ({status})", wait_seconds=wait, where=where, status=status)
    if status >= 500 or status == 408:
        return unclear(effect, f"answered {status}{said}", where, status)
    if 300 <= status < 400:
        if effect == "write" and status not in (307, 308):
            return Ambiguous(f"answered with a redirect ({status})", where=where, status=status)
        return Misdeclared(f"answered with a redirect ({status}); declare the final URL", where=where, status=status)
    return Misdeclared(f"answered {status}{said}", where=where, status=status)


def of_failure(failure: httpx.TransportError, effect: Effect, is_sent: bool, where: str) -> ConnectorError:
    """The error for an exchange that broke, by whether any byte of the request had left."""
    if is_certificate_trouble(failure):
        return Unreachable("the server's certificate is not trusted or names another host", where=where)
    if isinstance(failure, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return Misdeclared(f"a request that HTTP does not allow ({failure})", where=where)
    what = "no answer within the deadline" if isinstance(failure, httpx.TimeoutException) else "the connection broke"
    if not is_sent:
        return Transient(f"{what} before anything was sent", where=where)
    return cut_short(effect, what, where)


def is_certificate_trouble(failure: BaseException) -> bool:
    """Whether TLS refused the peer, as opposed to a connection that broke."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def excerpt(body: bytes) -> str:
    """The start of an error body for a person, escaped, on one line; "" when there is none."""
    if not body:
        return ""
    text = body[:_EXCERPT].decode("utf-8", "replace")
    shown = "".join(char if char.isprintable() else " " for char in text)
    return ": " + " ".join(shown.split())


def masked(body: bytes, secrets: Iterable[str]) -> bytes:
    """An error's body in which no secret of ours stands, whatever the system repeats (`Bearer x` is masked as `x`)."""
    bare = {word for secret in secrets for word in secret.split() if len(word) >= _SHORTEST_SECRET}
    for secret in sorted(bare, key=len, reverse=True):
        body = body.replace(secret.encode(), "•••".encode())
    return body


def segment(record_id: str) -> str:
    """An id as one segment of a path. Misdeclared for ids that would lead to another path."""
    if record_id in ("", ".", ".."):
        raise Misdeclared(f"expected an id, found {record_id!r}")
    return quote(record_id, safe="")
