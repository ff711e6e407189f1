"""Tokens of systems that let us in by OAuth 2: one row a system, one renewal at a time over all workers.

Who renews holds a session's advisory lock and works on that session's connection, statement by statement committed:
a new token lasts before anybody uses it, whatever becomes of the sync around it. Should the connection be lost
between the system's answer and our commit, another one stores it, unless a newer token stands there.

With CONCORD_TOKEN_KEY (one Fernet key, or several separated by commas: the first seals, each opens) tokens are sealed
in the row; without it they are plain, and whoever may read `ops.token`, or a backup of it, can use them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from canonical.tokens import EARLY_SHARE, Grant, Held
from staging import units
from staging.crash import crash_point
from staging.errors import DatabaseTrouble
from staging.locks import lock_key

KEY_VARIABLE = "CONCORD_TOKEN_KEY"
LOCK_PATIENCE = "90s"
"""A renewal takes two requests of at most 30 seconds each; who holds the lock for longer has stopped working."""
_LOCK_NOT_AVAILABLE = "55P03"

_SELECT = """
select version, value, is_sealed, refused,
       extract(epoch from expires_at - clock_timestamp())::float8 as left_seconds,
       extract(epoch from renew_at - clock_timestamp())::float8 as due_seconds,
       extract(epoch from clock_timestamp() - asked_at)::float8 as asked_seconds_ago,
       extract(epoch from clock_timestamp() - refused_at)::float8 as refused_seconds_ago
from ops.token where system = :system
"""
_SAVE = """
insert into ops.token as held (system, version, value, is_sealed, scopes, expires_at, renew_at, stored_at,
                               authorised_at, authorised_by)
values (:system, 1, :value, :is_sealed, :scopes, clock_timestamp() + make_interval(secs => cast(:life as float8)),
        clock_timestamp() + make_interval(secs => cast(:early as float8)), clock_timestamp(),
        case when cast(:by as text) is not null then clock_timestamp() end, :by)
on conflict (system) do update set
    version = held.version + 1, value = excluded.value, is_sealed = excluded.is_sealed, scopes = excluded.scopes,
    expires_at = excluded.expires_at, renew_at = excluded.renew_at, stored_at = excluded.stored_at,
    asked_at = null, refused_at = null, refused = null,
    authorised_at = coalesce(excluded.authorised_at, held.authorised_at),
    authorised_by = coalesce(excluded.authorised_by, held.authorised_by)
where held.version = :over
"""


class TokenUnreadable(DatabaseTrouble):
    """A stored token cannot be opened with the keys that this process has."""


@dataclass(frozen=True, slots=True)
class TokenState:
    """What may be shown of a system's token: everything but the token."""

    system: str
    version: int
    is_sealed: bool
    scopes: str | None
    expires_at: datetime | None
    is_expired: bool
    stored_at: datetime
    asked_at: datetime | None
    refused_at: datetime | None
    refused: str | None
    authorised_at: datetime | None
    authorised_by: str | None

    @property
    def state(self) -> str:
        """refused: a person must act. interrupted: a renewal was cut off, and may be refused next time. expired: it is
        renewed with the next request."""
        if self.refused_at is not None:
            return "refused"
        if self.asked_at is not None:
            return "interrupted"
        return "expired" if self.is_expired else "good"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Tokens:
    """One system's token in our database. `by`: who is authorising it now, if somebody is."""

    def __init__(self, engine: Engine, system: str, *, by: str | None = None) -> None:
        self._engine = engine
        self._system = system
        self._by = by

    def load(self) -> Held | None:
        """The token as it is stored now. Raises TokenUnreadable."""
        return units.repeat(self._engine, "read a token", lambda conn: _load(conn, self._system))

    @contextmanager
    def lock(self) -> Iterator[LockedToken]:
        """Nobody else renews this token inside. Raises TimeoutError when another holds it for too long, and
        TokenUnreadable, before anything is asked of the system, when a new token could not be sealed."""
        if is_key_declared():
            _keys()
        key = {"key": lock_key(f"token {self._system}")}
        with self._session() as conn:
            conn.execute(text(f"set lock_timeout = '{LOCK_PATIENCE}'"))
            try:
                conn.execute(text("select pg_advisory_lock(:key)"), key)
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                    raise TimeoutError(f"the token of {self._system} is being renewed elsewhere") from None
                raise
            finally:
                if not conn.invalidated:
                    conn.execute(text("reset lock_timeout"))
            try:
                yield LockedToken(self, conn)
            finally:
                if not conn.invalidated:
                    conn.execute(text("select pg_advisory_unlock(:key)"), key)

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A connection of its own: what is done on it stays, also inside a rehearsal."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            yield conn


class LockedToken:
    """The token while nobody else renews it; each call is committed when it returns."""

    def __init__(self, store: Tokens, conn: Connection) -> None:
        self._store = store
        self._conn = conn

    def load(self) -> Held | None:
        return _load(self._conn, self._store._system)

    def asked(self) -> None:
        """Note that a refresh is being sent; the first unanswered one counts."""
        self._conn.execute(
            text("update ops.token set asked_at = coalesce(asked_at, clock_timestamp()) where system = :system"),
            {"system": self._store._system},
        )
        crash_point("token.asked")

    def save(self, grant: Grant, over: int) -> Held:
        """Store a token in place of version `over`; a newer one that stands there meanwhile stays, and is given."""
        crash_point("token.given")
        values = _values(self._store._system, grant, over, self._store._by)
        try:
            self._conn.execute(text(_SAVE), values)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            with self._store._session() as another:
                another.execute(text(_SAVE), values)
        crash_point("token.stored")
        held = self._store.load()
        assert held is not None
        return held

    def refused(self, because: str) -> None:
        """Note that the refresh token is not accepted any more."""
        self._conn.execute(
            text("update ops.token set refused_at = clock_timestamp(), refused = :because where system = :system"),
            {"system": self._store._system, "because": because[:300]},
        )


def states(conn: Connection, systems: Sequence[str]) -> dict[str, TokenState]:
    """What may be shown of these systems' tokens, by system."""
    found = conn.execute(
        text(
            "select system, version, is_sealed, scopes, expires_at, stored_at, asked_at, refused_at, refused,"
            " authorised_at, authorised_by, coalesce(expires_at <= clock_timestamp(), false) as is_expired"
            " from ops.token where system = any(:systems)"
        ),
        {"systems": list(systems)},
    )
    return {row["system"]: TokenState(**row) for row in found.mappings()}


def is_key_declared() -> bool:
    """Whether tokens that are stored from now on are sealed."""
    return bool(os.environ.get(KEY_VARIABLE, "").strip())


def _load(conn: Connection, system: str) -> Held | None:
    row = conn.execute(text(_SELECT), {"system": system}).mappings().first()
    if row is None:
        return None
    value = json.loads(_opened(row["value"], system) if row["is_sealed"] else row["value"])
    return Held(
        version=row["version"],
        access=value["access"],
        refresh=value["refresh"],
        left_seconds=row["left_seconds"],
        due_seconds=row["due_seconds"],
        asked_seconds_ago=row["asked_seconds_ago"],
        refused=row["refused"],
        refused_seconds_ago=row["refused_seconds_ago"],
    )


def _values(system: str, grant: Grant, over: int, by: str | None) -> Mapping[str, Any]:
    plain = json.dumps({"access": grant.access, "refresh": grant.refresh})
    is_sealed = is_key_declared()
    life = grant.life_seconds
    return {
        "system": system,
        "over": over,
        "by": by,
        "value": _seal(plain) if is_sealed else plain,
        "is_sealed": is_sealed,
        "scopes": grant.scopes or None,
        "life": life,
        "early": None if life is None else life * EARLY_SHARE,
    }


def _seal(plain: str) -> str:
    sealed: bytes = _keys().encrypt(plain.encode())
    return sealed.decode()


def _opened(sealed: str, system: str) -> str:
    from cryptography.fernet import InvalidToken

    if not is_key_declared():
        raise TokenUnreadable(f"the token of {system} is sealed, and {KEY_VARIABLE} is not set")
    try:
        opened: bytes = _keys().decrypt(sealed.encode())
    except InvalidToken:
        raise TokenUnreadable(f"the token of {system} was sealed with another key than {KEY_VARIABLE}") from None
    return opened.decode()


def _keys() -> Any:
    """The declared keys. Never falls back to plain: a key that cannot be used is refused."""
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        raise TokenUnreadable(f"{KEY_VARIABLE} is set, and the package cryptography is not installed") from None
    try:
        return MultiFernet([Fernet(key.strip()) for key in os.environ[KEY_VARIABLE].split(",") if key.strip()])
    except ValueError:
        raise TokenUnreadable(
            f"{KEY_VARIABLE}: expected a key of 32 bytes as URL-safe base64 (cryptography's Fernet.generate_key)"
        ) from None
