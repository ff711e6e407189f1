"""Text of every kind, as a value, as an id and as a field's name: it lands as it was sent, or is refused and kept.

Nothing is changed, nothing is lost, and no text takes its page down with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from connectors.protocol import Source, Write
from tests.contract.conformance.conftest import KINDS, harness
from tests.contract.conformance.peer import Peer, of
from tests.contract.corpora.shore import Landed, Shore, spelt
from tests.contract.corpora.speakers import Said, Speaker, speakers
from tests.fixtures.corpora.naughty_strings import BROKEN, STRINGS

pytestmark = pytest.mark.slow
"""Every text and document through every connector: minutes, and in `make test-all`."""

BY_HAND = {"files", "sql"}
"""Sources that do not speak JSON: their texts are told in test_corpora_tables.py."""
EVERYTHING = {**STRINGS, **BROKEN}
SPELLINGS = pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "in-utf-8"])


def test_every_source_speaks_here() -> None:
    sources = {kind for kind in KINDS if "source" in harness(kind).ROLES}
    missing = sorted(sources - set(speakers()) - BY_HAND)
    assert not missing, f"write a speaker for {', '.join(missing)} in tests/contract/corpora/speakers.py"


def test_the_corpus_is_large_and_its_texts_differ() -> None:
    assert len(STRINGS) > 500
    assert len(set(EVERYTHING.values())) == len(EVERYTHING)


def account(landed: Landed, sent: Mapping[str, bytes]) -> dict[str, str]:
    """Every record that was sent either landed or was refused; gives the refused ones: their bytes → the reason."""
    counts = landed.read.counts
    assert counts.received == len(sent)
    assert counts.new + counts.refused == len(sent)
    assert len(landed.payloads) == counts.new
    kept = {raw.strip(): r.reason for r in landed.refused for raw in r.raw.split("\n{")}
    assert all(r.reason for r in landed.refused)
    assert not any("Traceback" in r.reason for r in landed.refused)
    return kept


def bare(raw: str) -> str:
    return raw.removeprefix("{")


@SPELLINGS
def test_as_a_value(talk: tuple[Speaker, Said, Shore], escaped: bool) -> None:
    speaker, said, shore = talk
    names = {speaker.key(n): text for n, text in enumerate(EVERYTHING.values())}
    sent = {
        key: speaker.record(_key(speaker, key), (b'"name"', spelt(text, escaped=escaped)))
        for key, text in names.items()
    }
    said.records, said.body = list(sent.values()), None
    landed = shore.emptied().land()
    account(landed, sent)
    broken = set(BROKEN.values())
    for key, text in names.items():
        if key in landed.payloads:
            assert speaker.members(landed.payloads[key])["name"] == text
            assert not speaker.is_verbatim or landed.payloads[key] == sent[key]
        else:
            assert text in broken, f"refused: {text[:40]!r}"
    assert {text for key, text in names.items() if key not in landed.payloads} >= {t for t in broken if "\x00" not in t}


def _key(speaker: Speaker, key: str) -> bytes:
    return json.dumps(key).encode() if speaker.keeps_ids else key.encode()


@SPELLINGS
def test_as_an_id(talk: tuple[Speaker, Said, Shore], escaped: bool) -> None:
    speaker, said, shore = talk
    if not speaker.keeps_ids:
        pytest.skip("gives its ids itself: they are numbers")
    sent = {text: speaker.record(spelt(text, escaped=escaped), (b'"name"', b'"Acme"')) for text in EVERYTHING.values()}
    said.records, said.body = list(sent.values()), None
    landed = shore.emptied().land()
    kept = {bare(raw) for raw in account(landed, sent)}
    for text, record in sent.items():
        if text in landed.payloads:
            assert landed.payloads[text] == record
        else:
            assert bare(record.decode("utf-8", "backslashreplace")) in kept, f"lost: {text[:40]!r}"
    assert set(landed.payloads) <= set(STRINGS.values())
    assert len(landed.payloads) > len(STRINGS) // 2


@SPELLINGS
def test_as_a_name_of_a_field(talk: tuple[Speaker, Said, Shore], escaped: bool) -> None:
    speaker, said, shore = talk
    names = {
        speaker.key(n): text for n, text in enumerate(t for t in EVERYTHING.values() if t not in ("id", "__name__"))
    }
    sent = {
        key: speaker.record(_key(speaker, key), (spelt(text, escaped=escaped), b'"here"'))
        for key, text in names.items()
    }
    said.records, said.body = list(sent.values()), None
    landed = shore.emptied().land()
    account(landed, sent)
    broken = set(BROKEN.values())
    for key, text in names.items():
        if key in landed.payloads:
            assert speaker.members(landed.payloads[key])[text] == "here"
        else:
            assert text in broken, f"refused: {text[:40]!r}"


def test_a_second_reading_finds_nothing_new(talk: tuple[Speaker, Said, Shore]) -> None:
    speaker, said, shore = talk
    sent = [
        speaker.record(_key(speaker, speaker.key(n)), (b'"name"', spelt(text, escaped=True)))
        for n, text in enumerate(STRINGS.values())
    ]
    said.records, said.body = sent, None
    shore.emptied().land()
    again = shore.land().read.counts
    assert (again.new, again.changed, again.unchanged) == (0, 0, len(sent))


@of("target")
def test_written_and_read_back(peer: Peer, connector: Any) -> None:
    """Each text goes out by `write` and comes back by `get` as it was, or its write is refused with a reason."""
    assert isinstance(connector, Source)
    size = connector.facts(peer.stream).batch_size
    texts = list(STRINGS.items())
    held: dict[str, str] = {}
    refused: dict[str, str] = {}
    for start in range(0, len(texts), size):
        part = texts[start : start + size]
        writes = [Write(name, "create", None, peer.values(text), f"corpus {name}") for name, text in part]
        receipts = list(connector.write(peer.stream, writes))
        assert [r.ref for r in receipts] == [name for name, _ in part]
        for receipt in receipts:
            assert receipt.outcome in ("done", "rejected"), f"{receipt.ref}: {receipt.outcome} {receipt.reason}"
            if receipt.outcome == "done":
                held[str(receipt.source_id)] = receipt.ref
            else:
                assert receipt.reason, receipt.ref
                refused[receipt.ref] = receipt.reason
    found = {r.id: peer.name_of(r.payload) for r in connector.get(peer.stream, list(held))}
    # an empty text is no value to some systems, and shows as null
    changed = {
        name: (STRINGS[name][:40], found.get(i, "")[:40])
        for i, name in held.items()
        if found.get(i) not in (STRINGS[name], None if STRINGS[name] else "None")
    }
    assert changed == {}
    assert len(held) + len(refused) == len(STRINGS)
    assert len(held) > len(STRINGS) // 2, refused
