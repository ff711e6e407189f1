"""What the audit keeps of the work: a row a batch and a decision, without a value, and the commands that show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from staging import audit, pauses
from tests.fixtures.badsource import BadSource, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase
from tests.fixtures.said import Concord, speaker

CANARY = "Zanzibar Quux Ltd"


@pytest.fixture(scope="module")
def bench(module_database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three bookings delivered, a pause made and ended."""
    with BadSource() as source:
        made = Bench(source, tmp_path_factory.mktemp("audit") / "landscape", module_database)
        source.pages = [page(record(id="one", name=CANARY), record(id="two"), record(id="three"))]
        made.sync()
        source.pages = [page(record(id="one", name=f"{CANARY}!", updated_at="2026-02-01T00:00:00Z"))]
        made.sync("incremental")
        with made.world.transaction() as conn:
            pauses.pause(conn, "system:books", by="head", reason="stocktaking")
            pauses.resume(conn, "system:books", by="head", reason="counted")
        yield made


@pytest.fixture
def concord(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Concord:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(bench.folder))
    return speaker(capsys)


def sent(bench: Bench) -> list[dict[str, Any]]:
    """The audit's rows of batches; the books take one write at a time."""
    return bench.rows("select * from ops.audit where action = 'batch.sent' order by id")


def test_a_batch_says_what_was_asked_and_answered(bench: Bench) -> None:
    *created, updated = sent(bench)
    assert len(created) == 3
    for row in (*created, updated):
        assert (row["actor"], row["subject"], row["detail"]["outcomes"]) == (
            "concord",
            "target:books/entries",
            {"done": 1},
        )
    assert {"request": "POST /ledger", "status": 200, "times": 1} in created[0]["detail"]["calls"]
    assert {"request": "PATCH /ledger/{id}", "status": 200, "times": 1} in updated["detail"]["calls"]


def test_a_batch_can_be_proved_item_by_item(bench: Bench) -> None:
    """The digest is over what was really sent: another payload, or another answer, would give another one."""
    row = sent(bench)[0]["detail"]
    items = bench.rows(
        "select a.salt, a.outbox_id, a.number, a.outcome, a.status, o.payload::text as payload from ops.attempt a"
        " join ops.outbox o on o.id = a.outbox_id where a.batch = :batch",
        batch=row["batch"],
    )
    told = [(i["outbox_id"], i["number"], i["outcome"], i["status"], i["payload"]) for i in items]
    assert len(told) == row["writes"]
    assert audit.spans(t[0] for t in told) == row["outbox"]
    leaves = [audit.leaf(i["salt"], item) for i, item in zip(items, told, strict=True)]
    assert audit.over(leaves) == row["digest"]
    other = audit.leaf(items[0]["salt"], (*told[0][:4], told[0][4].replace("12.5", "99.9")))
    assert audit.over([other, *leaves[1:]]) != row["digest"]


def test_one_declaration_is_activated_once(bench: Bench) -> None:
    found = bench.rows("select subject, actor from ops.audit where action = 'declaration.activated'")
    assert [r["subject"] for r in found] == [f"declaration:{bench.world.landscape.digest}"]


def test_no_value_enters_it(bench: Bench) -> None:
    (found,) = bench.rows("select string_agg(a::text, ' ') as told from ops.audit a")
    assert CANARY not in found["told"]
    assert "12.5" not in found["told"]


def test_search_and_verify_by_hand(bench: Bench, concord: Concord, tmp_path: Path) -> None:
    assert "head" in concord("audit", "search", "--action", "paused").out
    found = concord("audit", "search", "--subject", "system:*", "--json").json
    assert [(e["action"], e["reason"]) for e in found["entries"]] == [("resumed", "counted"), ("paused", "stocktaking")]
    assert concord("audit", "search", "--action", "pased").code == 2
    verified = concord("audit", "verify")
    assert verified.code == 0
    assert "nothing was changed" in verified.out

    pinned = tmp_path / "anchors"
    assert concord("audit", "anchor", str(pinned)).code == 0
    assert concord("audit", "anchor", str(pinned)).code == 0
    assert "2 anchors" in concord("audit", "verify", "--anchor", str(pinned)).out
    line = json.loads(pinned.read_text().splitlines()[0])
    pinned.write_text(json.dumps({**line, "id": line["id"] + 5}) + "\n")
    cut = concord("audit", "verify", "--anchor", str(pinned))
    assert cut.code == 1
    assert "was there when it was anchored" in cut.out
    assert concord("audit", "anchor", str(pinned)).code == 1
    pinned.write_text("what is this")
    assert concord("audit", "verify", "--anchor", str(pinned)).code == 2
    assert concord("audit", "verify", "--anchor", str(tmp_path / "nothing")).code == 2
