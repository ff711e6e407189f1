"""Pages into raw records: what lands, what is refused and why (RELIABILITY section 3, source records)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.paging import Shape, Split, Splitter
from connectors.paging.scan import NoBoundaries, boundaries
from connectors.protocol import SystemFault, Transient

PLAIN = Splitter(
    Shape(
        "results",
        ("id",),
        changed="meta.changed",
        deleted=("archived", frozenset({"true", "GONE"})),
        envelope={"next": "paging.next.after", "total": "total"},
    )
)


def page(*records: str, rest: str = "") -> bytes:
    return ('{"results": [' + ", ".join(records) + "]" + rest + "}").encode()


def test_records_come_apart_as_sent() -> None:
    first = '{"id": "1", "meta": {"changed": "2026-01-01"}, "archived": true, "n": 1.10}'
    second = '{"archived": false,"id":2,"meta":{"changed":1700000000}}'
    split = PLAIN.split(page(first, second, rest=', "total": 9, "paging": {"next": {"after": "x", "link": "y"}}'))
    assert split.ids == ["1", "2"]
    assert split.payloads == [first.encode(), second.encode()]
    assert split.changed == ["2026-01-01", "1700000000"]
    assert split.deleted == [True, False]
    assert split.envelope == {"next": "x", "total": 9}
    assert split.parents is None


@pytest.mark.parametrize("rest", ["", ', "paging": null', ', "paging": {}', ', "paging": {"next": null}'])
def test_an_absent_envelope_is_none(rest: str) -> None:
    assert PLAIN.split(page(rest=rest)).envelope == {"next": None, "total": None}


def test_a_status_may_say_that_a_record_is_gone() -> None:
    assert PLAIN.split(page('{"id": 1, "archived": "GONE"}', '{"id": 2}')).deleted == [True, False]


GOOD_IDS = [('"007"', "007"), ("7", "7"), ("12.0", "12.0"), ("9007199254740993", "9007199254740993"),
            ("1" * 40, "1" * 40), ('"a b"', "a b"), ('"\\u00e9"', "é")]  # fmt: skip
BAD_IDS = [("null", "null"), ('""', "blank"), ('"  "', "blank"), ('"1 "', "spaces"), ("9007199254740993.0", "floating"),
           ("1.5", "floating"), ("1e999", "floating"), ("true", "true"), ("{}", "an object"), ("[1]", "a list"),
           ("1" * 5000, "characters"), ('"a\\u0000b"', "control")]  # fmt: skip


@pytest.mark.parametrize(("raw", "text"), GOOD_IDS)
def test_ids_are_text_exactly_as_sent(raw: str, text: str) -> None:
    assert PLAIN.split(page(f'{{"id": {raw}}}', '{"id": "ok"}')).ids == [text, "ok"]


@pytest.mark.parametrize(("raw", "reason"), BAD_IDS, ids=[one[0][:20] for one in BAD_IDS])
def test_a_bad_id_refuses_its_record_and_no_other(raw: str, reason: str) -> None:
    split = PLAIN.split(page('{"id": "a"}', f'{{"id": {raw}}}', '{"id": "b"}'))
    assert split.ids == ["a", "b"]
    assert reason in split.refused[0].reason
    assert len(split) == 3


@pytest.mark.parametrize("record", ["{}", "3", "null", '"x"', "[]", '{"x": 1}'])
def test_what_is_no_record_is_refused(record: str) -> None:
    split = PLAIN.split(page(record, '{"id": "ok"}'))
    assert split.ids == ["ok"]
    assert len(split.refused) == 1


@pytest.mark.parametrize("damage", ["NaN", "Infinity", "-Infinity", "01", "'x'", "undefined", '"\\ud800"', "tru"])
def test_a_damaged_record_is_set_aside(damage: str) -> None:
    bad = f'{{"id": "bad", "text": "}}]", "amount": {damage}}}'
    split = PLAIN.split(page('{"id": "a"}', bad, '{"id": "b"}', rest=', "paging": {"next": {"after": "2"}}'))
    assert split.ids == ["a", "b"]
    assert split.refused[0].raw == bad.encode()
    assert split.refused[0].reason.startswith("not JSON")
    assert split.envelope["next"] == "2"


def test_a_damaged_record_keeps_its_id_for_the_person_who_looks() -> None:
    assert PLAIN.split(page('{"id": "bad", "amount": NaN}')).refused[0].id == "bad"


def test_a_page_that_is_cut_is_read_again() -> None:
    whole = page('{"id": "a"}', '{"id": "b", "x": "y"}', rest=', "total": 2')
    for end in range(1, len(whole)):
        with pytest.raises((Transient, SystemFault)) as raised:
            PLAIN.split(whole[:end])
        assert type(raised.value) is Transient


SHAPES = [b'{"error": "maintenance"}', b'{"results": null}', b'{"results": {}}', b"[]", b'"x"', b"null",
          b'{"results": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"]  # fmt: skip


@pytest.mark.parametrize("body", SHAPES, ids=[one[:20].decode() for one in SHAPES])
def test_json_of_another_shape_is_a_fault(body: bytes) -> None:
    with pytest.raises(SystemFault):
        PLAIN.split(body)


def test_large_records_are_refused_alone() -> None:
    long = json.dumps({"id": "long", "text": "x" * (10 * 1024 * 1024)})
    wide = json.dumps({"id": "wide", **{f"f{number}": 1 for number in range(100_001)}})
    split = PLAIN.split(page(long, wide, '{"id": "ok"}'))
    assert split.ids == ["ok"]
    assert [one.reason.split(",")[0] for one in split.refused] == [
        "expected at most 10485760 bytes",
        "expected at most 100000 fields",
    ]


@pytest.mark.parametrize("line", ['"a"', "3"])
def test_composite_keys_and_parents(line: str) -> None:
    splitter = Splitter(Shape("", ("order", "line.no"), parent="order"))
    split = splitter.split(f'[{{"order": "O-1", "line": {{"no": {line}}}}}, {{"order": "O-2"}}]'.encode())
    assert split.ids == [json.dumps(["O-1", json.loads(line if line[0] == '"' else f'"{line}"')]).replace(" ", "")]
    assert split.parents == ["O-1"]
    assert len(split.refused) == 1


def test_names_with_dots() -> None:
    splitter = Splitter(Shape("value", ("a\\.id",), envelope={"next": "@odata\\.nextLink"}))
    split = splitter.split(b'{"value": [{"a.id": 1}], "@odata.nextLink": "u"}')
    assert (split.ids, split.envelope["next"]) == (["1"], "u")


def test_fast_and_careful_ways_agree() -> None:
    records = [
        '{"id": "1", "meta": {"changed": "x"}, "archived": true}', '{"id": 2, "meta": {"changed": null}}',
        '{"id": "3"}',
        '{"id": "4", "meta": {"changed": 12}, "archived": "no"}', '{"id": "5", "meta": {}, "archived": null}',
    ]  # fmt: skip
    fast = PLAIN.split(page(*records))
    careful = PLAIN.split(page(*records, '{"id": null}'))
    assert columns(fast) == columns(careful)


def columns(split: Split) -> list[Any]:
    return [split.ids, split.payloads, split.changed, split.deleted]


def test_boundaries_ignore_braces_in_strings_and_lists_elsewhere() -> None:
    body = b'{"meta": {"results": [1]}, "results": [{"a": "]}\\""}, {"b": [1, {"c": 2}]}], "x": [3]}'
    pieces, (start, end) = boundaries(body, ("results",))
    assert [body[first:last].strip() for first, last in pieces] == [b'{"a": "]}\\""}', b'{"b": [1, {"c": 2}]}']
    assert body[start : start + 1] + body[end - 1 : end] == b"[]"


def test_no_boundaries_beyond_the_depth_limit() -> None:
    with pytest.raises(NoBoundaries, match="deeper than 64"):
        boundaries(b'{"results": [' + b"[" * 70 + b"]" * 70 + b"]}", ("results",))
