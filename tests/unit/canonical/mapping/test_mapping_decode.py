"""Records become text columns: exact, three states per path, and strict about what no column can hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canonical.mapping.decode import Decoded, decode, decode_list
from canonical.mapping.paths import ABSENT, BadPath, parse_path, walk
from canonical.mapping.strict import NotStrict, parse_strict, plain_text

ABSENT_MARK = "<absent>"


def states(decoded: Decoded, path: str) -> list[Any]:
    """Value, None or the mark of absence, row by row."""
    absent = decoded.absent.get(path)
    values = decoded.frame[path].to_list()
    return values if absent is None else [ABSENT_MARK if a else v for v, a in zip(values, absent, strict=True)]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(b'{"a":"x"}', "x", id="text"),
        pytest.param(b'{"a":""}', "", id="empty text is not null"),
        pytest.param(b'{"a":null}', None, id="null"),
        pytest.param(b"{}", ABSENT_MARK, id="absent is not null"),
        pytest.param(b'{"a":true}', "true", id="boolean"),
        pytest.param(b'{"a":12}', "12", id="integer"),
        pytest.param(b'{"a":12345678901234567890123}', "12345678901234567890123", id="integer beyond 64 bits"),
        pytest.param(b'{"a":9007199254740993.0}', "9007199254740993.0", id="float keeps its digits"),
        pytest.param(b'{"a":0.1000}', "0.1000", id="zeros as sent"),
        pytest.param(b'{"a":1e3}', "1e3", id="exponent as sent"),
        pytest.param(b'{"a":{"z":1.50,"b":[2]}}', '{"b":[2],"z":1.50}', id="object as canonical JSON"),
        pytest.param(b'{"a":[1.50,null]}', "[1.50,null]", id="list as canonical JSON"),
        pytest.param(b'{"a":[12345678901234567890123]}', "[12345678901234567890123]", id="great integer inside a list"),
        pytest.param('{"a":"Zoë"}'.encode(), "Zoë", id="UTF-8"),
        pytest.param(b'{"a":"\\u00e9\\ud83d\\ude00"}', "é😀", id="escapes"),
        pytest.param(b'\xef\xbb\xbf{"a":"x"}', "x", id="byte order mark is taken off"),
        pytest.param(b'{"\\u0061":"x"}', "x", id="escaped key"),
        pytest.param(b'{ "a" : "x" }', "x", id="white space around the colon"),
        pytest.param(b'{"b":"\\"a\\":","a":"x"}', "x", id="text that looks like a key"),
    ],
)
@pytest.mark.parametrize("company", [[], [b'{"a":"q"}'] * 3, [b'{"b":1}'] * 3], ids=["alone", "as usual", "unusual"])
def test_a_value_reads_as_sent(payload: bytes, expected: Any, company: list[bytes]) -> None:
    decoded = decode([*company, payload], ["a"])
    assert states(decoded, "a")[-1] == expected
    assert decoded.refused == []


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        pytest.param(b'{"a":NaN}', "number", id="NaN"),
        pytest.param(b'{"a":-Infinity}', "number", id="Infinity"),
        pytest.param(b'{"a":1e999}', "number", id="1e999"),
        pytest.param(b'{"z":[{"y":1E+999}]}', "number", id="1e999 in a field nobody maps"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "number", id="integer of 5,000 digits"),
        pytest.param(b'{"a":1,"a":2}', "duplicate_key", id="duplicate key"),
        pytest.param(b'{"a":1,"z":{"y":1,"y":null}}', "duplicate_key", id="duplicate key in a field nobody maps"),
        pytest.param(b'{"z":[{"y":1,"y":1}]}', "duplicate_key", id="duplicate key inside a list"),
        pytest.param(b'{"a":1,"\\u0061":1}', "duplicate_key", id="duplicate key, once escaped"),
        pytest.param(b'{"a" :1,"a" :2}', "duplicate_key", id="duplicate key with white space"),
        pytest.param(b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "depth", id="depth 71"),
        pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "depth", id="depth 100,000"),
        pytest.param(b'{"a":' * 70 + b"1" + b"}" * 70, "depth", id="objects 70 deep"),
        pytest.param(b'{"a":"x\\u0000y"}', "encoding", id="NUL"),
        pytest.param(b'{"x\\u0000y":1}', "encoding", id="NUL in a key"),
        pytest.param(b'{"a":"\\ud800"}', "encoding", id="lone high surrogate"),
        pytest.param(b'{"a":"\\udc00x"}', "encoding", id="lone low surrogate"),
        pytest.param(b'{"a":"caf\xe9"}', "encoding", id="Latin-1"),
        pytest.param(b'{"z":"caf\xe9"}', "encoding", id="Latin-1 in a field nobody maps"),
        pytest.param(b'[{"a":1}]', "json", id="not an object"),
        pytest.param(b'{"a":1} {"a":2}', "json", id="two records"),
        pytest.param(b'{"a":01}', "json", id="leading zero"),
        pytest.param(b"<html>", "json", id="HTML"),
        pytest.param(b"", "json", id="nothing"),
    ],
)
@pytest.mark.parametrize("company", [[], [b'{"a":"q"}'] * 3], ids=["alone", "among others"])
def test_a_bad_record_is_refused_alone(payload: bytes, rule: str, company: list[bytes]) -> None:
    decoded = decode([*company, payload, b'{"a":"last"}'], ["a"])
    assert [(row, found) for row, found, _ in decoded.refused] == [(len(company), rule)]
    assert decoded.frame["a"].to_list() == ["q"] * len(company) + [None, "last"]
    assert all(reason and len(reason) < 200 for _, _, reason in decoded.refused)


@pytest.mark.parametrize(
    "text",
    [
        "=HYPERLINK(1)",
        "'; DROP TABLE x",
        "{{7*7}}",
        "{0.__class__}",
        "%s%n",
        "<script>",
        "<!channel>",
        "a\r\nb",
        "\u202eabc",
    ],
)
def test_naughty_text_is_kept_as_text(text: str) -> None:
    assert decode([json.dumps({"a": text}).encode()], ["a"]).frame["a"].to_list() == [text]


@pytest.mark.parametrize(
    ("path", "record", "expected"),
    [
        pytest.param("a.b.c", {"a": {"b": {"c": 1}}}, "1", id="nesting"),
        pytest.param("a.b", {"a": None}, None, id="below null is null"),
        pytest.param("a.b", {"a": {}}, ABSENT_MARK, id="below an object without it is absent"),
        pytest.param("a.b", {"a": "text"}, ABSENT_MARK, id="below a text is absent"),
        pytest.param("P[T=D].N", {"P": [{"T": "X", "N": 1}, {"T": "D", "N": 2}]}, "2", id="pick"),
        pytest.param("P[T=D].N", {"P": [{"T": "D"}]}, ABSENT_MARK, id="picked without the member"),
        pytest.param("P[T=D].N", {"P": []}, None, id="nothing to pick: shown empty"),
        pytest.param("P[T=D].N", {}, ABSENT_MARK, id="no list at all"),
        pytest.param("P[T=2].N", {"P": [{"T": 2, "N": "x"}]}, "x", id="pick by a number"),
        pytest.param("P[T=true].N", {"P": [{"T": True, "N": "x"}]}, "x", id="pick by a boolean"),
        pytest.param("E[0]", {"E": ["x", "y"]}, "x", id="first element"),
        pytest.param("E[2]", {"E": ["x", "y"]}, None, id="beyond the list: shown empty"),
        pytest.param("E[0]", {"E": "x"}, ABSENT_MARK, id="position in a text"),
        pytest.param("L[].q", {"L": [{"q": 1}, {}, {"q": None}]}, "[1,null]", id="each"),
        pytest.param("L[].q", {"L": 1}, ABSENT_MARK, id="each of no list"),
        pytest.param("a.c.r[0].id", {"a": {"c": {"r": [{"id": 9}]}}}, "9", id="list inside nesting"),
    ],
)
@pytest.mark.parametrize(
    "company", [[], [{"a": {"b": 1}, "P": [], "E": []}], [{"zz": 1}] * 9], ids=["alone", "usual", "odd"]
)
def test_paths(path: str, record: dict[str, Any], expected: Any, company: list[Any]) -> None:
    payloads = [json.dumps(r).encode() for r in [*company, record]]
    assert states(decode(payloads, [path]), path)[-1] == expected


@pytest.mark.parametrize("path", ["", ".a", "a.", "a[", "a[x]", "a]b", "a..b", "[0]"])
def test_unreadable_paths_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        parse_path(path)


def test_a_path_and_its_parent_may_both_be_wanted() -> None:
    decoded = decode([b'{"a":{"b":1}}', b'{"a":{"b":2}}'], ["a", "a.b"])
    assert decoded.frame.rows() == [('{"b":1}', "1"), ('{"b":2}', "2")]


def test_no_payloads_and_no_paths() -> None:
    assert decode([], ["a"]).frame.shape == (0, 1)
    assert decode([b"{}", b"{"], []).refused[0][0] == 1


def test_records_with_thousands_of_keys_are_read() -> None:
    payload = json.dumps({f"k{i}": i for i in range(5000)}).encode()
    assert decode([payload, payload], ["k4999"]).frame["k4999"].to_list() == ["4999", "4999"]


def test_a_shape_that_changes_within_the_batch() -> None:
    payloads = [b'{"a":1,"b":{"c":1}}'] * 500 + [
        b'{"a":"x","new":{"d":[1]},"b":{"c":"y"}}',
        b'{"b":null,"a":[2]}',
        b'{"b":3}',
    ]
    decoded = decode(payloads, ["a", "b.c", "new.d"])
    assert decoded.frame.rows()[-3:] == [("x", "y", "[1]"), ("[2]", None, None), (None, None, None)]
    assert [bool(v) for v in decoded.absent["b.c"][-3:]] == [False, False, True]
    assert decoded.refused == []


def test_list_elements_become_rows_that_know_their_record() -> None:
    payloads = [b'{"L":[{"q":1.50},{"q":null,"s":"x"}]}', b'{"L":[]}', b"{}", b'{"L":[{"s":"y"}]}', b'{"L":null}']
    decoded = decode_list(payloads, "L", ["q", "s"])
    assert decoded.frame.rows(named=True) == [
        {"q": "1.50", "s": None, "_row": 0},
        {"q": None, "s": "x", "_row": 0},
        {"q": None, "s": "y", "_row": 3},
    ]
    assert states(decoded, "q") == ["1.50", None, ABSENT_MARK]
    assert decode_list(payloads, "L[]", ["q"]).frame.height == 3


def test_list_elements_that_are_no_objects_are_refused() -> None:
    decoded = decode_list([b'{"L":[{"q":1},2]}'], "L", ["q"])
    assert [(row, rule) for row, rule, _ in decoded.refused] == [(1, "json")]


_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
_values = st.recursive(
    _scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)
_records = st.dictionaries(st.sampled_from("abcd"), _values, max_size=4)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_records, min_size=1, max_size=12), st.booleans())
def test_the_fast_way_answers_as_the_strict_one(records: list[dict[str, Any]], is_compact: bool) -> None:
    paths = ["a", "a.b", "b.c.a", "c[0]", "d[a=1].b", "c[].a"]
    separators = (",", ":") if is_compact else (", ", ": ")
    payloads = [json.dumps(r, separators=separators).encode("utf-8", "surrogatepass") for r in records]
    decoded = decode(payloads, paths)
    refused = {row for row, _, _ in decoded.refused}
    for row, payload in enumerate(payloads):
        try:
            record = parse_strict(payload)
        except NotStrict:
            assert row in refused
            continue
        assert row not in refused
        for path in paths:
            found = walk(record, parse_path(path))
            expected = ABSENT_MARK if found is ABSENT else plain_text(found)
            assert states(decoded, path)[row] == expected, path
