"""How each system was lately, for all processes: what opens and closes its breaker is one row's story."""

from __future__ import annotations

import random
from collections.abc import Callable

from sqlalchemy import Connection, Engine, text

from canonical.health import PROBE_SECONDS, Health, failed, stopped
from staging import units
from staging.locks import gate

_SELECT = """
select state, failures, opened, coalesce(extract(epoch from until - clock_timestamp())::float8, 0) as left_seconds,
       coalesce(reason, '') as reason
from ops.breaker where system = :system
"""


class Healths:
    """The breakers of one database. Each note is a transaction of its own: what happened stays noted, also when the
    database is away for a moment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, system: str) -> Health:
        """How a system is now."""
        return units.repeat(self._engine, "how a system is", lambda conn: _of(conn, system))

    def failed(self, system: str, reason: str) -> Health:
        """Note a failure; gives what follows from it."""
        return self._noted(system, reason, failed)

    def stopped(self, system: str, reason: str) -> Health:
        """It is left alone from now on; gives for how long. `system` may be a part of one: a lane."""
        return self._noted(system, reason, stopped)

    def _noted(self, system: str, reason: str, decide: Callable[[Health, str, float], Health]) -> Health:
        def note(conn: Connection) -> Health:
            gate(conn, f"breaker {system}")
            found = decide(_of(conn, system), reason[:300], random.random())  # noqa: S311  not for secrets
            conn.execute(
                text(
                    "insert into ops.breaker (system, state, failures, opened, until, reason)"
                    " values (:system, :state, :failures, :opened,"
                    " clock_timestamp() + make_interval(secs => :left_seconds), :reason)"
                    " on conflict (system) do update set state = excluded.state, failures = excluded.failures,"
                    " opened = excluded.opened, until = excluded.until, reason = excluded.reason, changed_at = now()"
                ),
                {
                    "system": system,
                    "state": found.state,
                    "failures": found.failures,
                    "opened": found.opened,
                    "left_seconds": found.left_seconds,
                    "reason": found.reason,
                },
            )
            return found

        return units.repeat(self._engine, "note a failure", note)

    def worked(self, system: str) -> None:
        """Note that the system works: whatever was counted is over."""
        close = text(
            "update ops.breaker set state = 'closed', failures = 0, opened = 0, until = null, reason = null,"
            " changed_at = now() where system = :system and (state <> 'closed' or failures > 0)"
        )
        units.repeat(self._engine, "note that a system works", lambda conn: conn.execute(close, {"system": system}))

    def try_it(self, system: str) -> bool:
        """Whether we are the one to try a system whose time is over."""
        take = text(
            "update ops.breaker set state = 'half_open', changed_at = now(),"
            " until = clock_timestamp() + make_interval(secs => :seconds)"
            " where system = :system and state <> 'closed' and until <= clock_timestamp()"
        )
        values = {"system": system, "seconds": PROBE_SECONDS}
        taken = units.repeat(self._engine, "who tries a system", lambda conn: conn.execute(take, values).rowcount)
        return taken == 1


def _of(conn: Connection, system: str) -> Health:
    row = conn.execute(text(_SELECT), {"system": system}).mappings().first()
    return Health(**row) if row is not None else Health()
