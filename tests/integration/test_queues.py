"""Queues that people can work: everything that waits says why, whose it is and what comes next; it can be found, put
right, tried again, and never leaves without a named end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from apps import exits
from tests.fixtures.desk import Desk, DeskBench, Refusal
from tests.fixtures.said import Concord, speaker

BY = ("--by", "boss", "--reason", "as agreed", "--yes")


@pytest.fixture
def concord(desk: DeskBench, capsys: pytest.CaptureFixture[str]) -> Concord:
    return speaker(capsys)


def dislikes(word: str) -> Any:
    """A target that takes no entry whose name has this word."""

    def judged(body: dict[str, Any]) -> Refusal | None:
        return ("name", "unacceptable name") if word in str(body.get("name", "")) else None

    return judged


@pytest.fixture
def refused(desk: DeskBench) -> DeskBench:
    """Two names that the books do not take."""
    desk.source.refuses = dislikes("Bad")
    rename(desk.source, "r01", "Bad One Ltd")
    rename(desk.source, "r02", "Bad Two Ltd")
    assert desk.sync().rejected == 2
    return desk


def rename(source: Desk, record: str, name: str) -> None:
    source.tick(minutes=1)
    source.put(record, name=name)


def letters(concord: Concord, *options: str) -> list[dict[str, Any]]:
    return list(concord("dead-letters", "list", "--json", *options).json["entries"])


def names(desk: DeskBench) -> set[str]:
    return {str(e["name"]) for e in desk.source.ledger.values()}


# ------------------------------------------------------------------------------------------------------- looking


def test_a_letter_says_what_why_whose_and_what_next(refused: DeskBench, concord: Concord) -> None:
    first, second = letters(concord)
    assert (first["cause"], first["system"], first["op"]) == (second["cause"], "books", "update")
    assert first["owner"].startswith("boss")
    shown_as = concord("dead-letters", "show", str(first["id"]), "--json").json
    promised = datetime.fromisoformat(shown_as["due_at"]) - datetime.fromisoformat(shown_as["opened_at"])
    assert promised == timedelta(hours=4), "as the integration's sla says"
    assert any("dead-letters replay" in step for step in first["next"])
    shown = concord("dead-letters", "show", str(first["id"])).out
    for told in ("unacceptable name", "Bad One Ltd", "its story", "rejected", "concord explain booking", "status"):
        assert told in shown
    assert refused.agrees()


def test_entries_are_found_by_cause_system_owner_and_time(refused: DeskBench, concord: Concord) -> None:
    rename(refused.source, "r03", "Fine Ltd")
    cause = letters(concord)[0]["cause"]
    refused.run_sql("update ops.dead_letter set opened_at = now() - interval '2 days' where id = (select min(id) from"
                    " ops.dead_letter)")  # fmt: skip
    both = {e["id"] for e in letters(concord)}
    assert {e["id"] for e in letters(concord, "--cause", cause)} == both
    assert {e["id"] for e in letters(concord, "--owner", "boss", "--system", "books")} == both
    assert letters(concord, "--owner", "clerk") == []
    assert letters(concord, "--system", "papers") == []
    old, new = letters(concord, "--until", "1d"), letters(concord, "--since", "1d")
    assert ({e["id"] for e in old}, {e["id"] for e in new}) == ({min(both)}, {max(both)})
    assert [e["id"] for e in letters(concord, "--since", "3d", "--until", "1d")] == [min(both)]
    unknown = concord("dead-letters", "list", "--cause", cause[:-1])
    assert (unknown.code, cause in unknown.err) == (exits.REFUSED, True)
    assert concord("dead-letters", "list", "--owner", "bos").code == exits.REFUSED


# ------------------------------------------------------------------------------------------------------- dead letters


def test_a_dry_run_says_what_would_become_of_each_and_does_nothing(refused: DeskBench, concord: Concord) -> None:
    before = refused.rows("select count(*) as n from ops.outbox")
    said = concord("dead-letters", "replay", "--all-open", "--dry-run", "--json").json
    assert said["outcomes"] == {"queued": 2}
    assert {c["new"] for e in said["entries"] for c in e["changes"]} == {"Bad One Ltd", "Bad Two Ltd"}
    one = concord("dead-letters", "replay", "--all-open", "--limit", "1", "--dry-run")
    assert "would be: 1 queued" in one.out
    assert "Bad One Ltd" in one.out, "one alone is shown field by field"
    assert refused.rows("select count(*) as n from ops.outbox") == before
    assert len(letters(concord)) == 2


def test_replayed_through_the_mapping_of_today(refused: DeskBench, concord: Concord) -> None:
    refused.redeclare(
        "canonical,booking.name,books,entries.name,,",
        "canonical,booking.name,books,entries.name,upper,",
        file="mappings/shop.csv",
    )
    refused.source.refuses = dislikes("Bad ")
    assert concord("dead-letters", "replay", "--all-open", *BY).code == exits.DONE
    closed = concord("dead-letters", "list", "--all", "--json").json["entries"]
    assert {(e["state"], e["closed_by"], e["closed_because"]) for e in closed} == {("replayed", "boss", "as agreed")}
    assert all(e["replayed_as"] for e in closed)
    refused.run_sql("delete from ops.dirty")  # the sheet concerns every record; here only what was replayed counts
    assert concord("deliver").code == exits.DONE
    assert {"BAD ONE LTD", "BAD TWO LTD"} <= names(refused)
    assert refused.agrees()


def test_replayed_as_it_failed_after_the_target_changed_its_mind(refused: DeskBench, concord: Concord) -> None:
    refused.source.refuses = None
    first = letters(concord)[0]
    assert concord("dead-letters", "replay", str(first["id"]), "--as-it-failed", *BY).code == exits.DONE
    assert concord("deliver").code == exits.DONE
    assert "Bad One Ltd" in names(refused)
    assert "Bad Two Ltd" not in names(refused)
    again = concord("dead-letters", "replay", str(first["id"]), *BY)
    assert (again.code, "nothing to do" in again.err) == (exits.DONE, True)
    assert refused.agrees()


def test_old_words_are_not_sent_over_newer_ones(refused: DeskBench, concord: Concord) -> None:
    """While a later write of the record waits to be sent, a letter is not replayed as it failed."""
    refused.redeclare("    sla: {resolve: 4h}", "    sla: {resolve: 4h}\n    hold: 1h")
    rename(refused.source, "r01", "Good One Ltd")
    refused.sync()
    refused.source.refuses = None
    first = letters(concord)[0]
    said = concord("dead-letters", "replay", str(first["id"]), "--as-it-failed", "--json", *BY)
    assert (said.code, said.json["outcomes"]) == (exits.NEEDS_A_PERSON, {"left": 1})
    assert "came later" in said.json["entries"][0]["because"]
    refused.run_sql("update ops.outbox set due_at = now() where state = 'ready'")
    refused.sync()
    assert "Good One Ltd" in names(refused)
    assert "Bad One Ltd" not in names(refused)
    assert first["id"] not in {e["id"] for e in letters(concord)}, "accepted, so it closed by itself"
    assert refused.agrees()


def test_refused_again_it_is_a_letter_of_its_own(refused: DeskBench, concord: Concord) -> None:
    first = letters(concord)[0]
    assert concord("dead-letters", "replay", str(first["id"]), *BY).code == exits.DONE
    assert concord("deliver").code == exits.NEEDS_A_PERSON
    still = letters(concord)
    assert len(still) == 2
    assert first["id"] not in {e["id"] for e in still}
    assert refused.agrees()


def test_a_letter_closes_by_itself_when_a_later_write_is_accepted(refused: DeskBench, concord: Concord) -> None:
    rename(refused.source, "r01", "Good One Ltd")
    refused.sync()
    closed = [e for e in letters(concord, "--all") if e["state"] != "open"]
    assert [(e["state"], e["closed_by"]) for e in closed] == [("resolved", "concord")]
    assert "accepted" in closed[0]["closed_because"]


def test_an_edit_is_judged_before_anything_is_queued(refused: DeskBench, concord: Concord) -> None:
    number = str(letters(concord)[0]["id"])
    wrong = concord(
        "dead-letters", "edit", number, "--set", "nam=X", "--set", "email=nobody", "--set", "name=", *BY[:4]
    )
    assert wrong.code == exits.REFUSED
    for told in ("did you mean name?", "email:", "is required"):
        assert told in wrong.err
    assert letters(concord)[0]["edited"] is None
    edit = ("dead-letters", "edit", number, "--set", "name=Acceptable Ltd", *BY[:4])
    dry = concord(*edit, "--dry-run")
    assert (dry.code, "Acceptable Ltd" in dry.out, letters(concord)[0]["edited"]) == (exits.DONE, True, None)
    before = refused.source.written()
    assert concord(*edit).code == exits.DONE
    assert refused.source.written() == before
    assert concord("deliver", "--json").json["writes"] == 0
    assert concord("dead-letters", "replay", number, *BY).code == exits.DONE
    assert concord("deliver", "--json").json["writes"] == 1
    assert "Acceptable Ltd" in names(refused)
    assert refused.is_quiet(), "it stays until its system of record says something new"
    audited = refused.rows("select action from ops.audit where subject = :s order by id", s=f"letter:{number}")
    assert [a["action"] for a in audited] == ["letter.edited", "letter.replayed"]


def test_a_replay_passes_no_brake(refused: DeskBench, concord: Concord) -> None:
    """Three more refusals than the brake lets go in a day, replayed together, are held."""
    for record in ("r10", "r11", "r12"):
        rename(refused.source, record, f"Bad {record} Ltd")
    refused.sync()
    refused.source.refuses = None
    refused.run_sql("update ops.outbox set released_at = released_at - interval '2 days' where released_at is not null")
    refused.redeclare('changes: "max(5, 10%)"', 'changes: "max(2, 1%)"')
    assert len(letters(concord)) == 5
    assert concord("dead-letters", "replay", "--all-open", "--json", *BY).json["outcomes"] == {"held": 5}
    before = refused.source.written()
    refused.sync()
    assert refused.source.written() == before
    [hold] = refused.holds()
    assert (hold["waiting"], hold["requested_by"]) == (5, "boss")


def test_a_letter_is_given_up_with_a_name(refused: DeskBench, concord: Concord) -> None:
    number = str(letters(concord)[0]["id"])
    assert concord("dead-letters", "close", number, *BY[:4]).code == exits.REFUSED, "nobody confirmed"
    assert concord("dead-letters", "close", number, *BY).code == exits.DONE
    assert "discarded" in concord("dead-letters", "list", "--all").out
    closed = concord("dead-letters", "show", number, "--json").json
    assert (closed["state"], closed["closed_by"], closed["closed_because"]) == ("discarded", "boss", "as agreed")
    again = concord("dead-letters", "close", number, *BY)
    assert (again.code, "by boss" in again.err) == (exits.DONE, True)
    assert refused.agrees()


# ------------------------------------------------------------------------------------------------------- quarantine


def test_quarantine_is_judged_anew_when_the_mapping_is_put_right(desk: DeskBench, concord: Concord) -> None:
    desk.source.tick(minutes=1)
    for record in ("r05", "r06"):
        desk.source.put(record, state="W")
    desk.source.put("r07", email="not an address")
    desk.sync()
    entries = concord("quarantine", "list", "--json").json["entries"]
    assert len(entries) == 3
    code = next(e for e in entries if e["source_id"] == "r05")
    assert "its story" in concord("quarantine", "show", str(code["id"])).out
    still = concord("quarantine", "replay", "--cause", code["cause"], "--dry-run", "--json")
    assert (still.code, still.json["outcomes"]) == (exits.NEEDS_A_PERSON, {"failing": 2})
    desk.redeclare("map O=open C=closed *=flag", "map O=open C=closed W=open *=flag", file="mappings/shop.csv")
    dry = concord("quarantine", "replay", "--all-open", "--dry-run", "--json")
    assert dry.json["outcomes"] == {"passed": 2, "failing": 1}
    assert len(concord("quarantine", "list", "--json").json["entries"]) == 3
    done = concord("quarantine", "replay", str(code["id"]), "--json", *BY)
    assert (done.code, done.json["outcomes"]) == (exits.DONE, {"passed": 1})
    again = concord("quarantine", "replay", str(code["id"]), *BY)
    assert (again.code, "nothing to do" in again.err) == (exits.DONE, True)
    still = next(e for e in entries if e["source_id"] == "r07")
    failing = concord("quarantine", "replay", str(still["id"]), "--json", *BY)
    assert (failing.code, failing.json["outcomes"]) == (exits.NEEDS_A_PERSON, {"failing": 1})
    assert concord("quarantine", "show", str(still["id"]), "--json").json["state"] == "open", "it stays where it is"
    assert desk.agrees()
    desk.sync()
    left = concord("quarantine", "list", "--json").json["entries"]
    assert [e["source_id"] for e in left] == ["r07"], "the other one passed with the new sheet by itself"
    desk.source.tick(minutes=1)
    desk.source.put("r07", email="guest7@example.com")
    desk.sync()
    closed = concord("quarantine", "list", "--all", "--json").json["entries"]
    assert {(e["state"], e["closed_by"]) for e in closed} == {("resolved", "concord")}
    assert desk.is_quiet()


# ------------------------------------------------------------------------------------------------------- named ends


@pytest.mark.parametrize(
    "statement",
    [
        "update ops.dead_letter set state = 'discarded'",
        "update ops.dead_letter set state = 'replayed', closed_at = now(), closed_by = 'me'",
        "insert into ops.quarantine (system, stream, scope, rule, reason, state) values ('s', 't', 'record', 'r', 'x',"
        " 'resolved')",
        "insert into ops.finding (kind, entity, system, stream, action, because, state, closed_at) values ('orphan',"
        " 'e', 's', 't', 'report', 'x', 'accepted', now())",
        "insert into ops.review (entity, system, stream, source_id, other, because, state) values ('e', 's', 't', 'i',"
        " 'o', 'x', 'answered')",
        "insert into ops.hold (kind, integration, entity, system, stream, op, reason, writes, state) values ('brake',"
        " 'i', 'e', 's', 't', 'update', 'x', 1, 'approved')",
    ],
    ids=["letter", "letter-without-why", "quarantine", "finding", "review", "hold"],
)
def test_nothing_leaves_a_queue_without_a_named_end(refused: DeskBench, statement: str) -> None:
    with pytest.raises(IntegrityError, match="end_is_named"), refused.world.transaction() as conn:
        conn.execute(sa.text(statement))
