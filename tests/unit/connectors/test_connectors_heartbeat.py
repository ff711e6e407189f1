"""The call that says that all is well: one GET, and an address that nobody reads in a log."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from connectors.heartbeat import beat
from connectors.protocol import AuthFailed, ConnectorError, Misdeclared, Secret, Transient, Unreachable

ADDRESS = "https://beats.example/ping/secret-canary?status=up&msg=OK"


def test_it_is_called_as_it_is_declared() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url}")
        return httpx.Response(200, text="OK")

    beat(Secret(lambda: ADDRESS + "\n"), "public", transport=httpx.MockTransport(answer))
    assert asked == [f"GET {ADDRESS}"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [(httpx.Response(503), Transient), (httpx.Response(404), Misdeclared), (httpx.Response(403), AuthFailed)],
    ids=["busy", "unknown", "refused"],
)
def test_what_it_was_not_taken_for_never_shows_the_address(
    answer: Any, error: type[ConnectorError], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectorError) as raised:
        beat(Secret(lambda: ADDRESS), "public", transport=httpx.MockTransport(lambda _: answer))
    assert isinstance(raised.value, error)
    assert "canary" not in str(raised.value) + caplog.text


@pytest.mark.parametrize("address", ["", "not a url", "ftp://x.example/a", "http://beats.example/plain"])
def test_an_address_that_cannot_be_called(address: str) -> None:
    with pytest.raises(Misdeclared) as raised:
        beat(Secret(lambda: address), "public")
    assert "plain" not in str(raised.value)


def test_it_leads_nowhere_that_the_network_does_not_allow() -> None:
    with pytest.raises(Unreachable):
        beat(Secret(lambda: "https://127.0.0.1/ping"), "public")
