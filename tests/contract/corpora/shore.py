"""Where records land: one system's connector, read by the product's own `extract` into a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from canonical.landscape import Brake
from connectors import registry
from connectors.protocol import Context
from staging.engine import transaction
from tasks.extract import Extracted, extract
from tests.fixtures.database import TestDatabase


@dataclass(frozen=True)
class Refusal:
    id: str
    reason: str
    raw: str


@dataclass(frozen=True)
class Landed:
    """One reading: what stands in landing, and what was refused."""

    read: Extracted
    payloads: dict[str, bytes]
    refused: tuple[Refusal, ...]


class Shore:
    """As much of a world as `extract` asks for."""

    def __init__(self, database: TestDatabase, kind: str, context: Context) -> None:
        self.engine = database.engine
        self.owner_engine = database.owner_engine
        self.connector: Any = registry.build(kind, context)
        self.landscape = SimpleNamespace(systems={context.system: SimpleNamespace(streams=context.streams)})
        self.system, self.stream = context.system, next(iter(context.streams))

    def source(self, system: str) -> Any:
        return self.connector

    def brake_of(self, system: str, stream: str) -> Brake:
        return Brake()

    def owner_of_system(self, system: str) -> str:
        return "head"

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with transaction(self.engine) as conn:
            yield conn

    def emptied(self) -> Shore:
        with transaction(self.owner_engine) as conn:
            tables = "landing.record, landing.raw_record, landing.cursor, landing.extract_run, ops.quarantine"
            conn.exec_driver_sql("; ".join(f"delete from {table}" for table in tables.split(", ")))
        return self

    def land(self) -> Landed:
        """A complete sweep. Raises what the connector raises."""
        read = extract(self, self.system, self.stream, mode="full", sync_id=None)  # type: ignore[arg-type]
        with self.transaction() as conn:
            rows = conn.execute(
                sa.text(
                    "select r.source_id, v.payload from landing.record r join landing.raw_record v on v.id = r.raw_id"
                    " where not r.deleted"
                )
            )
            payloads = {i: payload.encode() for i, payload in rows}
            refused = conn.execute(
                sa.text("select source_id, reason, raw from ops.quarantine where scope = 'unreadable'")
            )
            return Landed(read, payloads, tuple(Refusal(*row) for row in refused))


def spelt(text: str, *, escaped: bool) -> bytes:
    """A text as JSON: in ASCII with escapes, or in UTF-8 as far as it goes (halves of pairs in their three bytes)."""
    return json.dumps(text, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


def kept_as(record: bytes) -> str:
    """How the quarantine keeps the bytes of a record that could not be landed."""
    return record.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
