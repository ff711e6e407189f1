"""Progress of a sync, told line by line."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest

from apps import follow
from staging import engine, reports


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("running", "reading crm/tickets: 7 records so far"),
        ("complete", "read crm/tickets: 7 records"),
        ("failed", "not read to its end: crm/tickets: 7 records"),
        ("abandoned", "not read to its end: crm/tickets: 7 records"),
    ],
)
def test_a_stream_that_could_not_be_read_is_not_called_read(
    monkeypatch: pytest.MonkeyPatch, state: str, told: str
) -> None:
    said: list[str] = []

    class Clock:
        seconds = 0.0
        say = staticmethod(said.append)

    row = {"id": 1, "system": "crm", "stream": "tickets", "received": 7, "state": state}
    none: list[dict[str, Any]] = []
    monkeypatch.setattr(engine, "transaction", lambda _: nullcontext())
    monkeypatch.setattr(reports, "readings_since", lambda *_: [row])
    monkeypatch.setattr(reports, "batches_since", lambda *_: none)
    monkeypatch.setattr(reports, "settled_since", lambda *_: none)
    follow._look(None, datetime.now(UTC), {}, follow._lines(Clock()))  # type: ignore[arg-type]
    assert said == [told]
