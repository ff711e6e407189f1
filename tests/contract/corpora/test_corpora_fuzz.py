"""Records that nobody wrote: the readers of JSON against Python's own, on generated values and on damaged bytes.

What is read has the value that `json.loads` finds; what is refused, Python refuses too, or one of our own rules names
itself; nothing but an error of ours ever comes out.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.mapping.decode import decode
from canonical.mapping.strict import NotStrict, parse_strict, plain_text
from connectors.paging import Shape, Split, Splitter
from tests.contract.corpora.test_corpora_json import attempt, exactly
from tests.fixtures.corpora.json_conformance import ACCEPT, OPEN, REJECT

pytestmark = pytest.mark.slow
"""Every text and document through every connector: minutes, and in `make test-all`."""

BOUNDED = settings(max_examples=100, deadline=None)
OUR_RULES = {"encoding", "number", "duplicate_key", "depth", "json"}
SPLITTER = Splitter(
    Shape("data", ("id",), changed="mark", deleted=("gone", frozenset({"true"})), envelope={"next": "next"})
)

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
RECORDS = st.dictionaries(TEXTS.filter(lambda name: name not in ("id", "mark", "gone")), VALUES, max_size=6)
NAMES = st.sampled_from(["a", "b", "a.b", "name", "", "é", '"', "id"])
SHAPED = st.dictionaries(NAMES.filter(lambda n: n != "id"), VALUES, min_size=1, max_size=4)
PIECES = st.sampled_from(
    [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u", b"\\ud800", b"NaN", b"1e999", b"\xff", b"\x00", b" "]
)  # fmt: skip
DOCUMENTS = st.sampled_from([*ACCEPT.values(), *REJECT.values(), *OPEN.values()]).filter(lambda d: len(d) < 2_000)


def spelt(value: Any, *, escaped: bool, wide: bool) -> bytes:
    return json.dumps(value, ensure_ascii=escaped, separators=(" ,\n", "\t: ") if wide else (",", ":")).encode()


def page(*records: bytes) -> bytes:
    return b'{"next": null, "data": [' + b", ".join(records) + b"]}"


def checked(body: bytes) -> Split | None:
    """None: the page is refused as a whole. Else columns of equal length, of objects that have these ids."""
    split, refused = attempt(lambda: SPLITTER.split(body))
    if refused is not None:
        assert len(str(refused)) < 300
        return None
    columns = (split.ids, split.payloads, split.changed, split.deleted)
    assert len({len(column) for column in columns}) == 1
    for record_id, payload in zip(split.ids, split.payloads, strict=True):
        try:
            found = json.loads(payload.decode())
        except UnicodeDecodeError:
            continue  # bytes that are no text are refused one step later, where they land
        except (ValueError, RecursionError):
            assert any(rule in payload for rule in (b"1" * 4_000, b"9" * 4_000)), payload[:80]
            continue
        assert isinstance(found, dict)
        assert str(found["id"]) == record_id or isinstance(found["id"], float)
    assert all(refusal.reason for refusal in split.refused)
    return split


def strictly(payload: bytes) -> tuple[dict[str, Any], NotStrict | None]:
    """What the strict reader finds, or why it refuses."""
    try:
        return parse_strict(payload), None
    except NotStrict as refused:
        return {}, refused


@BOUNDED
@given(st.lists(RECORDS, max_size=5), st.booleans(), st.booleans())
def test_good_records_are_cut_out_as_they_stand(records: list[dict[str, Any]], escaped: bool, wide: bool) -> None:
    told = [spelt({"id": f"r{n}", **r}, escaped=escaped, wide=wide) for n, r in enumerate(records)]
    split = SPLITTER.split(page(*told))
    assert split.payloads == told
    assert split.ids == [f"r{n}" for n in range(len(records))]
    assert split.refused == []


@BOUNDED
@given(st.lists(RECORDS, min_size=1, max_size=3), st.data())
def test_damage_anywhere_is_refused_or_harmless(records: list[dict[str, Any]], data: st.DataObject) -> None:
    body = page(*(spelt({"id": f"r{n}", **r}, escaped=False, wide=False) for n, r in enumerate(records)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        width = data.draw(st.integers(0, 3))
        body = body[:at] + data.draw(PIECES | st.just(b"")) + body[at + width :]
    checked(body)


@BOUNDED
@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_documents_side_by_side(documents: list[bytes]) -> None:
    """What breaks the page breaks it as a whole; a page that is read accounts for every good record in it."""
    good = [b'{"id": "first"}', b'{"id": "last"}']
    records = [b'{"id": "d%d", "v": %s}' % (n, document) for n, document in enumerate(documents)]
    split = checked(page(good[0], *records, good[1]))
    if split is not None:
        assert {"first", "last"} <= set(split.ids)
        assert len(split) == len(records) + 2


@BOUNDED
@given(DOCUMENTS | st.builds(lambda v: spelt(v, escaped=False, wide=True), VALUES))
def test_the_strict_reader_says_what_python_says(document: bytes) -> None:
    payload = b'{"v": ' + document + b"}"
    found, refused = strictly(payload)
    if refused is not None:
        assert refused.rule in OUR_RULES
        assert refused.reason
        if refused.rule == "json":
            with pytest.raises((ValueError, RecursionError)):
                exactly(payload)
        return
    text = plain_text(found["v"])
    expected = exactly(payload)["v"]
    if isinstance(expected, str) or expected is None:
        assert text == expected
    elif isinstance(expected, Decimal):
        assert text is not None
        assert Decimal(text) == expected
    else:
        assert text is not None
        assert exactly(text) == expected


@BOUNDED
@given(st.lists(SHAPED | RECORDS, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_the_fast_reader_says_what_the_strict_one_says(
    records: list[dict[str, Any]], escaped: bool, wide: bool
) -> None:
    """The same columns whichever way a record goes, whatever its neighbours look like."""
    payloads = [spelt(r, escaped=escaped, wide=wide) for r in records]
    paths = ["a", "a.b", "b", "name", "é"]
    together = decode(payloads, paths)
    assert together.refused == []
    for row, payload in enumerate(payloads):
        alone = decode([payload], paths)
        strict = parse_strict(payload)
        for path in ("b", "name", "é"):
            value = strict.get(path)
            assert together.frame[path][row] == alone.frame[path][0] == plain_text(value)
            is_absent = path in together.absent and bool(together.absent[path][row])
            assert is_absent == (path not in strict)
        assert together.frame["a.b"][row] == alone.frame["a.b"][0]


@BOUNDED
@given(st.lists(DOCUMENTS, min_size=1, max_size=6))
def test_the_fast_reader_refuses_what_the_strict_one_refuses(documents: list[bytes]) -> None:
    payloads = [b'{"name": "n", "v": ' + document + b"}" for document in documents]
    together = decode(payloads, ["name", "v"])
    refused = {row for row, _, _ in together.refused}
    for row, payload in enumerate(payloads):
        strict, is_refused = strictly(payload)
        assert (row in refused) == (is_refused is not None), payload[:80]
        assert together.frame["v"][row] == (None if is_refused else plain_text(strict["v"]))
