"""The Slack-shaped inbox: refuses in Slack's words, shows what arrived, runs nothing that a message says."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sandbox.slack import create_app
from sandbox.store import Store

HOOK = "/services/T000/B000/s3cret"


@pytest.fixture
def inbox() -> TestClient:
    return TestClient(create_app(Store(":memory:"), "s3cret", "xoxb-1"))


def test_a_webhook_message_arrives(inbox: TestClient) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*Nightly* failed"}}]
    answer = inbox.post(HOOK, json={"text": "failed", "blocks": blocks})
    assert (answer.status_code, answer.text) == (200, "ok")
    assert [one["text"] for one in inbox.get("/messages.json").json()["messages"]] == ["failed"]
    assert "<strong>Nightly</strong> failed" in inbox.get("/").text


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        (HOOK, b"{", 400, "invalid_payload"),
        (HOOK, b"[]", 400, "invalid_payload"),
        (HOOK, b"{}", 400, "no_text"),
        ("/services/T000/B000/wrong", b'{"text":"x"}', 404, "no_service"),
    ],
    ids=["no JSON", "no object", "no text", "wrong secret"],
)
def test_wrong_posts_are_refused(inbox: TestClient, path: str, body: bytes, status: int, text: str) -> None:
    answer = inbox.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.text) == (status, text)
    assert inbox.get("/messages.json").json()["messages"] == []


def test_chat_post_message_answers_200_with_its_verdict(inbox: TestClient) -> None:
    message = {"channel": "#data", "text": "hello"}
    assert inbox.post("/api/chat.postMessage", json=message).json() == {"ok": False, "error": "not_authed"}
    headers = {"authorization": "Bearer xoxb-1"}
    answer = inbox.post("/api/chat.postMessage", json=message, headers=headers).json()
    assert answer["ok"] is True
    assert answer["channel"] == "#data"


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;script&gt;", "<javascript:alert(1)|x>"]
)
def test_nothing_in_a_message_becomes_markup(inbox: TestClient, text: str) -> None:
    inbox.post(HOOK, json={"text": text})
    page = inbox.get("/").text
    article = page[page.index("<article>") :]
    assert "<script" not in article
    assert "<img" not in article
    assert "href" not in article


def test_the_newest_message_is_on_top_and_links_are_links(inbox: TestClient) -> None:
    inbox.post(HOOK, json={"text": "first"})
    inbox.post(HOOK, json={"text": "second <http://127.0.0.1:4200/runs/1|the run>"})
    page = inbox.get("/").text
    assert page.index("second") < page.index("first")
    assert '<a href="http://127.0.0.1:4200/runs/1" rel="noreferrer">the run</a>' in page


def test_too_many_posts_get_429() -> None:
    inbox = TestClient(create_app(Store(":memory:"), "s3cret", "xoxb-1", limit=1))
    answers = [inbox.post(HOOK, json={"text": "x"}) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 429]
    assert answers[1].headers["Retry-After"] == "1"
