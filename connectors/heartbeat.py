"""Calling an address while all is well: whoever listens there (a dead man's switch) raises the alarm when it stops."""

from __future__ import annotations

import httpx

from connectors.auth import reveal
from connectors.http import HttpClient
from connectors.http.allow import Network
from connectors.protocol import Misdeclared, Secret

DEADLINE_SECONDS = 10.0


def beat(url: Secret, network: Network, *, transport: httpx.BaseTransport | None = None) -> None:
    """One GET; any answer of 2xx will do. Raises ConnectorError, which never repeats the address: it is a secret."""
    try:
        whole = httpx.URL(reveal(url, "heartbeat"))
    except (httpx.InvalidURL, ValueError):
        raise Misdeclared("expected a URL", where="notify.heartbeat") from None
    base = str(whole.copy_with(path="/", query=None, fragment=None))
    client = HttpClient(
        base, system="heartbeat", network=network, deadline_seconds=DEADLINE_SECONDS, transport=transport
    )
    try:
        client.send("GET", whole.path, params=dict(whole.params), effect="read", where="heartbeat")
    finally:
        client.close()
