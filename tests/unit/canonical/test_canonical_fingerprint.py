"""What records look like, place by place, and when they no longer look like that."""

from __future__ import annotations

import json

import pytest

from canonical import fingerprint
from canonical.fingerprint import ABSENT, ENOUGH, ID, NULL, Drift, Known


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("name", ("name",)),
        ("properties.email", ("properties", "email")),
        ("Phones[PhoneType=DEFAULT].Number", ("Phones",)),
        ("Emails[0]", ("Emails",)),
        ("a.b[].c", ("a", "b")),
    ],
)
def test_a_path_s_place(path: str, place: tuple[str, ...]) -> None:
    assert fingerprint.place_of(path) == place


def test_kinds_at_places() -> None:
    records = [
        b'{"a": "x", "b": {"c": 1}, "d": [1]}',
        b'{"a": null, "b": {"c": true}, "d": {}}',
        b'{"b": {}, "d": -1.5}',
        b'{"a": 1, "b": "no object"}',
        b"not json",
        b"[]",
    ]
    found = fingerprint.kinds_at(records, [("a",), ("b", "c"), ("d",)])
    assert found[("a",)] == ["text", NULL, ABSENT, "number", ABSENT, ABSENT]
    assert found[("b", "c")] == ["number", "boolean", ABSENT, ABSENT, ABSENT, ABSENT]
    assert found[("d",)] == ["list", "object", "number", ABSENT, ABSENT, ABSENT]


def test_names_at_the_top_and_in_containers() -> None:
    records = [json.dumps({"id": 1, "properties": {"x": 1, "y": 2}}).encode(), b'{"z": {"w": 1}}']
    assert fingerprint.names_at(records, {(), ("properties",)}) == {"id", "properties.x", "properties.y", "z"}


def test_kinds_of_ids() -> None:
    ids = ["12", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "C-9", "6F9619FF8B86D011B42D00C04FC964FF"]
    assert fingerprint.id_kinds(ids) == ["integer", "uuid", "text", "uuid"]


def known(*kinds: str, records: int = ENOUGH, present: int | None = None) -> Known:
    return Known(frozenset(kinds), records, records if present is None else present)


@pytest.mark.parametrize(
    ("place", "before", "found", "drifts"),
    [
        pytest.param("a", known("text"), ["text", "number"], [1], id="another-kind"),
        pytest.param("a", known("text", "number"), ["text", "number"], [], id="two-kinds-are-known"),
        pytest.param("a", known("text"), [ABSENT, "text"], [0], id="missing-where-all-had-it"),
        pytest.param("a", known("text", records=ENOUGH + 1, present=ENOUGH), [ABSENT], [], id="some-never-had-it"),
        pytest.param("a", known("text"), [NULL], [], id="null-says-empty"),
        pytest.param("a", known("text", records=ENOUGH - 1), ["number", ABSENT], [], id="too-few-to-tell"),
        pytest.param("a", known(), ["number", "text"], [], id="only-nulls-were-seen"),
        pytest.param("new", None, ["text"], [], id="a-place-that-is-new"),
        pytest.param(ID, known("integer"), ["uuid", "integer", "text"], [0], id="a-uuid-among-numbers"),
        pytest.param(ID, known("uuid"), ["uuid", "integer", "text"], [1, 2], id="numbers-among-uuids"),
        pytest.param(ID, known("text", "uuid"), ["uuid", "integer"], [], id="mixed-ids"),
    ],
)
def test_what_is_drift(place: str, before: Known | None, found: list[str], drifts: list[int]) -> None:
    rows = fingerprint.find({} if before is None else {place: before}, {place: found})
    assert [drift.row for drift in rows] == drifts


@pytest.mark.parametrize(
    ("hit", "of", "action"),
    [(4, 4, "set_aside"), (5, 500, "set_aside"), (5, 499, "stop"), (60, 61, "stop")],
    ids=["fewer-than-five", "one-per-cent", "more-than-one-per-cent", "nearly-all"],
)
def test_set_aside_or_stop(hit: int, of: int, action: str) -> None:
    verdict = fingerprint.judge([Drift(0, "a", "text", "number")], hit, of)
    assert verdict.action == action
    assert "a: expected text, found number in 1 records" in verdict.because


def test_no_drift() -> None:
    assert fingerprint.judge([], 0, 10).action == "none"
    assert str(Drift(3, "a", "text", "list")) == "a: expected text, found list"


def test_more_records_are_taken_into_account() -> None:
    assert known("text").plus({"number"}, 10, 9) == Known(frozenset({"text", "number"}), ENOUGH + 10, ENOUGH + 9)
