# ruff: noqa: E501 - a table reads best with related cases on one line
"""JSON documents inside of records, through the page path of every connector that reads JSON, and through PostgreSQL.

What must be refused is refused as a page or as a record, with a reason and without a traceback; what must be read lands
with the value that Python's own reader finds; what RFC 8259 leaves open is one or the other, never something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from canonical.mapping.decode import decode
from connectors.protocol import ConnectorError, SystemFault, Transient
from tests.contract.corpora.shore import Shore, kept_as
from tests.contract.corpora.speakers import Said, Speaker
from tests.fixtures.corpora.json_conformance import ACCEPT, OPEN, REJECT
from tests.fixtures.database import TestDatabase

pytestmark = pytest.mark.slow
"""Every text and document through every connector: minutes, and in `make test-all`."""

Talk = tuple[Speaker, Said, Shore]
BOM = b"\xef\xbb\xbf"


def exactly(document: bytes | str) -> Any:
    """Python's reading with numbers as decimals, so that no digit is lost in the comparison."""
    text = document.decode() if isinstance(document, bytes) else document
    return json.loads(text, parse_float=Decimal, parse_int=lambda digits: Decimal(digits), parse_constant=_never)


def _never(word: str) -> None:
    raise ValueError(word)


def path_of(speaker: Speaker) -> str:
    return "properties.v" if speaker.kind == "hubspot" else "v"


def say(talk: Talk, documents: Mapping[str, bytes]) -> list[bytes]:
    """Records of these documents as values of `v`, between two good ones."""
    speaker, said, _ = talk
    values = [b'"before"', *documents.values(), b'"after"']
    keys = [speaker.key(n) for n in range(len(values))]
    told = [json.dumps(key).encode() if speaker.keeps_ids else key.encode() for key in keys]
    said.records = [speaker.record(key, (b'"v"', value)) for key, value in zip(told, values, strict=True)]
    said.body = None
    return said.records


def value_told(talk: Talk, payload: bytes) -> tuple[Any, str | None]:
    """The value as mapping reads it, or why it does not."""
    path = path_of(talk[0])
    decoded = decode([payload], [path])
    if decoded.refused:
        return None, decoded.refused[0][2]
    text = decoded.frame[path][0]
    return text, None


def test_the_corpus_says_what_python_says() -> None:
    assert len(ACCEPT) + len(REJECT) + len(OPEN) > 400
    for document in ACCEPT.values():
        exactly(document)
    for document in REJECT.values():
        with pytest.raises(ValueError):
            exactly(b'{"v": ' + document + b"}")


def test_what_must_be_read_lands_with_its_value(talk: Talk) -> None:
    speaker, _, shore = talk
    sent = say(talk, ACCEPT)
    landed = shore.emptied().land()
    assert landed.refused == ()
    assert len(landed.payloads) == len(sent)
    for number, (name, document) in enumerate(ACCEPT.items(), start=1):
        payload = landed.payloads[speaker.key(number)]
        assert not speaker.is_verbatim or payload == sent[number], name
        inside = exactly(payload)
        assert (inside["properties"] if speaker.kind == "hubspot" else inside)["v"] == exactly(document), name
        text, refused = value_told(talk, payload)
        assert refused is None, name
        assert _same(text, exactly(document)), name


def _same(text: str | None, value: Any) -> bool:
    """Whether the text of a mapped column says the value: scalars as they are, all else as JSON."""
    if value is None or isinstance(value, str):
        return text == value
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, Decimal):
        return text is not None and Decimal(text) == value
    return text is not None and exactly(text) == value


def attempt(use: Callable[[], Any]) -> tuple[Any, ConnectorError | None]:
    """What it gives, or what the connector raised."""
    try:
        return use(), None
    except ConnectorError as refused:
        return None, refused


def outcomes(talk: Talk, documents: Mapping[str, bytes]) -> dict[str, tuple[str, Any]]:
    """What became of each document: refused as a `page`, a `record` or by `mapping`, with the reason; or `read`.

    Each is first asked for alone between two good records. Those whose page can be read then land all together."""
    speaker, _, shore = talk
    found: dict[str, tuple[str, Any]] = {}
    for name, document in documents.items():
        say(talk, {name: document})
        pages, refused = attempt(lambda: list(shore.connector.read(shore.stream, None)))
        if refused is not None:
            assert isinstance(refused, SystemFault | Transient), name
            assert len(str(refused)) < 400
            found[name] = "page", str(refused)
        else:
            ids = {i for page in pages for i in page.ids}
            assert {speaker.key(0), speaker.key(2)} <= ids, f"{name} takes a neighbour with it"
    together = {name: document for name, document in documents.items() if name not in found}
    sent = say(talk, together)
    landed = shore.emptied().land()
    assert len(landed.payloads) + len(landed.refused) == len(sent)
    refusals = {r.raw: r.reason for r in landed.refused}
    for number, name in enumerate(together, start=1):
        payload = landed.payloads.get(speaker.key(number))
        if payload is None:
            found[name] = "record", refusals[kept_as(sent[number])]
        else:
            text, reason = value_told(talk, payload)
            found[name] = ("mapping", reason) if reason else ("read", text)
    return found


def test_what_is_no_json_is_refused(talk: Talk) -> None:
    found = outcomes(talk, REJECT)
    assert {name: what for name, what in found.items() if what[0] in ("read", "mapping") or not what[1]} == {}
    alone = [name for name, (where, _) in found.items() if where == "record"]
    assert len(alone) > len(REJECT) // 2, "most damage lies within its record, and stays there"


def test_what_is_left_open_is_read_as_python_reads_it_or_refused(talk: Talk) -> None:
    deep = {name: document for name, document in OPEN.items() if name.startswith("deep")}
    # a page that is nested too deeply and damaged besides is refused as a page
    found = outcomes(talk, deep) | outcomes(talk, {n: document for n, document in OPEN.items() if n not in deep})
    for name, (where, told) in found.items():
        assert told, name
        if where == "read":
            assert _same(told, exactly(OPEN[name])), name


BODIES: dict[str, bytes] = {
    "nothing": b"", "blank": b" \n", "mark-alone": BOM, "null": b"null", "true": b"true", "number": b"1", "text": b'"data"',
    "html": b"<!DOCTYPE html><title>Log in</title>", "xml": b"<?xml version='1.0'?><a/>", "cut": b'{"data": [{"id": "1"', "two": b"{}{}",
    "open-list": b'{"data": [', "open-text": b'{"data": [{"id": "a', "comma": b'{"data": [],}', "trailing": b'{"data": []} x', "latin": b'{"data": [], "n": "\xe9"',
    "utf-16": '{"data": []}'.encode("utf-16"), "utf-32": '{"data": []}'.encode("utf-32"), "brackets": b"[" * 100_000, "braces": b'{"a":' * 100_000, "nul": b"\x00" * 64, "csv": b"id,name\n1,Acme\n",
    "other-list": b'{"items": []}', "list-of-texts": b'{"data": ["a"], "results": ["a"], "Contacts": ["a"]}', "no-list": b'{"data": {}, "results": {}, "Contacts": {}}', "ndjson": b'{"id":"1"}\n{"id":"2"}\n',
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_list_is_refused_as_a_page(talk: Talk, name: str) -> None:
    _, said, shore = talk
    said.body = BODIES[name]
    landed, refused = attempt(shore.emptied().land)
    if refused is not None:
        assert len(str(refused)) < 400
    else:
        assert landed.payloads == {}
        assert landed.refused, "nothing was said of it"


def test_a_byte_order_mark_is_read_over(talk: Talk) -> None:
    speaker, said, shore = talk
    said.body = BOM + speaker.page(say(talk, {"one": b'"one"'})) if speaker.kind != "tryton" else None
    if said.body is None:
        pytest.skip("is asked page by page until its end")
    said.body = BOM + speaker.page(said.records)
    assert len(shore.emptied().land().payloads) == 3


@pytest.mark.parametrize("column", ["json", "jsonb"])
def test_what_was_read_goes_into_postgresql_and_back(module_database: TestDatabase, column: str) -> None:
    """As our tables keep JSON; `jsonb` is how reports and questions look into it."""
    with module_database.engine.begin() as conn:
        for name, document in {**ACCEPT, **OPEN}.items():
            decoded = decode([b'{"v": ' + document + b"}"], ["v"])
            if decoded.refused or (text := decoded.frame["v"][0]) is None:
                continue
            spelt = text if document.strip()[:1] in b"{[" else json.dumps(text)
            back = conn.execute(sa.text(f"select cast(cast(:v as {column}) as text)"), {"v": spelt}).scalar_one()
            assert exactly(back) == exactly(spelt), name
