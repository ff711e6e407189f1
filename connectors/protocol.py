"""What a connector is: roles as protocols, records as columns, and errors that say what to do next.

ConnectorError
├── Transient(wait_seconds)      try again after a while: connection, deadline, 502/503/504
│   ├── RateLimited(wait_seconds)  the system asks us to slow down; never counts as an attempt
│   └── NotSent                    we held the request back ourselves; never counts as an attempt either
│       ├── LeftAlone              the system was in trouble lately
│       └── LeaseOver              our hold on what is to be written is over
├── Ambiguous                    the request may have happened: look before any second create
├── SystemFault                  the system answers, but not as itself (500s, HTML for JSON): stop its lane
├── AuthFailed                   credentials or scope refused: a person must act
├── Unreachable                  the address cannot be had: name, network, refused by the allowlist
├── Misdeclared                  what the landscape says of the system is wrong (stream, field, URL)
└── Rejected(field, reason)      this one record was refused; the rest goes on
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from canonical.health import Health
from canonical.rates import Permits, Window
from canonical.shown import shown
from connectors.tokens import TokenStore

WriteClass = Literal["A", "B", "C"]
"""A: idempotency key or upsert by external id. B: findable by a marker or natural key. C: neither (RELIABILITY P5)."""


LONGEST_REASON = 2_000
"""Characters of a reason that are kept."""


class ConnectorError(Exception):
    """Base of all; `where` names system and stream or URL path, never a secret or a value."""

    def __init__(self, message: str, *, where: str = "", status: int | None = None) -> None:
        self.where = where
        self.status = status
        super().__init__(f"{where}: {message}" if where else message)


class Transient(ConnectorError):
    def __init__(
        self, message: str, *, wait_seconds: float | None = None, where: str = "", status: int | None = None
    ) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(message, where=where, status=status)


class RateLimited(Transient):
    """429 or the vendor's own form of it."""


class NotSent(Transient):
    """Nothing left this process: the system has no part in it."""


class LeftAlone(NotSent):
    """The system was in trouble lately and is not asked before its time."""


class LeaseOver(NotSent):
    """This process was paused or cut off for so long that somebody else may be at it: it writes no more."""


class Ambiguous(ConnectorError):
    """Sent, and no answer that says whether it was done."""


class SystemFault(ConnectorError):
    """The system as a whole misbehaves."""


class AuthFailed(ConnectorError):
    """401 / 403 / login refused."""


class Unreachable(ConnectorError):
    """No connection is allowed or possible."""


class Misdeclared(ConnectorError):
    """The declaration does not fit the system."""


class Rejected(ConnectorError):
    def __init__(self, reason: str, *, field: str | None = None, where: str = "", status: int | None = None) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}" if field else reason, where=where, status=status)


Cursor = Mapping[str, Any]
"""A connector's own JSON-able position in a stream; stored as it is, given back as it is."""


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record of a page that cannot be landed: no id, not JSON by itself, too large."""

    raw: bytes
    reason: str
    id: str | None = None


@dataclass(slots=True)
class Page:
    """One page as columns of equal length.

    ids        composite keys are the compact JSON array of their parts
    payloads   the record's bytes as sent (JSON text; sources that are not JSON give compact JSON with sorted keys)
    changed    the record's own change mark as text, or None
    deleted    True where the source states that the record is gone
    parents    for child streams: the parent's source id; else None
    """

    ids: list[str]
    payloads: list[bytes]
    changed: list[str | None]
    deleted: list[bool]
    cursor: Cursor
    """To be stored in the transaction that lands this page."""
    parents: list[str] | None = None
    refused: list[RefusedRecord] = field(default_factory=list)
    is_last: bool = False
    """True only on a page after which the stream is known to be complete for the asked window."""
    total: int | None = None
    """What the source says the whole read will count, where it says so (progress, completeness)."""
    schema: str | None = None
    clock: str | None = None
    """The source's own clock when the reading began, where it tells it: what lies beyond it is not believed."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record read by id or by a search."""

    id: str
    payload: bytes
    changed: str | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a batch. `payload` is the nested JSON object to send (only the fields to be written)."""

    ref: str
    """Ours: the receipt carries it back."""
    op: Literal["create", "update", "archive", "delete"]
    source_id: str | None
    payload: Mapping[str, Any]
    key: str
    """Idempotency key, at most 100 characters; the same for every attempt of the same write."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one write."""

    ref: str
    outcome: Literal["done", "rejected", "unknown", "retry"]
    source_id: str | None = None
    record: bytes | None = None
    """The record as the system holds it after the write, when the answer carries it."""
    field: str | None = None
    reason: str | None = None
    """In the system's words, made fit to be kept and shown: it may repeat anything, U+0000 too."""
    status: int | None = None
    wait_seconds: float | None = None
    is_counted: bool = True
    """Whether it was a try: being asked to slow down, or not being let out at all, is none (RELIABILITY P10)."""

    def __post_init__(self) -> None:
        if self.reason is not None:
            object.__setattr__(self, "reason", shown(self.reason)[:LONGEST_REASON])


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a connector declares of one of its streams (`key`/`changed`/`makes` are declared in its defaults)."""

    batch_size: int = 1
    write_class: WriteClass = "C"
    key_life_seconds: float | None = None
    """Of class A by idempotency key: how long a key is remembered. None: creates are told again without one."""
    index_lag_seconds: float = 0.0
    """How long after a create a search may not find it."""
    change_granularity_seconds: float = 1.0
    deletes: Literal["flag", "absent", "tombstone", "hidden"] = "absent"
    ops: frozenset[str] = frozenset()
    """Which of create, update, archive, delete it can do; empty: read only."""
    overlap_seconds: float = 60.0
    restore: Mapping[str, Any] | None = None
    """The payload of an update that brings an archived record back; None: nothing that we could send does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Declared rates of a system: (requests, seconds) windows, and requests at once."""

    windows: tuple[tuple[int, float], ...] = ()
    concurrency: int = 4


@runtime_checkable
class Connector(Protocol):
    """Raises AuthFailed / Misdeclared / Unreachable from `check`."""

    limits: Limits

    def check(self) -> None: ...
    def facts(self, stream: str) -> StreamFacts: ...
    def close(self) -> None: ...


@runtime_checkable
class Source(Connector, Protocol):
    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        """Pages of the stream; `since` None: a complete sweep."""
        ...

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        """The records that exist among `ids`, in any order (gone ones are left out or marked deleted)."""
        ...


@runtime_checkable
class Target(Connector, Protocol):
    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        """Live records whose target fields (sheet paths, e.g. `TaxNumber`) equal all given values exactly."""
        ...

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        """One receipt a write, in order. At most `facts(stream).batch_size` writes, all of one op. What the answer says
        of records that were not written here follows as receipts with an empty `ref`.

        Raises Transient / RateLimited / AuthFailed / SystemFault only if surely nothing was done for the whole call;
        Ambiguous if it may have been."""
        ...


@runtime_checkable
class Notifier(Connector, Protocol):
    def notify(
        self,
        title: str,
        lines: Sequence[str],
        *,
        channel: str | None = None,
        to: Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        """Post one message; text is escaped here. `to`: people to address, as this messenger knows them. `key`: the
        same for every try of the same message. Raises ConnectorError when it was not accepted."""
        ...


class Rates(Protocol):
    """Counts requests for all processes that ask a system."""

    def take(self, name: str, windows: Sequence[Window], wanted: int, *, is_delivery: bool = False) -> Permits:
        """Up to `wanted` permits of what is named (a system, or an endpoint with a limit of its own)."""
        ...

    def pause(self, name: str, seconds: float) -> None:
        """Nobody gets a permit before the pause is over."""
        ...


class Healths(Protocol):
    """Knows, for all processes, how systems were lately."""

    def of(self, system: str) -> Health: ...

    def failed(self, system: str, reason: str) -> Health:
        """Note a failure; gives what follows from it."""
        ...

    def worked(self, system: str) -> None:
        """Note that the system works."""
        ...

    def try_it(self, system: str) -> bool:
        """Whether we are the one to try a system that was left alone."""
        ...


@dataclass(frozen=True)
class Context:
    """What a connector is built from: `build(context)` in each connector's package."""

    system: str
    settings: Mapping[str, Any]
    """As declared, with secrets replaced by `Secret` values."""
    streams: Mapping[str, Any]
    """name → canonical.landscape.Stream"""
    network: Literal["public", "private", "loopback"] = "public"
    timezone: str = "UTC"
    tokens: TokenStore | None = None
    """Where tokens of OAuth 2 are kept for all workers; None: in this process alone."""
    rates: Rates | None = None
    """Who counts requests for all workers; None: each process counts its own."""
    healths: Healths | None = None
    """Who knows when a system is to be left alone; None: it is asked whatever happens."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that does not print itself; `get()` reads it anew, so rotation needs no restart.

    `read_anew` stands in for `read` where that may give what it gave a moment ago: it is asked after a refusal."""

    read: Any = field(repr=False)
    read_anew: Any = field(default=None, repr=False)

    def get(self) -> str:
        value: str = self.read()
        return value

    def get_anew(self) -> str:
        """The secret as it is kept now, past any cache."""
        value: str = (self.read_anew or self.read)()
        return value

    def __str__(self) -> str:
        return "•••"
