"""What was sent to each system lately, by all processes: the declared rates hold for the company, not for a worker."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, text

from canonical.rates import Permits, Quota, Window, oldest_slot, permits, quotas, slot_of
from staging import units
from staging.locks import gate

_COUNT = """
insert into ops.rate as r (name, window_seconds, slot, used)
select :name, w.seconds, w.slot, :granted
from unnest(cast(:seconds as float8[]), cast(:slots as bigint[])) as w(seconds, slot)
on conflict (name, window_seconds, slot) do update set used = r.used + excluded.used
"""


class Rates:
    """The counts of one database. A count is a transaction of its own: requests that were sent stay sent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, name: str, windows: Sequence[Window], wanted: int, *, is_delivery: bool = False) -> Permits:
        """As many permits as the declared windows allow now, up to `wanted`, counted for everybody at once."""

        def count(conn: Connection) -> Permits:
            gate(conn, f"rate {name}")
            # A crash may lose the last moment's counts: a flush for each claim would cost more than they are worth.
            conn.execute(text("set local synchronous_commit = off"))
            return _decided(conn, name, windows, wanted, is_delivery)

        return units.repeat(self._engine, "take permits", count)

    def quotas(self, name: str, windows: Sequence[Window]) -> list[Quota]:
        """How much of the long windows is used."""
        with self._engine.connect() as conn, conn.begin():
            at = float(conn.execute(text("select extract(epoch from clock_timestamp())::float8")).scalar_one())
            return quotas(at, windows, _used(conn, name))

    def pause_left(self, name: str) -> float:
        """For how many seconds the system still wants to be left alone; 0 or less: it does not."""
        ask = text(
            "select extract(epoch from until - clock_timestamp())::float8 from ops.rate_pause where name = :name"
        )
        found = units.repeat(self._engine, "is it paused", lambda conn: conn.execute(ask, {"name": name}).scalar())
        return float(found or 0.0)

    def pause(self, name: str, seconds: float) -> None:
        """The system asked for a pause: nobody gets a permit before it is over."""
        note = text(
            "insert into ops.rate_pause as p (name, until)"
            " values (:name, clock_timestamp() + make_interval(secs => :seconds))"
            " on conflict (name) do update set until = greatest(p.until, excluded.until)"
        )
        values = {"name": name, "seconds": seconds}
        units.repeat(self._engine, "note a pause", lambda conn: conn.execute(note, values))


def _decided(conn: Connection, name: str, windows: Sequence[Window], wanted: int, is_delivery: bool) -> Permits:
    at, paused_until = conn.execute(
        text(
            "select extract(epoch from clock_timestamp())::float8,"
            " coalesce((select extract(epoch from until)::float8 from ops.rate_pause where name = :name), 0)"
        ),
        {"name": name},
    ).one()
    used = _used(conn, name)
    found = permits(at, windows, used, wanted, is_delivery=is_delivery, paused_until=paused_until)
    if found.granted and windows:
        seconds = [float(seconds) for _, seconds in windows]
        slots = [slot_of(at, each) for each in seconds]
        conn.execute(text(_COUNT), {"name": name, "granted": found.granted, "seconds": seconds, "slots": slots})
        _forget(conn, name, at, used)
    return found


def _used(conn: Connection, name: str) -> dict[tuple[float, int], int]:
    """(window's seconds, slot) → requests counted there."""
    rows = conn.execute(text("select window_seconds, slot, used from ops.rate where name = :name"), {"name": name})
    return {(seconds, slot): n for seconds, slot, n in rows}


def _forget(conn: Connection, name: str, at: float, used: dict[tuple[float, int], int]) -> None:
    """Slots that have left their windows are deleted, when there are some."""
    old = [(seconds, slot) for seconds, slot in used if slot < oldest_slot(at, seconds)]
    if old:
        conn.execute(
            text(
                "delete from ops.rate r using unnest(cast(:seconds as float8[]), cast(:slots as bigint[])) as o(s, n)"
                " where r.name = :name and r.window_seconds = o.s and r.slot = o.n"
            ),
            {"name": name, "seconds": [s for s, _ in old], "slots": [n for _, n in old]},
        )
