"""Looks through a list that was read a moment ago: exact, fresh after unclear writes, aware of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from connectors.asana.kinds import kind_of
from connectors.asana.lookup import FRESH_SECONDS, Lookup
from connectors.protocol import SourceRecord

MARKER = "custom_fields[name=Concord ID].text_value"


def record(gid: str, name: str, marker: str | None = None, *, deleted: bool = False) -> SourceRecord:
    customs = [{"gid": "1", "name": "Concord ID", "text_value": marker}]
    return SourceRecord(gid, json.dumps({"gid": gid, "name": name, "custom_fields": customs}).encode(), deleted=deleted)


class Listed:
    """Stands in for a reader: counts how often it is read."""

    def __init__(self, *records: SourceRecord) -> None:
        self.held = list(records)
        self.readings = 0

    def records(self) -> Iterator[SourceRecord]:
        self.readings += 1
        yield from self.held


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def listed() -> Listed:
    return Listed(record("1", "Zoo", "g-1"), record("2", "Zoo", "g-2"), record("3", "Zip"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lookup(listed: Listed, clock: Clock) -> Lookup:
    return Lookup(listed, kind_of("work", "projects", {}), clock=clock)  # type: ignore[arg-type]


def ids(lookup: Lookup, **by: str) -> list[str]:
    return [one.id for one in lookup.find({MARKER if path == "marker" else path: value for path, value in by.items()})]


def test_all_values_must_be_equal(lookup: Lookup) -> None:
    assert ids(lookup, name="Zoo") == ["1", "2"]
    assert ids(lookup, name="Zoo", marker="g-2") == ["2"]
    assert ids(lookup, name="Zip", marker="g-2") == []
    assert ids(lookup, name="zoo") == []


def test_a_reading_is_good_for_a_few_seconds(lookup: Lookup, listed: Listed, clock: Clock) -> None:
    ids(lookup, name="Zoo")
    listed.held.append(record("4", "New"))
    clock.now += FRESH_SECONDS
    assert ids(lookup, name="New") == []
    clock.now += 0.1
    assert ids(lookup, name="New") == ["4"]
    assert listed.readings == 2


def test_our_own_writes_are_known_at_once(lookup: Lookup, listed: Listed) -> None:
    ids(lookup, name="Zoo", marker="g-1")
    lookup.note([record("4", "Zoo", "g-4"), record("1", "Renamed", "g-1"), record("2", "Zoo", deleted=True)])
    assert ids(lookup, name="Zoo") == ["4"]
    assert ids(lookup, marker="g-1") == ["1"]
    assert ids(lookup, marker="g-2") == []
    lookup.note([record("4", "Zoo", None)])
    assert ids(lookup, marker="g-4") == []
    assert listed.readings == 1


def test_after_an_unclear_write_the_list_is_read_anew(lookup: Lookup, listed: Listed) -> None:
    ids(lookup, name="Zoo")
    listed.held.append(record("4", "Lost"))
    lookup.forget()
    assert ids(lookup, name="Lost") == ["4"]
