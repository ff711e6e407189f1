"""Where records land: one system's connector, read by the product's own `extract` into a real database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from canonical.landscape import Landscape, System
from canonical.model import Model
from connectors import registry
from connectors.protocol import Connector, Context
from staging.engine import Engine, transaction
from tasks.extract import Extracted, extract
from tasks.world import World
from tests.fixtures.database import TestDatabase

EMPTIED = ("landing.record", "landing.raw_record", "landing.cursor", "landing.shape", "ops.quarantine")


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


class _Shared(World):
    """A world whose one connector was built from outside, for a server of this test."""

    def __init__(self, landscape: Landscape, connector: Connector, engine: Engine) -> None:
        super().__init__(landscape, Path(), engine)
        self._connectors = dict.fromkeys(landscape.systems, connector)


class Shore:
    """A landscape of one system, whose streams are landed and make nothing."""

    def __init__(self, database: TestDatabase, kind: str, context: Context) -> None:
        system = System(context.system, kind, owner="head", streams=context.streams, engine=kind)
        landscape = Landscape(
            "shore",
            timezone="UTC",
            people={},
            systems={context.system: system},
            integrations={},
            model=Model(()),
            sheet=(),
            rules={},
        )
        self.owner_engine = database.owner_engine
        self.connector: Any = registry.build(kind, context)
        self.world = _Shared(landscape, self.connector, database.engine)
        self.system, self.stream = context.system, next(iter(context.streams))

    def emptied(self) -> Shore:
        with transaction(self.owner_engine) as conn:
            for table in (*EMPTIED, "landing.extract_run"):
                conn.exec_driver_sql(f"delete from {table}")
        return self

    def land(self) -> Landed:
        """A complete sweep. Raises what the connector raises."""
        read = extract(self.world, self.system, self.stream, mode="full", sync_id=None)
        with self.world.transaction() as conn:
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
