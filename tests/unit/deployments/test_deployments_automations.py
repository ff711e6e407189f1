"""Automations as they are handed to Prefect: whose events they take, and payloads in which it finds no template."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import pytest

from deployments import automations
from tasks import landscape as reading
from tasks.world import World

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"
ENGINE: Any = object()
"""No test here asks the database anything."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("SLACK_WEBHOOK", "https://hooks.example.com/services/T/B/x")
    return World(reading.load(DEMO), DEMO, ENGINE)


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{% for x in y %}", "{# note #}", "{{{", "a } b {", "plain"])
def test_a_name_is_never_taken_for_a_template(text: str) -> None:
    payload = {"text": text, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]}
    made = automations.untemplated(payload)
    assert json.loads(made) == payload
    assert json.loads(jinja2.Environment(autoescape=False).from_string(made).render()) == payload


def test_what_prefect_posts_says_whom_it_concerns_what_to_do_and_its_incident(world: World) -> None:
    post = automations.post_of(world)
    assert post is not None
    assert post.url == "https://hooks.example.com/services/T/B/x"
    told = json.loads(post.payload)
    said = str(told)
    assert told["text"].startswith("demo: nothing runs")
    assert "Priya Raman" in said
    assert "Next: see that concord serve" in said
    assert "Incident: silent:demo" in said


def test_a_bot_posts_to_its_channel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"token": "a-bot", "channel": "#ops"}
    monkeypatch.setattr(reading, "resolved", lambda *_: settings)
    post = automations.post_of(world)
    assert post is not None
    assert post.url == "https://slack.com/api/chat.postMessage"
    assert post.headers["Authorization"] == "Bearer a-bot"
    assert json.loads(post.payload)["channel"] == "#ops"


def test_without_a_messenger_nothing_is_posted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(world.landscape.notify, "slack", "")  # type: ignore[arg-type]
    assert automations.post_of(world) is None
    made = automations.silent(world.landscape, str(uuid4()), str(uuid4()), timedelta(minutes=15), None)
    assert [action.type for action in made.actions] == ["run-deployment"]


def test_only_runs_of_this_landscape_are_looked_at_and_never_the_incidents_own(world: World) -> None:
    for made in (
        automations.crashed(world.landscape, str(uuid4())),
        automations.gone(world.landscape, timedelta(minutes=10)),
    ):
        related: Any = made.trigger.model_dump(mode="json")["match_related"]
        assert {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.demo"} in related
        assert {"prefect.resource.role": "flow", "prefect.resource.name": "!incident"} in related


def test_an_automation_that_says_the_same_is_left_alone(world: World) -> None:
    """Prefect gives sets back as lists, in any order, and a trigger has an id of its own each time."""
    one, other = (automations.gone(world.landscape, timedelta(minutes=10)) for _ in range(2))
    assert automations._said(one) == automations._said(other)
    assert automations._said(one) != automations._said(automations.gone(world.landscape, timedelta(minutes=11)))
