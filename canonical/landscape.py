"""A landscape as values: everything one business has declared, after it was read and found good (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from canonical.model import Model


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is to be found; never the secret."""

    kind: Literal["env", "file", "block"]
    name: str


@dataclass(frozen=True, slots=True)
class Person:
    """A role that answers for something."""

    role: str
    name: str
    email: str | None = None
    slack: str | None = None
    code: SecretRef | None = None
    """The personal code that proves an approver (DESIGN 9.14)."""


@dataclass(frozen=True, slots=True)
class Makes:
    """One entity that a stream's rows make, where the condition (a CEL expression on source fields) holds."""

    entity: str
    when: str | None = None


@dataclass(frozen=True, slots=True)
class ChildOf:
    """A child stream: its rows are lines of the parent stream's record that `by` names."""

    stream: str
    by: str
    field: str
    """The parent entity's list field that the rows fill."""


@dataclass(frozen=True)
class Stream:
    """One list of records of a system: the connector's own declaration with the landscape's overrides."""

    name: str
    key: tuple[str, ...] = ("id",)
    changed: str | None = None
    """The source field that carries the change mark; None: only complete sweeps."""
    makes: tuple[Makes, ...] = ()
    child_of: ChildOf | None = None
    deleted_when: str | None = None
    """CEL on source fields: the source's own statement that the record is gone (`archived == true`)."""
    ids: Literal["distinct", "case_sensitive"] = "distinct"
    """Whether two ids may differ in case alone. By default such a pair is refused: one record or two, nobody can tell
    (RELIABILITY, bad input 4)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the connector alone understands (path, sheet, table, page size, properties …)."""

    @property
    def subject(self) -> str:
        """What findings over the whole stream are about: the entity that it makes, else its own name."""
        return self.makes[0].entity if self.makes else self.name


@dataclass(frozen=True)
class System:
    """One running business application."""

    name: str
    connector: str
    owner: str
    streams: Mapping[str, Stream] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Connector settings; secrets stand in them as SecretRef."""
    network: Literal["public", "private", "loopback"] = "public"
    originates: tuple[str, ...] = ()
    shadow: bool = False
    why: str = ""
    timezone: str | None = None
    engine: str = ""
    """The package under connectors/ that runs it: `rest` for every manifest (then `settings["manifest"]` is the
    canonical.declarations.manifest.Manifest), else the connector's own name."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A brake threshold: the greater of a count and a share of what is linked (0..1). `max(5, 2%)`."""

    count: int = 0
    share: float = 0.0

    def allows(self, n: int, of: int) -> bool:
        return n <= max(self.count, self.share * of)


@dataclass(frozen=True, slots=True)
class Brake:
    """What stops a mass change (RELIABILITY P12). Defaults are that page's."""

    deletes: Limit = Limit(5, 0.02)
    changes: Limit = Limit(50, 0.20)
    blanked: Limit = Limit(20, 0.05)
    money: float = 0.10
    count_drop: float = 0.05


@dataclass(frozen=True, slots=True)
class Sla:
    """Promises on records; durations in seconds, accuracy 0..1."""

    timeliness: int | None = None
    completeness: int | None = None
    accuracy: float | None = None
    detect: int | None = None
    resolve: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One stream an integration writes to."""

    system: str
    stream: str
    create: bool = False
    update: bool = True
    """False: a record is created there (or found) and then belongs to the target; nothing is ever changed in it."""
    mode: Literal["observe", "ask", "write"] = "observe"
    when: str | None = None
    on_leave: Literal["keep", "archive", "freeze"] = "keep"
    on_drift: Literal["restore", "report"] = "restore"
    find_by: tuple[tuple[str, str], ...] = ()
    """(target field, canonical column): how the connector's `find` looks for a twin before a create."""


@dataclass(frozen=True, slots=True)
class Timing:
    schedule: str | None = None
    """A five-field cron in the landscape's time zone."""
    event: bool = False
    because: str = ""


@dataclass(frozen=True)
class Integration:
    """The business unit: one flow of meaning with a charter, an owner, an SLA, a fallback."""

    name: str
    entity: str
    owner: str
    problem: str = ""
    beneficiary: str = ""
    decision: str = ""
    level: int = 1
    to: tuple[Target, ...] = ()
    timing: Timing = Timing()
    hold_seconds: int = 0
    on_delete: Literal["archive", "delete", "ignore", "ask"] = "archive"
    ask_when: str | None = None
    four_eyes: bool = False
    """Whoever approves a hold proves who it is by a personal code, and did not ask for the writes (DESIGN 9.14)."""
    brake: Brake = Brake()
    sla: Sla = Sla()
    fallback: str | None = None
    measure: str | None = None
    channel: str | None = None
    """Where its incidents are told, if not where all others are (a Slack bot may choose)."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What somebody else listens for: an address that is called while all is well, and that raises the alarm when it
    is not called any more."""

    url: SecretRef
    network: Literal["public", "private", "loopback"] = "public"


@dataclass(frozen=True)
class Landscape:
    """Everything declared, checked as a whole."""

    name: str
    timezone: str
    people: Mapping[str, Person]
    systems: Mapping[str, System]
    integrations: Mapping[str, Integration]
    model: Model
    sheet: tuple[Any, ...]
    """canonical.mapping.sheet.SheetRow of every sheet, connectors' standard rows already overridden."""
    rules: Mapping[str, Any]
    """entity → canonical.declarations.rules.EntityRules: expectations beyond what the types imply."""
    notify: Mapping[str, Any] = field(default_factory=dict)
    """`slack` and `email` (names of systems), `channel`, `fallback` (which of the two steps in): where incidents go;
    `heartbeat`: a Heartbeat."""
    retention: Mapping[str, int] = field(default_factory=dict)
    """Kind (`canonical.retention.KINDS`) → seconds, as far as declared."""
    digest: str = ""
    """xxh3 hex of all declaration bytes: the version pinned by every batch."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name → its text, kept as the declaration version."""
    places: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    """Dotted place → (file, line): `integrations.customer-details.sla`, `model.customer.fields.phone`."""

    @cached_property
    def active_systems(self) -> dict[str, System]:
        """Systems that a connector serves (`connector: none` ones are inventory only)."""
        return {n: s for n, s in self.systems.items() if s.connector != "none"}
