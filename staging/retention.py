"""Retention: what is over and old loses its values, or is removed, a batch at a time; nothing that is live, open, or
counted by a sum of the ledger goes.

Where the ledger counts rows (versions read, writes, golden versions) the row stays, emptied: what it held is gone, that
it was there is not. A batch is a transaction of its own, so nobody waits for long and a stop loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

BATCH = 5_000
"""Rows of a table in one transaction."""


@dataclass(frozen=True, slots=True)
class Step:
    """One table's share. `which` selects `ctid`s of rows `t` that are due, `done` is what is done with them."""

    kind: str
    table: str
    which: str
    done: str


_OLD = "now() - make_interval(secs => :seconds)"
_EMPTY_WRITE = "t.payload::text <> '{}' or t.asked::text <> '{}' or coalesce(t.before::text, '[]') <> '[]'"
_SHARE = (
    "encode(sha256(convert_to(concat_ws(E'\\n', t.salt, t.outbox_id, t.number, t.outcome, coalesce(t.status::text,"
    " 'None'), o.payload::text), 'UTF8')), 'hex')"
)
"""An attempt's share in the digest of its batch, as `staging.audit.leaf` works it out."""

STEPS: tuple[Step, ...] = (
    Step(
        "landed",
        "landing.raw_record",
        "select t.ctid from landing.raw_record t join landing.extract_run e on e.id = t.extract_run_id"
        f" where e.started_at < {_OLD} and t.payload <> '{{}}' and not exists (select from landing.record r"
        " where r.raw_id = t.id)",
        "update landing.raw_record t set payload = '{}'",
    ),
    # before the payloads that they are worked out from go
    Step(
        "writes",
        "ops.attempt",
        "select t.ctid from ops.attempt t join ops.outbox o on o.id = t.outbox_id where o.settled_at is not null"
        f" and o.settled_at < {_OLD} and (t.salt is not null or t.reason is not null) and not exists (select from"
        " ops.dead_letter d where d.outbox_id = o.id and d.state = 'open')",
        f"update ops.attempt t set leaf = coalesce(t.leaf, (select {_SHARE} from ops.outbox o where o.id ="
        " t.outbox_id and t.salt is not null)), salt = null, reason = null",
    ),
    Step(
        "writes",
        "ops.outbox",
        "select t.ctid from ops.outbox t where t.state in ('delivered', 'superseded', 'rejected', 'dead')"
        f" and t.settled_at < {_OLD} and ({_EMPTY_WRITE}) and not exists (select from ops.dead_letter d"
        " where d.outbox_id = t.id and d.state = 'open')",
        "update ops.outbox t set payload = '{}', asked = '{}', before = '[]', money = null",
    ),
    Step(
        "history",
        "golden.history",
        f"select t.ctid from golden.history t where t.at < {_OLD} and t.changes::text <> '[]' and exists (select from"
        " golden.history n where n.entity = t.entity and n.canonical_id = t.canonical_id and n.version > t.version)",
        "update golden.history t set changes = '[]'",
    ),
    # a record that is quarantined still, or that a reading's count of what it refused stands for, keeps its entry
    Step(
        "queues",
        "ops.quarantine",
        f"select t.ctid from ops.quarantine t where t.state = 'resolved' and t.closed_at < {_OLD}"
        " and t.scope <> 'unreadable'",
        "delete from ops.quarantine t",
    ),
    Step(
        "queues",
        "ops.quarantine",
        f"select t.ctid from ops.quarantine t where t.state <> 'open' and t.closed_at < {_OLD} and t.raw <> ''",
        "update ops.quarantine t set raw = ''",
    ),
    Step(
        "queues",
        "ops.finding",
        f"select t.ctid from ops.finding t where t.state <> 'open' and t.closed_at < {_OLD}",
        "delete from ops.finding t",
    ),
    # an answer is a judgement that matching goes by: it stays
    Step(
        "queues",
        "ops.review",
        f"select t.ctid from ops.review t where t.state = 'withdrawn' and t.closed_at < {_OLD}",
        "delete from ops.review t",
    ),
    Step(
        "queues",
        "ops.dead_letter",
        f"select t.ctid from ops.dead_letter t where t.state <> 'open' and t.closed_at < {_OLD}"
        " and (t.edited is not null or t.reason <> '')",
        "update ops.dead_letter t set edited = null, reason = ''",
    ),
    Step(
        "plans",
        "ops.saved_write",
        "select t.ctid from ops.saved_write t join ops.saved_plan p on p.id = t.saved_plan_id"
        f" where p.made_at < {_OLD}",
        "delete from ops.saved_write t",
    ),
    Step(
        "plans",
        "ops.saved_plan",
        f"select t.ctid from ops.saved_plan t where t.made_at < {_OLD} and not exists (select from ops.saved_write w"
        " where w.saved_plan_id = t.id) and not exists (select from ops.going_live g where g.saved_plan_id = t.id)",
        "delete from ops.saved_plan t",
    ),
    Step(
        "incidents",
        "ops.alert_attempt",
        "select t.ctid from ops.alert_attempt t join ops.alert_outbox a on a.id = t.alert_id"
        f" where a.state <> 'ready' and a.created_at < {_OLD}",
        "delete from ops.alert_attempt t",
    ),
    Step(
        "incidents",
        "ops.alert_outbox",
        f"select t.ctid from ops.alert_outbox t where t.state <> 'ready' and t.created_at < {_OLD}",
        "delete from ops.alert_outbox t",
    ),
    Step(
        "incidents",
        "ops.incident",
        f"select t.ctid from ops.incident t where t.state <> 'open' and t.closed_at < {_OLD} and not exists"
        " (select from ops.alert_outbox a where a.incident_id = t.id)",
        "delete from ops.incident t",
    ),
)
"""In this order: what points to something goes before it."""


def due(conn: Connection, step: Step, seconds: int) -> int:
    """How many rows of a step are due now."""
    return int(conn.execute(text(f"select count(*) from ({step.which}) d"), {"seconds": seconds}).scalar_one())


def apply(conn: Connection, step: Step, seconds: int) -> int:
    """Does a step to a batch of rows; gives how many. Rows that somebody works on at this moment are left to the next
    time."""
    which = f"{step.which} limit :batch for update of t skip locked"
    found = conn.execute(text(f"{step.done} where t.ctid = any(array({which}))"), {"seconds": seconds, "batch": BATCH})
    return int(found.rowcount)


def steps(periods: Mapping[str, int]) -> list[tuple[Step, int]]:
    """Every step with its period in seconds."""
    return [(step, periods[step.kind]) for step in STEPS]
