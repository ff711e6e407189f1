"""Telling incidents by e-mail: encrypted or not at all, escaped, within size, and only accepted when it is taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.mail import Mail, dialogue
from connectors.mail.message import BODY_CHARACTERS, SUBJECT_CHARACTERS, escape, message
from connectors.protocol import (
    AuthFailed,
    ConnectorError,
    Context,
    Misdeclared,
    Notifier,
    Rejected,
    Secret,
    Transient,
    Unreachable,
)
from tests.fixtures.smtp import MailServer

LOGIN = ("concord", "canary-password")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with MailServer(tmp_path, login=LOGIN) as running:
        yield running


def mail(server: MailServer, **changed: Any) -> Mail:
    login = {"user": LOGIN[0], "password": Secret(lambda: LOGIN[1] + "\n")}
    return Mail(Context("post", {**server.settings, **login, **changed}, {}, network="loopback"))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_message_goes_to_its_owners_and_to_the_team_encrypted(tmp_path: Path, security: str) -> None:
    with MailServer(tmp_path, security=security, login=LOGIN) as server:
        made = mail(server)
        assert isinstance(made, Notifier)
        made.check()
        assert server.inbox == []
        made.notify("crm: credentials refused", ["Owner: Priya", "Next: …"], to=["priya@company.example"], key="demo-7")
    [got] = server.inbox
    assert got.was_encrypted
    assert got.recipients == ("priya@company.example", "data-team@company.example")
    assert got.subject == "[Concord] crm: credentials refused"
    assert got.body == "Owner: Priya\nNext: …\n"
    assert got.message["message-id"] == "<concord.demo-7@company.example>"
    assert got.message["auto-submitted"] == "auto-generated"


def test_nothing_in_a_text_adds_a_header_a_link_or_a_call() -> None:
    made = message(
        "crm\r\nBcc: all@evil.example\n\nhttps://evil.example",
        ["<!channel> <http://evil.example|x> www.evil.example", "a\r\n.\r\nMAIL FROM:<x>", "x\x00\u202ey"],
        sender="a@b.example",
        recipients=["c@d.example"],
        key=None,
    )
    assert made.keys().count("Bcc") == 0
    whole = made.as_bytes().decode() + made.get_content() + str(made["subject"])
    assert not any(found in whole for found in ("<!channel>", "http://", "https://", "www.evil", "\x00", "\u202e"))
    assert made.get_content().count("\n") == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://a.example", "see https:\u2060//a.example"),
        ("<!here> <@U1> <b>", "<\u2060!here> <\u2060@U1> <b>"),
        ("as it is: a@b.example", "as it is: a@b.example"),
    ],
    ids=["link", "calls", "plain"],
)
def test_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    "lines", [[], ["x" * 50_000], ["line"] * 50_000, ["ü" * 900] * 100], ids=["none", "50 kB", "many", "long and many"]
)
def test_a_message_fits(lines: list[str]) -> None:
    made = message("t" * 9_000, lines, sender="a@b.example", recipients=["c@d.example"], key="k")
    assert len(str(made["subject"])) <= SUBJECT_CHARACTERS
    assert len(made.get_content()) <= BODY_CHARACTERS + 40
    if len(lines) > 50:
        assert "more lines" in made.get_content()


@pytest.mark.parametrize(
    ("refuse", "error"),
    [
        ({"AUTH": "535 5.7.8 no canary-password"}, AuthFailed),
        ({"AUTH": "454 4.7.0 later"}, Transient),
        ({"MAIL": "550 no such sender"}, Misdeclared),
        ({"MAIL": "530 log in"}, AuthFailed),
        ({"MAIL": "451 later"}, Transient),
        ({"RCPT": "550 no such canary@x"}, Misdeclared),
        ({"RCPT": "450 greylisted"}, Transient),
        ({"DATA": "554 refused"}, Rejected),
        ({"DATA": "452 full"}, Transient),
        ({"STARTTLS": "454 not now"}, Transient),
        ({"EHLO": "421 closing", "HELO": "421 closing"}, Transient),
    ],
    ids=lambda value: " ".join(value.values())[:20] if isinstance(value, dict) else value.__name__,
)
def test_what_a_refusal_means(
    server: MailServer, refuse: dict[str, str], error: type[ConnectorError], caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = refuse
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectorError) as raised:
        mail(server).notify("T", ["x"])
    assert type(raised.value) is error
    assert "canary" not in str(raised.value) + caplog.text


def test_one_recipient_that_is_refused_does_not_keep_it_from_the_others(server: MailServer) -> None:
    made = mail(server, to=["one@a.example", "two@a.example"])
    refused = iter([True, False])
    original = dict.get

    class Once(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            return "550 no" if key == "RCPT" and next(refused, False) else original(self, key, default)

    server.refuse = Once()
    made.notify("T", ["x"])
    assert [got.recipients for got in server.inbox] == [("two@a.example",)]


def test_without_starttls_nothing_is_said(tmp_path: Path) -> None:
    with MailServer(tmp_path, security="none", login=LOGIN) as server:
        with pytest.raises(Misdeclared, match="offers no STARTTLS"):
            mail(server, security="starttls").notify("T", ["x"])
        assert server.inbox == []


def test_a_certificate_for_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    with MailServer(tmp_path, name="other.example", login=LOGIN) as server, pytest.raises(Unreachable):
        mail(server).check()


def test_an_unknown_authority_is_not_trusted(server: MailServer) -> None:
    with pytest.raises(Unreachable):
        mail(server, ca_file=None).check()


def test_a_lost_answer_is_a_failure_and_the_second_copy_is_known_as_one(server: MailServer) -> None:
    server.drop_after_data = True
    with pytest.raises(Transient):
        mail(server).notify("T", ["x"], key="demo-1")
    server.drop_after_data = False
    mail(server).notify("T", ["x"], key="demo-1")
    assert len({got.message["message-id"] for got in server.inbox}) == 1


def test_a_server_that_drips_is_left_at_the_deadline(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "DEADLINE_SECONDS", 0.5)
    server.hang_seconds = 0.2
    with pytest.raises(Transient):
        mail(server).notify("T", ["x"])


def test_nobody_there(server: MailServer) -> None:
    made = mail(server, port=1)
    with pytest.raises(Transient):
        made.check()


@pytest.mark.parametrize(
    "changed",
    [{"to": []}, {"security": "ssl"}, {"user": "u", "password": None}],
    ids=["nobody", "unknown security", "no password"],
)
def test_settings_that_cannot_work(server: MailServer, changed: dict[str, Any]) -> None:
    with pytest.raises(Misdeclared):
        mail(server, **changed).check()


def test_mail_is_not_sent_in_the_clear_through_a_network() -> None:
    settings = {"host": "mail.example", "security": "none", "from": "a@b.example", "to": ["c@d.example"]}
    with pytest.raises(Misdeclared, match="loopback"):
        Mail(Context("post", settings, {}, network="private"))


def test_an_address_that_the_network_does_not_allow_is_not_connected_to(server: MailServer) -> None:
    with pytest.raises(Unreachable):
        Mail(Context("post", server.settings, {}, network="public")).check()
