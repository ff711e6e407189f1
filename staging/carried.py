"""What a database that is replaced by a backup knows and the backup cannot: it is carried over."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, text

from staging import audit, erasure, locks
from staging.tables import token


class AtWork(Exception):
    """Something is being sent at this moment."""


class Kept:
    """The end of the audit's chain, who was erased, and tokens as they are now."""

    def __init__(self) -> None:
        self.head: audit.Anchor | None = None
        self.erased: list[tuple[str, str]] = []
        self._tokens: list[dict[str, Any]] = []

    def look(self, conn: Connection) -> bool:
        """Takes note of it; says whether anything was ever written down. Raises AtWork."""
        sent = conn.execute(
            text("select distinct claimed_by from ops.outbox where state = 'inflight' and claimed_by is not null")
        ).scalars()
        if any(locks.is_held(conn, f"worker:{worker}") for worker in sent.all()):
            raise AtWork("a delivery is under way: pause the systems, or wait until it is done")
        self.head = audit.head(conn)
        self.erased = list(erasure.done_since(conn))
        self._tokens = [dict(r) for r in conn.execute(token.select()).mappings()]
        return self.head is not None

    def put_tokens_back(self, conn: Connection) -> int:
        """A token that was renewed since the backup: the older one is worth nothing any more (RELIABILITY P18)."""
        count = 0
        for row in self._tokens:
            held = {"system": row["system"], "version": row["version"]}
            conn.execute(text("delete from ops.token where system = :system and version < :version"), held)
            there = text("select 1 from ops.token where system = :system")
            if conn.execute(there, {"system": row["system"]}).first() is None:
                conn.execute(insert(token), [row])
                count += 1
        return count
