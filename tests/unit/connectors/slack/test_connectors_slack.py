"""Telling incidents in Slack: escaped, within size, and only accepted when Slack says so."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    ConnectorError,
    Context,
    Misdeclared,
    Notifier,
    RateLimited,
    Rejected,
    Secret,
    SystemFault,
)
from connectors.slack import Slack
from connectors.slack.message import MAX_BLOCKS, SECTION_CHARACTERS, escape, message

HOOK = "https://hooks.slack.com/services/T0/B0/secret-canary"


def webhook(handler: Any) -> Slack:
    return Slack(
        Context("slack", {"webhook_url": Secret(lambda: HOOK + "\n")}, {}), transport=httpx.MockTransport(handler)
    )


def bot(handler: Any) -> Slack:
    settings = {"token": "xoxb-canary", "channel": "#ops"}
    return Slack(Context("slack", settings, {}), transport=httpx.MockTransport(handler))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "<!channel> <@U1> <https://evil.example|login>",
            "&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|login&gt;",
        ),
        ("a & b", "a &amp; b"),
        ("@channel @here @EVERYONE @ann", "@\u2060channel @\u2060here @\u2060EVERYONE @ann"),
        ("x\u202ey\x1b[31m", "x\\u202ey\\x1b[31m"),
    ],
    ids=["marks", "ampersand", "calls", "invisible"],
)
def test_nothing_in_a_text_addresses_anybody(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["one", "two"],
        ["x" * 50_000],
        ["&" * 5_000] * 3,
        [f"line {n}" for n in range(50_000)],
        [""],
        ["<" * 999] * 500,
    ],
    ids=["none", "two", "50 kB", "grows when escaped", "many", "empty", "long and many"],
)
def test_a_message_fits(lines: list[str]) -> None:
    made = message("Title " + "t" * 500, lines)
    assert len(made["blocks"]) <= MAX_BLOCKS
    for block in made["blocks"]:
        for text in [block["text"]] if "text" in block else block["elements"]:
            assert 0 < len(text["text"]) <= (150 if block["type"] == "header" else SECTION_CHARACTERS)


def test_what_does_not_fit_is_counted() -> None:
    made = message("T", ["x" * 900] * 500)
    shown = sum(block["text"]["text"].count("\n") + 1 for block in made["blocks"][1:-1])
    assert made["blocks"][-1]["elements"][0]["text"] == f"… and {500 - shown} more lines"


def test_owners_are_called_by_their_member_id_alone() -> None:
    made = message("T", ["one"], ["@priya", "U02ABCDEF", "<!channel>", "W0123456"])
    assert made["blocks"][-1]["elements"][0]["text"] == "for <@U02ABCDEF> <@W0123456>"
    assert message("T", ["one"], ["@priya"])["blocks"][-1]["type"] == "section"


def test_an_address_in_a_text_does_not_become_a_link() -> None:
    marked = [b["text"] for b in message("T", ["see https://evil.example"])["blocks"] if b["type"] == "section"]
    assert all(text["verbatim"] is True for text in marked)


def test_a_webhook_that_says_ok() -> None:
    posted: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        posted.append((str(request.url), json.loads(request.content)))
        return httpx.Response(200, text="ok")

    slack = webhook(handler)
    assert isinstance(slack, Notifier)
    slack.check()
    slack.notify("Sync failed", ["crm: token refused"])
    slack.close()
    assert posted[0][0] == HOOK
    assert posted[0][1]["text"] == "Sync failed\ncrm: token refused"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, text="<html>"), SystemFault),
        (httpx.Response(200, text=""), SystemFault),
        (httpx.Response(400, text="invalid_blocks"), Rejected),
        (httpx.Response(403, text="action_prohibited"), AuthFailed),
        (httpx.Response(404, text="no_service"), AuthFailed),
        (httpx.Response(429, headers={"retry-after": "3"}), RateLimited),
        (httpx.Response(500), Ambiguous),
    ],
    ids=["page", "nothing", "invalid", "prohibited", "gone", "too many", "broken"],
)
def test_a_webhook_that_does_not(
    answer: httpx.Response, error: type[ConnectorError], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(error) as raised:
        webhook(lambda _: answer).notify("T", ["x"])
    assert "canary" not in str(raised.value) + caplog.text


def test_a_bot_posts_where_it_is_told() -> None:
    posted: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        posted.append((request.headers["authorization"], json.loads(request.content)["channel"]))
        return httpx.Response(200, json={"ok": True})

    slack = bot(handler)
    slack.notify("T", [])
    slack._clients.clear()  # a new client has its rate still to use
    slack.notify("T", [], channel="#other")
    assert posted == [("Bearer xoxb-canary", "#ops"), ("Bearer xoxb-canary", "#other")]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"ok": False, "error": "invalid_auth"}, AuthFailed),
        ({"ok": False, "error": "channel_not_found"}, Misdeclared),
        ({"ok": False, "error": "ratelimited"}, RateLimited),
        ({"ok": False, "error": "fatal_error"}, SystemFault),
        ({}, SystemFault),
        ([], SystemFault),
        ({"ok": "true"}, SystemFault),
    ],
)
def test_a_bot_s_200_is_not_yet_acceptance(said: Any, error: type[ConnectorError]) -> None:
    with pytest.raises(error) as raised:
        bot(lambda _: httpx.Response(200, json=said)).notify("T", ["x"])
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "settings", [{}, {"token": "x"}, {"webhook_url": "ftp://x"}, {"webhook_url": "http://slack.com/x"}]
)
def test_settings_that_cannot_work(settings: dict[str, str]) -> None:
    with pytest.raises(Misdeclared):
        Slack(Context("slack", settings, {})).check()
