"""Poison: a record that makes the mapping itself fail is found, tried again, and set aside (fault matrix 48)."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from canonical.checks import FLOOD
from canonical.landscape import Stream
from canonical.problems import Refused
from connectors.protocol import ConnectorError
from staging import backlog, queues, trouble
from tasks.world import World

TRIES = 3
"""How often a single record is mapped that makes the mapping fail, before it is set aside."""


@dataclass
class Poison:
    """What one stream's records did to the mapping."""

    tries: dict[str, int] = field(default_factory=dict)
    """Records that could not be mapped → how often that was tried."""
    aside: list[str] = field(default_factory=list)
    """Those of them that were set aside."""


def is_of_a_record(error: BaseException) -> bool:
    """Whether an error may be one record's fault: neither the database's, nor a system's, nor a declaration's."""
    of_the_data = trouble.is_of_the_data(error)
    return of_the_data if of_the_data is not None else not isinstance(error, ConnectorError | Refused)


def to_try_again(
    world: World,
    stream: Stream,
    system: str,
    rows: pl.DataFrame,
    digest: str,
    found: Poison,
    error: BaseException,
) -> list[pl.DataFrame]:
    """What is to be tried again of landed records that could not be mapped together: their halves, or a single one up
    to `TRIES` times. After that it is set aside, and the stream goes on.

    Raises `error` where there are too many: then the mapping is at fault, or the source."""
    if rows.height > 1:
        half = rows.height // 2
        return [rows.head(half), rows.tail(rows.height - half)]
    record = str(rows["source_id"][0])
    found.tries[record] = found.tries.get(record, 0) + 1
    if found.tries[record] < TRIES:
        return [rows]
    found.aside.append(record)
    if len(found.aside) > FLOOD.count:
        raise error
    entry = rows.select(
        pl.lit(system).alias("system"),
        pl.lit(stream.name).alias("stream"),
        "source_id",
        pl.lit("record").alias("scope"),
        pl.lit("mappable").alias("rule"),
        pl.lit(f"it cannot be mapped, tried {TRIES} times: {type(error).__name__}").alias("reason"),
        "raw_id",
    )
    with world.transaction() as conn:
        queues.quarantine(conn, entry, owner=world.owner_of_system(system), declared=digest)
        state = rows.select("source_id", "raw_id", pl.lit("quarantined").alias("state"))
        backlog.set_state(conn, system, stream.name, state, digest)
    return []
