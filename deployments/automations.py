"""Prefect automations for what our own ledger cannot see (DESIGN 9.18): they open the incidents that it would open.

    a run crashed         its process ended without a word: the flow `incident` opens `sync:…`, unless that is known
    a run gives no sign   no heartbeat and no end: Prefect marks it as crashed, and so brings on the one above
    nothing runs          `watch` did not complete: Prefect itself posts to Slack, as nobody else is there to do it, and
                          the flow `incident` puts it on record, and tells its end, as soon as somebody runs it

`watch` looks for everything else (a run that did not begin, is late or dead), so only its own silence is left to see:
no worker, no `concord serve`, a pool that is not ready, a paused deployment and a database that is away all look so,
and are one cause with one message. It is armed again when `watch` completes, so a long silence is told once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from connectors.auth import reveal
from connectors.protocol import Secret
from connectors.slack.message import message
from deployments.registered import TAG
from tasks import incidents
from tasks import landscape as reading
from tasks.signs import ARMED, TOLD
from tasks.world import World

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore
    from prefect.events.schemas.events import ResourceSpecification

    from canonical.landscape import Landscape

SILENCE = timedelta(minutes=15)
"""After so long without a completed `watch`, which is due every five minutes, nothing runs."""
NO_SIGN = timedelta(minutes=10)
"""Three heartbeats of a flow run (PREFECT_FLOWS_HEARTBEAT_FREQUENCY, 180 s by default) and some time to be heard."""
ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled", "Skipped", "Paused")}
BEATS = "prefect.flow-run.heartbeat"
Labels = dict[str, str | list[str]]
"""What an event's resource must bear, as Prefect's triggers take it."""
SLACK_POSTS = "https://slack.com/api/chat.postMessage"
WATCH, INCIDENT = "watch/watch", "incident/incident"


@dataclass(frozen=True, slots=True)
class Post:
    """How Prefect's server reaches the landscape's messenger: a webhook's address, its headers, what to post."""

    url: str
    headers: Mapping[str, str]
    payload: str


def ensure(
    world: World, ids: Mapping[str, str], *, silence: timedelta = SILENCE, no_sign: timedelta = NO_SIGN
) -> list[str]:
    """Makes or updates a landscape's automations for its registered deployments (full name → id); gives their names.

    Raises Refused, Misdeclared where the messenger's secret is not to be had."""
    from prefect import get_client
    from prefect.events import emit_event

    landscape = world.landscape
    post = post_of(world)
    with get_client(sync_client=True) as client:
        block = _block(landscape, post) if post else None
        wanted = [
            crashed(landscape, ids[INCIDENT]),
            gone(landscape, no_sign),
            silent(landscape, ids[WATCH], ids[INCIDENT], silence, (block, post.payload) if block and post else None),
        ]
        known = {each.name: each for each in client.read_automations()}
        for each in wanted:
            _put(client, each, known.get(each.name))
    emit_event(
        ARMED,
        resource={"prefect.resource.id": f"concord.landscape.{landscape.name}"},
        related=[{"prefect.resource.id": f"prefect.deployment.{ids[WATCH]}", "prefect.resource.role": "deployment"}],
    )
    return [each.name for each in wanted]


def _put(client: SyncPrefectClient, wanted: AutomationCore, known: Any) -> None:
    """An automation of this name. One that says the same is left alone: what it waits for would be forgotten."""
    if known is None:
        client.create_automation(wanted)
    elif _said(known) != _said(wanted):
        client.update_automation(known.id, wanted.model_copy(update={"enabled": known.enabled}))


def _said(automation: AutomationCore) -> str:
    kept = automation.model_dump(mode="json", include={"name", "description", "trigger", "actions"})
    kept["trigger"].pop("id", None)
    return json.dumps(_sorted(kept), sort_keys=True)


def _sorted(value: Any) -> Any:
    """With every list in one order: Prefect gives sets back as lists."""
    if isinstance(value, dict):
        return {name: _sorted(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


# ------------------------------------------------------------------------------------------------- the automations


def _ours(landscape: Landscape) -> list[ResourceSpecification | Labels]:
    """What picks the events of this landscape's runs; never those of the flow `incident` itself."""
    tags: list[ResourceSpecification | Labels] = [
        {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{t}"} for t in (TAG, landscape.name)
    ]
    return [*tags, {"prefect.resource.role": "flow", "prefect.resource.name": "!incident"}]


def _name(landscape: Landscape, what: str) -> str:
    return f"{TAG} {landscape.name}: {what}"


def crashed(landscape: Landscape, incident_id: str) -> AutomationCore:
    """A run crashed: its incident is opened, unless whoever saw it first has done so."""
    from prefect.events import EventTrigger, RunDeployment
    from prefect.events.schemas.automations import AutomationCore, Posture

    return AutomationCore(
        name=_name(landscape, "a run crashed"),
        description="Opens the incident of a run whose process ended without a word, unless it is told already.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_ours(landscape),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=UUID(incident_id),
                # as a bare "{{ … }}" Prefect would make JSON of the id, which it cannot
                parameters={
                    "what": "crashed",
                    "run_id": {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"},
                },
                job_variables=None,
            )
        ],
    )


def gone(landscape: Landscape, no_sign: timedelta) -> AutomationCore:
    """A run neither ends nor gives a sign of life: whoever started it is gone as well."""
    from prefect.client.schemas.objects import StateType
    from prefect.events import ChangeFlowRunState, EventTrigger
    from prefect.events.schemas.automations import AutomationCore, Posture

    return AutomationCore(
        name=_name(landscape, "a run gives no sign"),
        description="Marks a run as crashed that neither ends nor gives a sign of life: its machine is gone as well.",
        trigger=EventTrigger(
            after={BEATS},
            expect={BEATS, *ENDED},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_ours(landscape),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=no_sign,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message="it gives no sign of life; its machine is gone as well",
                force=False,
            )
        ],
    )


def silent(
    landscape: Landscape, watch_id: str, incident_id: str, silence: timedelta, post: tuple[UUID, str] | None
) -> AutomationCore:
    """Nothing runs: Prefect's server says so itself, and leaves a run of `incident` for whoever comes back."""
    from prefect.events import CallWebhook, EventTrigger, RunDeployment
    from prefect.events.schemas.automations import AutomationCore, Posture

    watched: Labels = {"prefect.resource.role": "deployment", "prefect.resource.id": f"prefect.deployment.{watch_id}"}
    completed = "prefect.flow-run.Completed"
    tell = [CallWebhook(block_document_id=post[0], payload=post[1])] if post else []
    return AutomationCore(
        name=_name(landscape, "nothing runs"),
        description="Posts to Slack when `watch` has not completed for a while: no worker, nobody serves, no database.",
        trigger=EventTrigger(
            after={completed, ARMED},
            expect={completed, TOLD},
            match_related=[watched],
            posture=Posture.Proactive,
            within=silence,
        ),
        actions=[
            *tell,
            RunDeployment(
                source="selected",
                deployment_id=UUID(incident_id),
                parameters={"what": "silent", "is_told": bool(post)},
                job_variables=None,
            ),
        ],
    )


# --------------------------------------------------------------------------------------------- what Prefect posts


def post_of(world: World) -> Post | None:
    """How the landscape's Slack is reached without us; None where it declares none. Raises Refused, Misdeclared."""
    landscape = world.landscape
    system = landscape.notify.get("slack")
    if not system:
        return None
    declared = landscape.systems[str(system)].settings
    settings = reading.resolved(declared, f"systems.{system}")
    payload = message(*incidents.message_of(incidents.silence_of(world)))
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if "webhook_url" in settings:
        return Post(_revealed(settings["webhook_url"]), headers, untemplated(payload))
    channel = landscape.notify.get("channel") or settings.get("channel")
    base = str(settings.get("url", "")).rstrip("/")
    url = f"{base}/api/chat.postMessage" if base else SLACK_POSTS
    authorization = {"Authorization": f"Bearer {_revealed(settings['token'])}"}
    return Post(url, headers | authorization, untemplated({**payload, "channel": channel}))


def untemplated(payload: Any) -> str:
    """As JSON in which Prefect, which takes a payload for a template, finds none: names come from declarations."""
    mark = "\ue000"

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: marked(each) for name, each in value.items()}
        if isinstance(value, list):
            return [marked(each) for each in value]
        return value.replace("{", mark) if isinstance(value, str) else value

    return json.dumps(marked(payload), ensure_ascii=False).replace(mark, "\\u007b")


def _revealed(value: Any) -> str:
    return reveal(value if isinstance(value, Secret) else str(value), "slack")


def _block(landscape: Landscape, post: Post) -> UUID:
    """The messenger's address in a block of Prefect's, which it keeps encrypted."""
    from prefect.blocks.webhook import Webhook
    from prefect.types import SecretDict
    from pydantic import SecretStr

    slug = "".join(c if c.isalnum() else "-" for c in landscape.name.lower())
    block = Webhook(method="POST", url=SecretStr(post.url), headers=SecretDict(dict(post.headers)))
    return UUID(str(block.save(f"concord-{slug}", overwrite=True)))
