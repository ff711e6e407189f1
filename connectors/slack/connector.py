"""The Notifier role of a Slack workspace. A message counts only when Slack says that it took it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from connectors.auth import Bearer, reveal
from connectors.http import HttpClient
from connectors.http.outcome import excerpt
from connectors.protocol import (
    AuthFailed,
    ConnectorError,
    Context,
    Limits,
    Misdeclared,
    RateLimited,
    Rejected,
    Secret,
    StreamFacts,
    SystemFault,
)
from connectors.slack.message import message

_WINDOWS = ((1, 1.0),)
"""Slack takes about one message a second for a channel (docs.slack.dev, rate limits)."""
_DEADLINE_SECONDS = 15.0
_ANSWERED = frozenset({400, 403, 404, 410})
_LOGIN = frozenset(
    {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "missing_scope"}
)
_PLACE = frozenset({"channel_not_found", "not_in_channel", "is_archived", "restricted_action", "no_service"})


class Slack:
    """Posts incidents."""

    limits = Limits(_WINDOWS, 1)

    def __init__(self, context: Context, *, transport: httpx.BaseTransport | None = None) -> None:
        self._context = context
        self._transport = transport
        self._where = f"{context.system} message"
        settings = context.settings
        if "webhook_url" not in settings and not ("token" in settings and "channel" in settings):
            raise Misdeclared("expected `webhook_url`, or `token` and `channel`", where=context.system)
        self._is_webhook = "webhook_url" in settings
        self._clients: dict[str, HttpClient] = {}

    def check(self) -> None:
        """A bot's token is asked who it is; a webhook's address is only looked at: anything more would post."""
        if self._is_webhook:
            self._webhook()
            return
        self._judge(self._bot().send("POST", "api/auth.test", effect="read").json())

    def facts(self, stream: str) -> StreamFacts:
        raise Misdeclared("Slack has no streams", where=f"{self._context.system}/{stream}")

    def notify(
        self,
        title: str,
        lines: Sequence[str],
        *,
        channel: str | None = None,
        to: Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        """As in the protocol. Slack knows no key: an answer that was lost may post a message twice."""
        payload = message(title, lines, to)
        if self._is_webhook:
            self._post_webhook(payload)
        else:
            to = channel or str(self._context.settings["channel"])
            answer = self._bot().send(
                "POST", "api/chat.postMessage", json={**payload, "channel": to}, effect="write", where=self._where
            )
            self._judge(answer.json())

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _post_webhook(self, payload: Mapping[str, Any]) -> None:
        client, path = self._webhook()
        answer = client.send("POST", path, json=payload, effect="write", accept=_ANSWERED, where=self._where)
        said = answer.body.strip().decode("utf-8", "replace")
        if answer.status == 400:
            raise Rejected(f"Slack refused the message{excerpt(answer.body)}", where=self._where, status=400)
        if answer.status in _ANSWERED:
            raise AuthFailed(f"the webhook does not work any more{excerpt(answer.body)}", where=self._where)
        if said != "ok":
            raise SystemFault(f"expected ok{excerpt(answer.body)}", where=self._where, status=answer.status)

    def _judge(self, answer: Any) -> None:
        """Slack answers 200 for refusals as well: only `ok: true` is acceptance."""
        said = answer if isinstance(answer, dict) else {}
        if said.get("ok") is True:
            return
        error = str(said.get("error", "no `ok` in the answer"))[:100]
        kind: type[ConnectorError] = SystemFault
        if error == "ratelimited":
            raise RateLimited("asked to slow down", where=self._where)
        if error in _LOGIN:
            kind = AuthFailed
        elif error in _PLACE:
            kind = Misdeclared
        raise kind(f"Slack answered {error}", where=self._where)

    def _webhook(self) -> tuple[HttpClient, str]:
        """The client for the webhook's host and its path: the whole address is a secret and may be rotated."""
        secret = self._context.settings["webhook_url"]
        text = reveal(secret if isinstance(secret, Secret) else str(secret), "webhook_url")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError):
            raise Misdeclared("webhook_url: expected a URL", where=self._context.system) from None
        return self._client(str(url.copy_with(path="/", query=None)), None), url.path

    def _bot(self) -> HttpClient:
        settings = self._context.settings
        return self._client(str(settings.get("url", "https://slack.com")), Bearer(settings["token"]))

    def _client(self, base: str, auth: Bearer | None) -> HttpClient:
        if base not in self._clients:
            self._clients[base] = HttpClient(
                base,
                system=self._context.system,
                network=self._context.network,
                auth=auth,
                limits=self.limits,
                rates=self._context.rates,
                deadline_seconds=_DEADLINE_SECONDS,
                transport=self._transport,
            )
        return self._clients[base]


def build(context: Context) -> Slack:
    """A notifier for one workspace."""
    return Slack(context)
