"""Syncs and batches: what ran, when, under which declarations, and with what result. Our own ledger of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from staging import audit


def pin_declaration(conn: Connection, digest: str, landscape: str, files: Mapping[str, str]) -> None:
    """Keeps the declarations a sync works with, once a version."""
    conn.execute(
        text(
            "insert into ops.declaration (digest, landscape, files) values (:digest, :landscape, cast(:files as json))"
            " on conflict (digest) do nothing"
        ),
        {"digest": digest, "landscape": landscape, "files": json.dumps(dict(files))},
    )


def begin_sync(
    conn: Connection, integration: str, mode: str, *, declaration: str, started_by: str, flow_run_id: str | None = None
) -> int:
    """Opens a sync; gives its id. Declarations that the sync before did not work with are activated by it."""
    before = conn.execute(text("select declaration from ops.sync order by id desc limit 1")).scalar_one_or_none()
    found = conn.execute(
        text(
            "insert into ops.sync (integration, mode, state, declaration, started_by, flow_run_id)"
            " values (:integration, :mode, 'running', :declaration, :by, :flow_run) returning id"
        ),
        {
            "integration": integration,
            "mode": mode,
            "declaration": declaration,
            "by": started_by,
            "flow_run": flow_run_id,
        },
    )
    sync_id = int(found.scalar_one())
    if before != declaration:
        detail = {"instead_of": before, "sync": sync_id}
        audit.append(conn, started_by, "declaration.activated", f"declaration:{declaration}", detail)
    return sync_id


def end_sync(
    conn: Connection, sync_id: int, state: str, *, summary: Mapping[str, Any] | None = None, error: str | None = None
) -> None:
    """Closes a sync as complete or failed, with what it did."""
    conn.execute(
        text(
            "update ops.sync set state = :state, ended_at = now(), summary = cast(:summary as jsonb), error = :error"
            " where id = :id"
        ),
        {
            "id": sync_id,
            "state": state,
            "summary": json.dumps(summary) if summary is not None else None,
            "error": error[:2000] if error else None,
        },
    )


def heartbeat(conn: Connection, sync_id: int) -> None:
    """Says that the sync is alive, by the database's clock."""
    conn.execute(text("update ops.sync set heartbeat_at = clock_timestamp() where id = :id"), {"id": sync_id})


def abandon_others(conn: Connection, integration: str, sync_id: int) -> int:
    """Closes syncs of an integration that a dead process left running. Only for the holder of its lanes."""
    found = conn.execute(
        text(
            "update ops.sync set state = 'abandoned', ended_at = now(), error = 'its process ended without a word'"
            " where state = 'running' and id <> :id and (integration = :integration or :integration = 'all')"
        ),
        {"integration": integration, "id": sync_id},
    )
    return int(found.rowcount)


def begin_batch(conn: Connection, *, sync_id: int | None, entity: str, system: str, stream: str, declared: str) -> int:
    """Opens a batch of candidates; gives its id."""
    found = conn.execute(
        text(
            "insert into ops.batch (sync_id, entity, system, stream, declared, state)"
            " values (:sync, :entity, :system, :stream, :declared, 'open') returning id"
        ),
        {"sync": sync_id, "entity": entity, "system": system, "stream": stream, "declared": declared},
    )
    return int(found.scalar_one())


def end_batch(
    conn: Connection,
    batch_id: int,
    state: str,
    *,
    mapped: int,
    passed: int,
    quarantined: int,
    ignored: int,
    tombstones: int,
    verdict: Mapping[str, Any],
    docs: str | None,
) -> None:
    """Closes a batch with its sums and the gate's verdict."""
    conn.execute(
        text(
            "update ops.batch set state = :state, mapped = :mapped, passed = :passed, quarantined = :quarantined,"
            " ignored = :ignored, tombstones = :tombstones, verdict = cast(:verdict as jsonb), docs = :docs,"
            " ended_at = now() where id = :id"
        ),
        {
            "id": batch_id,
            "state": state,
            "mapped": mapped,
            "passed": passed,
            "quarantined": quarantined,
            "ignored": ignored,
            "tombstones": tombstones,
            "verdict": json.dumps(verdict),
            "docs": docs,
        },
    )


def open_batches(conn: Connection, system: str, stream: str) -> list[tuple[int, str]]:
    """Batches (id, entity) that a dead process left open."""
    found = conn.execute(
        text("select id, entity from ops.batch where state = 'open' and system = :system and stream = :stream"),
        {"system": system, "stream": stream},
    )
    return [(int(r.id), str(r.entity)) for r in found]


def abandon_batch(conn: Connection, batch_id: int) -> None:
    """Closes a batch whose work is done again by another."""
    conn.execute(
        text("update ops.batch set state = 'abandoned', ended_at = now() where id = :id"),
        {"id": batch_id},
    )


def recent_counts(conn: Connection, entity: str, system: str, stream: str, runs: int = 10) -> list[int]:
    """How many records the last complete sweeps of a stream received, latest first."""
    found = conn.execute(
        text(
            "select received - repeated from landing.extract_run where system = :system and stream = :stream"
            " and state = 'complete' and mode = 'full' and is_complete order by id desc limit :runs"
        ),
        {"system": system, "stream": stream, "runs": runs},
    )
    return [int(n) for n in found.scalars()]


def running(conn: Connection, integration: str, besides: int) -> Mapping[str, Any] | None:
    """The latest running sync that holds an integration (or all), other than `besides`."""
    found = conn.execute(
        text(
            "select id, started_at, started_by from ops.sync where state = 'running' and id <> :id"
            " and integration in (:name, 'all') order by id desc limit 1"
        ),
        {"id": besides, "name": integration},
    ).mappings()
    row = found.one_or_none()
    return dict(row) if row else None


def observed_counts(conn: Connection, sync_id: int) -> dict[str, int]:
    """What this sync would have written to targets that are only observed: place → writes."""
    rows = conn.execute(
        text(
            "select system || '/' || stream as place, sum(observed)::bigint as n from ops.plan where sync_id = :id"
            " group by 1 having sum(observed) > 0"
        ),
        {"id": sync_id},
    )
    return {str(r.place): int(r.n) for r in rows}


def queue_counts(conn: Connection, integrations: Sequence[str]) -> dict[str, Any]:
    """What waits now: open reviews and findings, and writes held or waiting as {place: {state: count}}."""
    reviews, findings = conn.execute(
        text(
            "select (select count(*) from ops.review where state = 'open'),"
            " (select count(*) from ops.finding where state = 'open')"
        )
    ).one()
    rows = conn.execute(
        text(
            # what is held is counted by its hold, from the index alone
            "select h.system || '/' || h.stream as place, 'held' as state, sum(o.n)::bigint as n from (select hold_id,"
            " count(*) as n from ops.outbox where state = 'held' group by 1) o join ops.hold h on h.id = o.hold_id"
            " where h.integration = any(:names) group by 1 union all"
            " select system || '/' || stream, state, count(*) from ops.outbox where integration = any(:names)"
            " and state = 'held' and hold_id is null group by 1, 2 union all"
            " select system || '/' || stream, state, count(*) from ops.outbox where integration = any(:names)"
            " and state = 'waiting' group by 1, 2"
        ),
        {"names": list(integrations)},
    )
    writes: dict[str, dict[str, int]] = {}
    for place, state, n in rows:
        counts = writes.setdefault(place, {})
        counts[state] = counts.get(state, 0) + int(n)
    return {"reviews": int(reviews), "findings": int(findings), "writes": writes}
