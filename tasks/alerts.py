"""Sending what is told: one message after the other to each messenger, a digest where there are many, another messenger
where one does not take them. Nothing here raises for a messenger that fails: messages wait in our ledger.

A message is sent only when its row is committed, outside any transaction, by whoever holds the messenger's lane; its
outcome is committed at once. A kill in between sends it a second time, never not at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from canonical.problems import Refused
from connectors.protocol import ConnectorError, Notifier, RateLimited, Rejected
from staging import alerts as store
from staging import incidents, locks
from staging.alerts import Alert, Sent
from tasks import messengers
from tasks.messengers import Place
from tasks.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from staging.engine import Connection

log = logging.getLogger("concord.alerts")

QUIET = timedelta(minutes=15)
"""At most one message about a cause in this time (RELIABILITY I8)."""
MOST = 10
"""Messages to one place within `QUIET`; what comes on top is told in one digest."""
AFTER_WORK_SECONDS = 15.0
"""A sync that is done waits no longer for its messages: what is left goes out with the next one, or with `watch`."""
WATCH_SECONDS = 45.0
LANE_SECONDS = 0.2
FIRST_REST_SECONDS = 30.0
MOST_REST_SECONDS = 900.0
DIGEST_LINES = 30


# ------------------------------------------------------------------------------------------------- decisions (pure)


@dataclass(frozen=True, slots=True)
class Send:
    """This message goes out now."""

    alert: Alert


@dataclass(frozen=True, slots=True)
class Fold:
    """These become one message."""

    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """The place did not take the last message; these were not tried yet, and may be told elsewhere."""

    untried: tuple[Alert, ...]


def next_for(waiting: Sequence[Alert], lately: Sent) -> Send | Fold | Rest | None:
    """What one place is sent next. `lately`: what it was sent within `QUIET`. None: nothing now."""
    ready = tuple(a for a in waiting if a.rest_seconds <= 0)
    if any(a.attempts and a.rest_seconds > 0 for a in waiting):
        return Rest(tuple(a for a in ready if not a.attempts))
    if not ready:
        return None
    digest = next((a for a in ready if a.kind == "digest"), None)
    if digest or len(ready) <= MOST - lately.messages:
        return Send(digest or ready[0])
    return None if lately.digests else Fold(ready)


def rest_seconds(error: ConnectorError | Refused, attempts: int) -> float:
    """How long a place is left alone that did not take a message for the `attempts`th time before this one."""
    if isinstance(error, RateLimited) and error.wait_seconds is not None:
        return min(error.wait_seconds, MOST_REST_SECONDS)
    return min(FIRST_REST_SECONDS * 2.0 ** min(attempts, 10), MOST_REST_SECONDS)


def digest_of(landscape: str, folded: Sequence[Alert]) -> tuple[str, list[str]]:
    """Title and lines of the message that says what these say."""
    shown = [f"{a.title} (since {a.created_at:%H:%M %Z})" for a in folded[:DIGEST_LINES]]
    more = len(folded) - len(shown)
    counted = f"{len(folded)} messages" if len(folded) > 1 else "1 message more"
    lines = [
        *shown,
        *([f"and {more} more"] if more else []),
        "Next: see them all with their next steps: concord status",
    ]
    return f"{landscape}: {counted}", lines


# ------------------------------------------------------------------------------------------------------- effects


def send_alerts(world: World, *, patience_seconds: float = AFTER_WORK_SECONDS) -> int:
    """Sends what waits, for so long at most; gives how many messages were accepted. Raises for our database alone."""
    if world.is_in_one:  # what is not committed is not told
        return 0
    sent, until = 0, time.monotonic() + patience_seconds
    step_in = messengers.fallback(world.landscape)
    for place in [*messengers.firsts(world.landscape), *([step_in] if step_in else [])]:
        with _lane(world, place, until) as is_ours:
            if is_ours:
                sent += _Sender(world, place, until).send()
    return sent


@contextmanager
def _lane(world: World, place: Place, until: float) -> Iterator[bool]:
    """One sender at a time for each messenger: messages keep their order and its rate."""
    while True:
        with locks.lane(world.engine, f"alerts:{place.via}", wait=False) as held:
            if held is not None:
                yield True
                return
        if time.monotonic() > until:
            yield False
            return
        time.sleep(LANE_SECONDS)


class _Sender:
    """Sends one messenger's messages, while it holds the messenger's lane."""

    def __init__(self, world: World, place: Place, until: float) -> None:
        self.world, self.place, self.until = world, place, until
        self.sent = 0

    def send(self) -> int:
        """Sends until nothing is left, the messenger rests, or the time is over; gives how many were accepted."""
        with self.world.transaction() as conn:
            channels = list(dict.fromkeys(a.address.channel for a in store.waiting(conn, self.place.via)))
        for channel in channels:
            while time.monotonic() < self.until and self._one(channel):
                pass
        return self.sent

    def _one(self, channel: str | None) -> bool:
        """One step for a channel; whether there may be another."""
        with self.world.transaction() as conn:
            waiting = [a for a in store.waiting(conn, self.place.via) if a.address.channel == channel]
            lately = store.sent_lately(conn, self.place.via, channel, QUIET.total_seconds())
            todo = next_for(waiting, lately)
            if isinstance(todo, Fold):
                self._fold(conn, todo.alerts)
            elif isinstance(todo, Rest):
                self._elsewhere(conn, todo.untried)
        if isinstance(todo, Send):
            return self._deliver(todo.alert)
        return isinstance(todo, Fold)

    def _fold(self, conn: Connection, folded: Sequence[Alert]) -> None:
        title, lines = digest_of(self.world.landscape.name, folded)
        people = tuple(dict.fromkeys(p for a in folded for p in a.address.recipients))
        address = store.Address(self.place.via, folded[0].address.channel, people)
        into = store.queue(conn, None, "digest", title, lines, address)
        store.fold(conn, [a.id for a in folded], into)

    def _deliver(self, alert: Alert) -> bool:
        """Sends one message; whether the messenger may be sent another."""
        try:
            self._messenger().notify(
                alert.title,
                alert.lines,
                channel=alert.address.channel,
                to=alert.address.recipients,
                key=f"{self.world.landscape.name}-{alert.id}",
            )
        except (ConnectorError, Refused) as error:
            return self._not_accepted(alert, error)
        with self.world.transaction() as conn:
            store.settle_sent(conn, alert.id)
        self.sent += 1
        return True

    def _not_accepted(self, alert: Alert, error: ConnectorError | Refused) -> bool:
        name, is_final = type(error).__name__, isinstance(error, Rejected)
        wait = rest_seconds(error, alert.attempts)
        is_short = isinstance(error, RateLimited) and time.monotonic() + wait < self.until
        log.warning("%s did not accept a message (%s)%s", self.place.via, name, "" if is_final else "; it waits")
        with self.world.transaction() as conn:
            if is_final:
                store.settle_refused(conn, alert.id, name)
            else:
                store.settle_failed(conn, alert.id, name, wait)
            if not is_short:
                self._elsewhere(conn, [alert])
        if is_short:
            time.sleep(wait)
        return is_final or is_short

    def _elsewhere(self, conn: Connection, untold: Sequence[Alert]) -> None:
        """What this messenger does not take is told by the one that steps in."""
        step_in = messengers.fallback(self.world.landscape)
        if step_in is None or step_in == self.place:
            return
        for alert in untold:
            cause = incidents.cause_of(conn, alert.incident_id) if alert.incident_id else None
            for address in messengers.at(self.world.landscape, step_in, cause):
                store.copy_elsewhere(conn, alert.id, address)

    def _messenger(self) -> Notifier:
        return messengers.as_notifier(self.place.via, self.world.connector(self.place.via))
