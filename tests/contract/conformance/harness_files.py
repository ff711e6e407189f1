"""A folder with one CSV file."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from canonical.landscape import Stream
from connectors.files import place
from connectors.protocol import Context
from tests.contract.conformance.peer import Peer

LONG_AGO = 1_700_000_000

ROLES = frozenset({"source"})


class Folder(Peer):
    def __init__(self, folder: Path) -> None:
        stream = Stream("people", key=("Ref",), options={"path": "people.csv", "page_size": 3})
        super().__init__(Context("book", {"path": str(folder)}, {"people": stream}), "people")
        self.file = folder / "people.csv"
        self.rows: dict[str, str] = {}
        self.saves = 0
        self.save()

    def save(self) -> None:
        with self.file.open("w", newline="") as file:
            csv.writer(file).writerows([("Ref", "Name"), *self.rows.items()])
        self.saves += 1
        os.utime(self.file, (LONG_AGO + self.saves, LONG_AGO + self.saves))

    def add(self, names: Sequence[str]) -> list[str]:
        ids = [f"R{len(self.rows) + i}-{self.saves}" for i in range(len(names))]
        self.rows.update(zip(ids, names, strict=True))
        self.save()
        return ids

    def rename(self, record_id: str, name: str) -> None:
        self.rows[record_id] = name
        self.save()

    def remove(self, record_id: str) -> None:
        del self.rows[record_id]
        self.save()

    def names(self) -> dict[str, str]:
        return dict(self.rows)

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["Name"])

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        os.utime(self.file, (time.time() + 600, time.time() + 600))
        before = place.PATIENCE_SECONDS
        place.PATIENCE_SECONDS = 0.2
        try:
            yield
        finally:
            place.PATIENCE_SECONDS = before
            self.save()


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    yield Folder(folder)
