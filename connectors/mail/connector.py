"""The Notifier role of a mail server. A message counts only when the server has taken it for somebody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from connectors.auth import reveal
from connectors.mail.dialogue import Security, Server, dialogue
from connectors.mail.message import message
from connectors.protocol import Context, Limits, Misdeclared, StreamFacts


class Mail:
    """Sends incidents by e-mail."""

    limits = Limits((), 1)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._where = f"{context.system} e-mail"
        settings = context.settings
        self._sender = str(settings.get("from") or "")
        self._to = tuple(str(one) for one in settings.get("to") or ())
        if not self._to:
            raise Misdeclared("expected at least one address in `to`, found none", where=context.system)
        security: tuple[Security, ...] = get_args(Security)
        chosen = next((one for one in security if one == settings.get("security", "starttls")), None)
        if chosen is None:
            raise Misdeclared(f"security: expected one of {', '.join(security)}", where=context.system)
        if chosen == "none" and context.network != "loopback":
            raise Misdeclared("security: none is for `network: loopback` alone", where=context.system)
        port, authority = int(settings.get("port") or 587), settings.get("ca_file")
        host = str(settings.get("host") or "")
        self._server = Server(host, port, chosen, context.network, str(authority) if authority else None)

    def check(self) -> None:
        """Goes as far as the login; no message is sent."""
        with dialogue(self._server, self._login(), self._where):
            pass

    def facts(self, stream: str) -> StreamFacts:
        raise Misdeclared("a mail server has no streams", where=f"{self._context.system}/{stream}")

    def notify(
        self,
        title: str,
        lines: Sequence[str],
        *,
        channel: str | None = None,
        to: Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        """To those whom it concerns and to the mailbox of the team; accepted when one of them is.

        An answer that was lost is a failure: it is sent again under the same Message-ID."""
        recipients = list(dict.fromkeys([*to, *self._to]))
        with dialogue(self._server, self._login(), self._where) as smtp:
            smtp.send_message(message(title, lines, sender=self._sender, recipients=recipients, key=key))

    def close(self) -> None:
        """Nothing is held open between messages."""

    def _login(self) -> tuple[str, str] | None:
        user = self._context.settings.get("user")
        if not user:
            return None
        return reveal(user, "user"), reveal(self._context.settings.get("password") or "", "password")


def build(context: Context) -> Mail:
    """A notifier for one mail server."""
    return Mail(context)
