"""What every connector promises, whatever system it speaks to. A connector joins by existing (with a harness)."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from connectors import registry
from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    Connector,
    ConnectorError,
    Misdeclared,
    Notifier,
    Page,
    Receipt,
    Source,
    Target,
    Transient,
    Write,
)
from tests.contract.conformance.conftest import HARNESSED, KINDS, harness
from tests.contract.conformance.peer import Peer, of

_COUNT = itertools.count(1)
ROLES = {"source": Source, "target": Target, "notifier": Notifier}


def fresh(what: str, count: int = 1) -> list[str]:
    """Names that no other test uses."""
    number = next(_COUNT)
    return [f"{what} {number}-{i}" for i in range(count)]


def cursor_of(pages: list[Page]) -> Any:
    """The last cursor after a round through the database, which keeps it as JSON."""
    return json.loads(json.dumps(pages[-1].cursor))


def read(connector: Any, peer: Peer, since: Any = None) -> list[Page]:
    return list(connector.read(peer.stream, since))


def live(pages: list[Page]) -> dict[str, bytes]:
    """Records of the pages that are not stated as gone; an id must not come twice."""
    rows = [r for p in pages for r in zip(p.ids, p.payloads, p.deleted, strict=True)]
    ids = [r[0] for r in rows]
    assert len(ids) == len(set(ids)), "an id came twice in one read"
    return {i: payload for i, payload, is_deleted in rows if not is_deleted}


def create(connector: Any, peer: Peer, *names: str, key: str = "") -> list[Receipt]:
    writes = [Write(f"ref {n}", "create", None, peer.values(n), key or f"key of {n}") for n in names]
    return list(connector.write(peer.stream, writes))


def test_every_connector_has_a_harness() -> None:
    missing = sorted(set(KINDS) - set(HARNESSED))
    assert not missing, f"write tests/contract/conformance/harness_NAME.py for: {', '.join(missing)}"


def test_its_roles_are_the_ones_it_has(peer: Peer, connector: Any) -> None:
    roles = {role for role, kind in ROLES.items() if isinstance(connector, kind)}
    assert isinstance(connector, Connector)
    assert roles == harness(peer.kind).ROLES
    if "source" in roles:
        assert bool(connector.facts(peer.stream).ops) == ("target" in roles)


def test_its_limits_are_complete(connector: Any) -> None:
    assert connector.limits.concurrency >= 1
    assert all(count > 0 and seconds > 0 for count, seconds in connector.limits.windows)


@of("source")
def test_its_facts_are_complete(peer: Peer, connector: Any) -> None:
    facts = connector.facts(peer.stream)
    assert facts.batch_size >= 1
    assert facts.write_class in ("A", "B", "C")
    assert facts.deletes in ("flag", "absent", "tombstone", "hidden")
    assert facts.ops <= {"create", "update", "archive", "delete"}
    assert min(facts.index_lag_seconds, facts.change_granularity_seconds, facts.overlap_seconds) >= 0


def test_its_check_passes_on_a_good_system(connector: Any) -> None:
    connector.check()


@of("source")
def test_a_sweep_has_every_record_once(peer: Peer, connector: Any) -> None:
    peer.add(fresh("Swept", peer.edge))
    pages = read(connector, peer)
    found = live(pages)
    assert {i: peer.name_of(payload) for i, payload in found.items()} == peer.names()
    assert len(pages) > 1
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    for page in pages:
        columns = (page.ids, page.payloads, page.changed, page.deleted)
        assert len({len(column) for column in columns}) == 1
        json.dumps(page.cursor)


@of("source")
def test_a_read_since_a_cursor_has_what_changed(peer: Peer, connector: Any) -> None:
    [old] = peer.add(fresh("Before"))
    cursor = cursor_of(read(connector, peer))
    [new] = peer.add(fresh("After"))
    [renamed] = fresh("Renamed")
    peer.rename(old, renamed)
    found = live(read(connector, peer, cursor))
    assert new in found
    assert peer.name_of(found[old]) == renamed


@of("source")
def test_equal_change_marks_lose_nothing_at_page_edges(peer: Peer, connector: Any) -> None:
    cursor = cursor_of(read(connector, peer))
    added = peer.add(fresh("Together", peer.edge))
    assert set(added) <= set(live(read(connector, peer, cursor)))


@of("source")
def test_a_cursor_may_be_used_again(peer: Peer, connector: Any) -> None:
    cursor = cursor_of(read(connector, peer))
    [new] = peer.add(fresh("Again"))
    for _ in range(2):
        assert new in live(read(connector, peer, cursor))


@of("source")
def test_a_read_cut_short_loses_nothing(peer: Peer, connector: Any) -> None:
    peer.add(fresh("Cut", peer.edge))
    first = next(iter(connector.read(peer.stream, None)))
    rest = read(connector, peer, json.loads(json.dumps(first.cursor)) or None)
    assert set(first.ids) | set(live(rest)) >= set(peer.names())


@of("source")
def test_get_returns_the_records_that_exist(peer: Peer, connector: Any) -> None:
    names = fresh("Got", 2)
    first, gone = peer.add(names)
    peer.remove(gone)
    found = {r.id: r for r in connector.get(peer.stream, [first, gone, "999999999999"]) if not r.deleted}
    assert set(found) == {first}
    assert peer.name_of(found[first].payload) == names[0]


@of("target")
def test_find_compares_exactly_and_finds_live_records_only(peer: Peer, connector: Any) -> None:
    names = fresh("Found", 2)
    first, gone = peer.add(names)
    peer.remove(gone)
    assert [r.id for r in connector.find(peer.stream, peer.by_name(names[0]))] == [first]
    assert list(connector.find(peer.stream, peer.by_name(names[1]))) == []
    assert list(connector.find(peer.stream, peer.by_name(names[0][:-1]))) == []


@of("target")
def test_each_write_has_its_receipt_in_order(peer: Peer, connector: Any) -> None:
    names = fresh("Written", min(5, connector.facts(peer.stream).batch_size))
    receipts = create(connector, peer, *names)
    assert [r.ref for r in receipts] == [f"ref {n}" for n in names]
    assert [r.outcome for r in receipts] == ["done"] * len(names)
    held = peer.names()
    assert [held[str(r.source_id)] for r in receipts] == names
    assert all(peer.name_of(r.record) == n for r, n in zip(receipts, names, strict=True) if r.record)


@of("target")
def test_an_update_changes_the_record(peer: Peer, connector: Any) -> None:
    before, after = fresh("Updated", 2)
    [record_id] = peer.add([before])
    [receipt] = connector.write(peer.stream, [Write("u", "update", record_id, peer.values(after), f"key of {after}")])
    assert (receipt.outcome, receipt.source_id) == ("done", record_id)
    assert peer.names()[record_id] == after


@of("target")
def test_one_refused_record_leaves_the_others_alone(peer: Peer, connector: Any) -> None:
    if connector.facts(peer.stream).batch_size < 3:
        pytest.skip("writes one record at a time")
    first, bad, last = fresh("Isolated", 3)
    payloads = [peer.values(first), peer.refused_values(bad), peer.values(last)]
    writes = [Write(str(i), "create", None, p, f"key {first} {i}") for i, p in enumerate(payloads)]
    receipts = connector.write(peer.stream, writes)
    assert [(r.ref, r.outcome) for r in receipts] == [("0", "done"), ("1", "rejected"), ("2", "done")]
    assert receipts[1].reason
    held = list(peer.names().values())
    assert (first in held, bad in held, last in held) == (True, False, True)


@of("target")
def test_a_create_that_is_sent_again_makes_no_second_record(peer: Peer, connector: Any) -> None:
    [name] = fresh("Once")
    [first] = create(connector, peer, name)
    if connector.facts(peer.stream).write_class == "A":
        [second] = create(connector, peer, name)
        assert (second.outcome, second.source_id) == ("done", first.source_id)
    else:
        assert [r.id for r in connector.find(peer.stream, peer.by_name(name))] == [first.source_id]
    assert list(peer.names().values()).count(name) == 1


@of("target")
def test_an_archived_record_is_live_no_more(peer: Peer, connector: Any) -> None:
    if "archive" not in connector.facts(peer.stream).ops:
        pytest.skip("archives nothing")
    [record_id] = peer.add(fresh("Archived"))
    [receipt] = connector.write(peer.stream, [Write("a", "archive", record_id, {}, f"archive {record_id}")])
    assert receipt.outcome == "done"
    assert record_id not in peer.names()
    assert not [r for r in connector.get(peer.stream, [record_id]) if not r.deleted]


@of("target")
def test_an_update_of_what_is_not_there_is_no_success(peer: Peer, connector: Any) -> None:
    [record_id] = peer.add(fresh("Vanished"))
    if not peer.is_removal_final:
        pytest.skip("nothing is ever quite gone from this system")
    peer.remove(record_id)
    [receipt] = connector.write(peer.stream, [Write("u", "update", record_id, peer.values("x"), f"update {record_id}")])
    assert receipt.outcome == "rejected"


@of("notifier")
def test_an_inbox_that_does_not_answer_is_left_in_time(peer: Peer, connector: Any) -> None:
    with peer.slow(connector), pytest.raises((Transient, Ambiguous)):
        connector.notify("Slow", ["…"])


@of("source")
def test_a_system_that_does_not_answer_is_left_in_time(peer: Peer, connector: Any) -> None:
    with peer.slow(connector), pytest.raises(Transient):
        read(connector, peer)


def test_a_refused_login_says_so_without_the_secret(peer: Peer) -> None:
    if not peer.secret:
        pytest.skip("knows no login")
    wrong: Any = registry.build(peer.kind, peer.wrong_context())
    use = (lambda: wrong.notify("Hello", ["…"])) if "notifier" in harness(peer.kind).ROLES else wrong.check
    with pytest.raises(AuthFailed) as caught:
        use()
    wrong.close()
    assert peer.secret not in f"{caught.value!s} {caught.value!r} {wrong!r} {peer.wrong_context()!r}"


@of("source")
def test_a_stream_that_is_not_declared_is_misdeclared(peer: Peer, connector: Any) -> None:
    for use in (
        lambda: connector.facts("no_such_stream"),
        lambda: list(connector.read("no_such_stream", None)),
        lambda: connector.get("no_such_stream", ["1"]),
    ):
        with pytest.raises(Misdeclared):
            use()
    if "target" in harness(peer.kind).ROLES:
        with pytest.raises(Misdeclared):
            connector.find("no_such_stream", {"x": "y"})
        with pytest.raises(Misdeclared):
            connector.write("no_such_stream", [Write("r", "create", None, {}, "k")])


@of("notifier")
def test_a_message_arrives_with_its_text_made_harmless(peer: Any, connector: Any) -> None:
    connector.notify("Delivery stopped", ["owner: head of sales", "<!channel> <http://evil|click>"])
    assert "Delivery stopped" in peer.received()
    assert "<!channel>" not in peer.received()


def test_it_closes_and_closes_again(peer: Peer) -> None:
    made = registry.build(peer.kind, peer.context)
    try:
        made.check()
    except ConnectorError as problem:  # pragma: no cover - the message is what the reader needs
        pytest.fail(str(problem))
    made.close()
    made.close()
