# ruff: noqa: E501 - a table reads best with one case on one line; confusable letters are what is tested
"""RELIABILITY section 3, source records: a bad record goes where it belongs, and every good one beside it arrives.

Each case puts one bad record between two good ones, byte for byte, into a list that a REST manifest reads, and runs
extract, stage and resolve on a real database. Its number is that of the table in RELIABILITY.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apps.cli import run
from canonical.problems import Refused as CanonicalRefused
from connectors.protocol import ConnectorError, SystemFault
from tasks.extract import extract
from tasks.landscape import load
from tasks.stage import stage
from tests.fixtures.badsource import BadSource, landscape, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase

LONGEST_QUOTE = 40
"""Characters of a value that a reason may repeat."""


@pytest.fixture(scope="module")
def source() -> Iterator[BadSource]:
    with BadSource() as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    source: BadSource, tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase
) -> Iterator[Bench]:
    made = Bench(source, tmp_path_factory.mktemp("marked"), module_database)
    yield made
    made.world.close()


@pytest.fixture(scope="module")
def shared_unmarked(
    shared: Bench, tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase
) -> Iterator[Bench]:
    made = Bench(shared.source, tmp_path_factory.mktemp("unmarked"), module_database, marks=False)
    yield made
    made.world.close()


@pytest.fixture
def bench(shared: Bench, module_database: TestDatabase) -> Bench:
    """A list with change marks, over an empty database."""
    return shared.emptied(module_database)


@pytest.fixture
def unmarked(shared_unmarked: Bench, module_database: TestDatabase) -> Bench:
    """A list without change marks, over an empty database."""
    return shared_unmarked.emptied(module_database)


@dataclass(frozen=True)
class Refused:
    """The record cannot be read: it never lands, and its bytes are kept."""

    reason: str


@dataclass(frozen=True)
class Quarantined:
    """The record is landed and then quarantined by a rule."""

    rule: str
    field: str | None
    reason: str


@dataclass(frozen=True)
class FieldOnly:
    """The record arrives without this field."""

    field: str
    reason: str


@dataclass(frozen=True)
class Arrives:
    """The record arrives with this value: normalised as declared, or kept as plain text."""

    field: str
    value: Any


def bad(**members: Any) -> bytes:
    return record(**{"id": "bad", **members})


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


NO_ID = b'{"name": "Acme Ltd", "ccy": "EUR"}'
FORMULA = '=HYPERLINK("http://x.example","pay")'
RTL = "Acme \u202eevil\u202c\u200b Ltd"
HOMOGLYPH = "ann@ex\u0430mple.com"
LOG_LINE = "Acme\r\n2026-01-01 00:00:00 INFO all is well"
END_OF_COPY = "one\n\\.\nthree"
DATE, ONE_MAIL, FLAG = "a date YYYY-MM-DD", "expected one e-mail address", "true or false"
CASES: dict[str, tuple[bytes, Any]] = {
    "01-id-missing": (NO_ID, Refused("expected an id at id, found none")),
    "02-id-null": (bad(id=None), Refused("expected an id at id, found null")),
    "02-id-empty": (bad(id=""), Refused("expected an id at id, found a blank one")),
    "02-id-blank": (bad(id=" "), Refused("expected an id at id, found a blank one")),
    "02-id-object": (bad(id=b"{}"), Refused("expected an id at id, found an object")),
    "04-id-with-trailing-space": (bad(id="bad "), Refused("expected an id without spaces around it at id")),
    "05-id-float-beyond-2-53": (bad(id=b"9007199254740993.0"), Refused("expected an exact id at id, found a floating-point number")),
    "06-integer-of-5000-digits": (bad(count=b"1" * 5000), Quarantined("number", None, "an integer of more than 4300 digits")),
    "06-id-of-5000-digits": (bad(id=b"1" * 5000), Refused("expected an id of at most 500 characters at id, found 5000")),
    "07-nan": (bad(price=b"NaN"), Refused("not JSON")),
    "07-infinity": (bad(price=b"Infinity"), Refused("not JSON")),
    "07-minus-infinity": (bad(price=b"-Infinity"), Refused("not JSON")),
    "07-1e999": (bad(price=b"1e999"), Quarantined("number", None, "beyond every range")),
    "08-duplicate-key": (b'{"id": "bad", "name": "A", "ccy": "EUR", "name": "B"}', Quarantined("duplicate_key", None, "'name' stands twice")),
    "08-duplicate-id": (b'{"id": "other", "name": "A", "ccy": "EUR", "id": "bad"}', Quarantined("duplicate_key", None, "'id' stands twice")),
    "09-depth-65": (bad(note=deep(65)), Quarantined("depth", None, "nested deeper than 64")),
    "10-nul-in-text": (bad(name=b'"A\\u0000B"'), Quarantined("encoding", None, "the character U+0000")),
    "10-nul-in-id": (bad(id=b'"bad\\u0000"'), Refused("expected an id without control characters")),
    "11-lone-surrogate": (bad(name=b'"A\\ud800B"'), Refused("not JSON")),
    "11-lone-surrogate-in-id": (bad(id=b'"bad\\ud800"'), Refused("not JSON")),
    "13-latin-1-bytes": (bad(name=b'"Caf\xe9"'), Refused("UTF-8")),
    "14-decomposed-name": (bad(name="Cafe\u0301"), Arrives("name", "Cafe\u0301")),
    "15-right-to-left-and-zero-width": (bad(name=RTL), Arrives("name", RTL)),
    "16-homoglyph-domain": (bad(email=HOMOGLYPH), Arrives("email", HOMOGLYPH)),
    "17-30-february": (bad(booked="2024-02-30"), Quarantined("date", "booked_on", DATE)),
    "18-date-without-order": (bad(booked="03/04/2024"), Quarantined("date", "booked_on", DATE)),
    "18-date-with-declared-order": (bad(day="03/04/2024"), Arrives("local_day", "2024-04-03")),
    "19-declared-sentinel": (bad(booked="0000-00-00"), Arrives("booked_on", None)),
    "19-declared-far-sentinel": (bad(booked="9999-12-31"), Arrives("booked_on", None)),
    "19-zeros": (bad(due="0000-00-00"), Quarantined("date", "due_on", DATE)),
    "19-day-zero": (bad(due="1900-01-00"), Quarantined("date", "due_on", DATE)),
    "19-undeclared-sentinel": (bad(due="9999-12-31"), Quarantined("date", "due_on", "among the field's sentinels")),
    "20-time-without-zone": (bad(starts="2026-07-05T10:00:00"), Quarantined("datetime", "starts_at", "a time with its offset")),
    "20-time-in-the-declared-zone": (bad(ends="2026-07-05T10:00:00"), Arrives("ends_at", "2026-07-05T09:00:00+00:00")),
    "20-time-that-no-clock-showed": (bad(ends="2026-03-29T01:30:00"), Quarantined("datetime", "ends_at", "clocks in Europe/London show")),
    "22-decimal-comma-undeclared": (bad(price="1.234,56"), Quarantined("money", "price", "expected")),
    "22-decimal-comma-declared": (bad(fee="1.234,56"), Arrives("fee", Decimal("1234.56"))),
    "23-money-from-its-own-digits": (bad(price=b"0.1"), Arrives("price", Decimal("0.10"))),
    "23-money-of-a-rounding-error": (bad(price=b"0.30000000000000004"), Quarantined("money", "price", "no more decimals than its currency")),
    "24-three-decimals-in-euros": (bad(price=b"12.345"), Quarantined("money", "price", "no more decimals than its currency")),
    "24-negative-quantity": (bad(quantity=b"-1"), Quarantined("quantity_range", "quantity", "at least 0")),
    "25-unknown-currency": (bad(ccy="XQQ"), Quarantined("currency", "currency", "ISO 4217")),
    "27-yes-undeclared": (bad(paid="yes"), Quarantined("boolean", "is_paid", FLAG)),
    "27-zero-undeclared": (bad(paid="0"), Quarantined("boolean", "is_paid", FLAG)),
    "27-two": (bad(paid=b"2"), Quarantined("boolean", "is_paid", FLAG)),
    "27-yes-declared": (bad(is_open="yes"), Arrives("is_open", True)),
    "27-undeclared-word": (bad(is_open="maybe"), Quarantined("boolean", "is_open", "yes")),
    "28-unknown-code": (bad(state="Z"), Quarantined("choice", "status", "a code of the table")),
    "29-phone-zero": (bad(phone="0"), FieldOnly("phone", "expected a phone number")),
    "29-phone-of-40-digits": (bad(phone="1" * 40), FieldOnly("phone", "expected a phone number")),
    "30-email-with-newline": (bad(email="a@example.com\nb@example.com"), Quarantined("email", "email", ONE_MAIL)),
    "30-two-addresses": (bad(email="a@example.com, b@example.com"), Quarantined("email", "email", ONE_MAIL)),
    "30-long-address": (bad(email="x" * 300), Quarantined("email", "email", ONE_MAIL)),
    "31-formula": (bad(name=FORMULA), Arrives("name", FORMULA)),
    "31-formula-plus": (bad(name="+cmd|' /C calc'!A0"), Arrives("name", "+cmd|' /C calc'!A0")),
    "31-formula-at": (bad(name="@SUM(1+1)"), Arrives("name", "@SUM(1+1)")),
    "32-sql": (bad(name="'; DROP TABLE staging.booking; --"), Arrives("name", "'; DROP TABLE staging.booking; --")),
    "32-end-of-copy": (bad(note=END_OF_COPY), Arrives("note", END_OF_COPY)),
    "32-null-of-copy": (bad(note="\\N"), Arrives("note", "\\N")),
    "33-templates": (bad(name="{{7*7}} {0.__class__} %s%n :name"), Arrives("name", "{{7*7}} {0.__class__} %s%n :name")),
    "34-script": (bad(name="<script>alert(1)</script>"), Arrives("name", "<script>alert(1)</script>")),
    "35-slack-mention": (bad(name="<!channel> <@U1>"), Arrives("name", "<!channel> <@U1>")),
    "36-line-break-and-fake-log-line": (bad(name=LOG_LINE), Arrives("name", LOG_LINE)),
    "37-text-of-10-megabytes": (bad(note="x" * 10 * 1024 * 1024), Refused("expected at most 10485760 bytes")),
    "38-100000-fields": (b'{"id": "bad",' + b",".join(b'"f%d":1' % n for n in range(100_000)) + b"}", Refused("expected at most 100000 fields")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_record(bench: Bench, name: str) -> None:
    sent, expected = CASES[name]
    extracted, staged = bench.run(page(record(id="before"), sent, record(id="after")))

    arrived, entries = bench.staged(), bench.quarantine()
    assert {"before", "after"} <= set(arrived)
    assert staged.stopped is None
    assert extracted.is_complete
    assert extracted.counts.received == 3
    for entry in entries:
        assert "Traceback" not in entry["reason"]
        _quotes_little(sent, entry["reason"])
    match expected:
        case Arrives(field, value):
            assert entries == []
            found = arrived["bad"][field]
            assert (found.isoformat() if hasattr(found, "isoformat") else found) == value
        case FieldOnly(field, reason):
            assert arrived["bad"][field] is None
            assert arrived["bad"]["name"] == "Acme Ltd"
            (entry,) = entries
            assert (entry["scope"], entry["field"], entry["source_id"]) == ("field", field, "bad")
            assert reason in entry["reason"]
        case Quarantined(rule, column, reason):
            assert set(arrived) == {"before", "after"}
            assert {(e["scope"], e["source_id"], e["raw"].encode()) for e in entries} == {("record", "bad", sent)}
            (entry,) = [e for e in entries if (e["rule"], e["field"]) == (rule, column)]
            assert reason in entry["reason"]
        case Refused(reason):
            assert set(arrived) == {"before", "after"}
            (entry,) = entries
            assert (entry["scope"], entry["rule"]) == ("unreadable", "readable")
            assert reason in entry["reason"]
            assert entry["raw"] == sent.decode("utf-8", "backslashreplace")
            assert extracted.counts.refused == 1


def _quotes_little(sent: bytes, reason: str) -> None:
    """No reason repeats more than the first characters of a value."""
    try:
        members = json.loads(sent)
    except (ValueError, RecursionError):
        return
    for value in members.values():
        if isinstance(value, str) and len(value) > LONGEST_QUOTE:
            assert value[: LONGEST_QUOTE + 1] not in reason


# ---- what one record alone does not show

TOGETHER = [name for name in CASES if name[:2] not in ("09", "37", "38")]
"""A page that is nested too deeply and damaged besides is refused as a page; the largest ones would only take time."""


def test_every_bad_record_at_once(bench: Bench) -> None:
    """One page of all of them is taken apart as surely as one of each, and the flood guard knows them for what they are:
    different causes."""
    sent = []
    for n, name in enumerate(TOGETHER):
        raw, _ = CASES[name]
        sent.append(raw.replace(b'"id": "bad', b'"id": "bad%d' % n))
    good = [record(id=f"good-{n}") for n in range(100)]
    extracted, staged = bench.run(page(*good[:50], *sent, *good[50:]))
    assert staged.stopped is None
    assert extracted.counts.received == len(good) + len(sent)
    arrived = bench.staged()
    assert {f"good-{n}" for n in range(100)} <= set(arrived)
    for n, name in enumerate(TOGETHER):
        if isinstance(CASES[name][1], Arrives | FieldOnly):
            assert f"bad{n}" in arrived, name
        else:
            assert f"bad{n}" not in arrived, name


def test_03_the_later_change_mark_wins(bench: Bench) -> None:
    first = record(id="twin", name="Old Ltd", updated_at="2026-01-01T00:00:00Z")
    later = record(id="twin", name="New Ltd", updated_at="2026-01-02T00:00:00Z")
    extracted, _ = bench.run(page(later, first, record(id="after")))
    assert {i: r["name"] for i, r in bench.staged().items()} == {"twin": "New Ltd", "after": "Acme Ltd"}
    assert (extracted.counts.new, extracted.counts.repeated) == (2, 1)
    assert bench.quarantine() == []


@pytest.mark.parametrize("has_marks", [False, True], ids=["without-marks", "with-the-same-mark"])
def test_03_two_versions_of_one_record_are_both_refused(bench: Bench, unmarked: Bench, has_marks: bool) -> None:
    chosen = bench if has_marks else unmarked
    twins = [record(id="twin", name="A Ltd"), record(id="twin", name="B Ltd")]
    extracted, _ = chosen.run(page(record(id="before"), *twins, record(id="after")))
    assert set(chosen.staged()) == {"before", "after"}
    assert extracted.counts.refused == 2
    (entry,) = chosen.quarantine()
    assert (entry["source_id"], entry["scope"]) == ("twin", "unreadable")
    assert "no change mark says which is later" in entry["reason"]
    assert entry["raw"] == b"\n".join(twins).decode()

    chosen.run(page(record(id="before"), twins[1], record(id="after")))
    assert chosen.staged()["twin"]["name"] == "B Ltd"
    assert chosen.quarantine() == []


def test_03_the_same_record_twice_is_a_repetition(unmarked: Bench) -> None:
    extracted, _ = unmarked.run(page(record(id="twin"), record(id="twin")))
    assert (extracted.counts.new, extracted.counts.repeated, extracted.counts.refused) == (1, 1, 0)
    assert unmarked.quarantine() == []


def test_03_a_record_refused_in_a_sweep_is_not_taken_for_gone(unmarked: Bench) -> None:
    good = [record(id=f"good-{n}") for n in range(3)]
    unmarked.run(page(record(id="twin", name="A Ltd"), *good))
    extracted, _ = unmarked.run(page(record(id="twin", name="B Ltd"), record(id="twin", name="C Ltd"), *good))
    assert extracted.counts.deleted == 0
    assert unmarked.staged()["twin"]["name"] == "A Ltd"
    assert not unmarked.staged()["twin"]["deleted"]

    unmarked.run(page(record(id="twin", name="A Ltd"), *good))
    assert unmarked.quarantine() == []


@pytest.mark.parametrize("together", [True, False], ids=["in-one-page", "later"])
def test_04_ids_that_differ_in_case_alone(bench: Bench, together: bool) -> None:
    upper, lower = record(id="AB-1", name="Upper Ltd"), record(id="ab-1", name="Lower Ltd")
    if together:
        bench.run(page(upper, lower, record(id="after")))
        assert set(bench.staged()) == {"after"}
        assert {e["source_id"] for e in bench.quarantine()} == {"AB-1", "ab-1"}
    else:
        bench.run(page(upper, record(id="after")))
        bench.run(page(lower, record(id="after")))
        assert {i: (r["name"], r["deleted"]) for i, r in bench.staged().items()} == {
            "AB-1": ("Upper Ltd", False),
            "after": ("Acme Ltd", False),
        }
        assert [e["source_id"] for e in bench.quarantine()] == ["ab-1"]
    assert all("only in upper and lower case" in e["reason"] for e in bench.quarantine())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(page(record(id="before"), bad(note=deep(100_000))), "application/json", id="09-depth-100000"),
        pytest.param(b"[" * 100_000, "application/json", id="09-brackets-alone"),
        pytest.param(b"<html><h1>Maintenance</h1></html>", "text/html", id="44-html"),
        pytest.param(b"<html><h1>Maintenance</h1></html>", "application/json", id="44-html-that-says-it-is-json"),
        pytest.param(b'{"error": "try again"}', "application/json", id="44-error-object"),
        pytest.param(b"", "application/json", id="44-nothing"),
    ],
)
def test_a_page_that_is_no_list_is_refused(bench: Bench, body: bytes, kind: str) -> None:
    bench.run(page(record(id="before")))
    bench.source.content_type = kind
    with pytest.raises(ConnectorError, match="shop") as told:
        bench.run(body)
    assert len(str(told.value)) < 400
    (good, failed) = bench.rows("select state, received, is_complete from landing.extract_run order by id")
    assert (good["state"], failed["state"], failed["received"], failed["is_complete"]) == (
        "complete",
        "failed",
        0,
        False,
    )
    assert not bench.staged()["before"]["deleted"]

    bench.source.content_type = "application/json"
    bench.run(page(record(id="before"), record(id="after")))
    assert set(bench.staged()) == {"before", "after"}


def test_12_a_byte_order_mark_is_read_over(bench: Bench) -> None:
    bench.run(b"\xef\xbb\xbf" + page(record(id="one", name="Zoë")))
    assert bench.staged()["one"]["name"] == "Zoë"
    assert bench.quarantine() == []


def test_21_a_change_mark_in_the_future_moves_no_cursor(bench: Bench) -> None:
    bench.run(page(record(id="one"), record(id="late", updated_at="2999-01-01T00:00:00Z")))
    assert set(bench.staged()) == {"one", "late"}
    (cursor,) = bench.rows("select value from landing.cursor")
    assert "2999" not in json.dumps(cursor["value"])


def test_26_another_currency_waits_for_a_person(bench: Bench) -> None:
    bench.source.pages = [page(record(id="one"), record(id="two"))]
    bench.sync()
    assert {r["currency"] for r in bench.source.ledger.values()} == {"EUR"}

    later = {"updated_at": "2026-01-06T10:00:00Z"}
    bench.source.pages = [page(record(id="one", ccy="GBP", **later), record(id="two", name="Two Ltd", **later))]
    summary = bench.sync()
    assert summary.held == 1
    assert {r["currency"] for r in bench.source.ledger.values()} == {"EUR"}
    assert {r["name"] for r in bench.source.ledger.values()} == {"Acme Ltd", "Two Ltd"}
    (hold,) = bench.rows("select kind, op, reason, writes, owner from ops.hold where state = 'open'")
    assert (hold["kind"], hold["op"], hold["writes"], hold["owner"]) == ("currency", "update", 1, "head (Ada Moss)")
    assert hold["reason"] == "the currency changes: currency from EUR to GBP"

    assert bench.sync().held == 1
    assert len(bench.rows("select from ops.hold where state = 'open'")) == 1


def test_28_a_flood_of_unknown_codes_stops_the_batch_with_one_reason(bench: Bench) -> None:
    flood = [record(id=f"odd-{n}", state="Z") for n in range(40)]
    good = [record(id=f"good-{n}", state="O") for n in range(60)]
    bench.source.pages = [page(*flood, *good)]
    extract(bench.world, "shop", "bookings", mode="full", sync_id=None)
    staged = stage(bench.world, "shop", "bookings", sync_id=None, docs_dir=None)
    assert staged.stopped is not None
    assert staged.stopped.startswith("booking from shop/bookings: 40 of 100 rows (40.0%) fail no_problems")
    assert bench.staged() == {}
    assert bench.quarantine() == []
    assert len(bench.rows("select from landing.record where state = 'landed'")) == 100

    bench.run(page(*[record(id=f"odd-{n}", state="C") for n in range(40)], *good))
    assert len(bench.staged()) == 100


@pytest.mark.parametrize("parent", ["nobody", "later"], ids=["39-unknown", "39-comes-later"])
def test_39_a_reference_to_an_unknown_parent_waits(bench: Bench, parent: str) -> None:
    bench.run(page(record(id="child", parent=parent)))
    assert bench.staged()["child"]["unresolved"]
    assert bench.quarantine() == []
    assert bench.rows("select parent from golden.booking") == [{"parent": None}]

    bench.run(page(record(id="child", parent=parent), record(id="later")))
    waits = bench.staged()["child"]["unresolved"]
    assert waits == (parent == "nobody")
    found = bench.rows("select count(parent) as known from golden.booking")
    assert found == [{"known": 0 if waits else 1}]


@pytest.mark.parametrize(
    ("second", "note", "nick"),
    [
        pytest.param({}, "first note", "first nick", id="41-absent-says-nothing"),
        pytest.param({"note": None, "nick": None}, None, "first nick", id="41-null"),
        pytest.param({"note": "", "nick": ""}, None, "first nick", id="41-blank"),
        pytest.param({"note": "n", "nick": "k"}, "n", "k", id="41-values"),
    ],
)
def test_41_absent_null_and_blank(bench: Bench, second: dict[str, Any], note: str | None, nick: str | None) -> None:
    bench.run(page(record(id="one", note="first note", nick="first nick")))
    bench.run(page(record(id="one", updated_at="2026-02-01T00:00:00Z", **second)))
    assert (bench.staged()["one"]["note"], bench.staged()["one"]["nick"]) == (note, nick)
    assert bench.rows("select note, nick from golden.booking") == [{"note": note, "nick": nick}]


def test_43_an_empty_page_with_a_next_token_is_walked_on(bench: Bench) -> None:
    extracted, _ = bench.run(page(record(id="before"), after=1), page(after=2), page(record(id="after")))
    assert set(bench.staged()) == {"before", "after"}
    assert extracted.is_complete


def test_43_a_token_that_comes_again_ends_the_walk(bench: Bench) -> None:
    with pytest.raises(SystemFault, match="shop/bookings"):
        bench.run(page(record(id="before"), after=1), page(after=1))
    assert len(bench.source.requests) < 5


# ---- declarations, through the command that a person types

MAIN, MODEL, SHEET, SHOP = "landscape.yaml", "model/booking.yaml", "mappings/shop.csv", "connectors/shop_api.yaml"
MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "45-duplicate-key": (MAIN, "owner: head, originates", "owner: head, owner: head, originates", "each key once"),
    "46-tag": (MAIN, "problem: The", "problem: !!python/name:os.system The", "no tags"),
    "47-unquoted-no": (SHOP, "records: data", "records: NO", 'Did you mean "NO"?'),
    "48-tab": (SHOP, "    records: data", "\trecords: data", "spaces for indentation"),
    "49-unknown-key": (MODEL, "weight:    {type", "weight:    {tpye", "Did you mean type?"),
    "50-two-systems-of-record": (MODEL, "email:     {type: email", "email:     {record: [shop, books], type: email", "exactly one system of record"),
    "51-no-system-of-record": (MODEL, "record: shop", "origin: shop", "a system of record"),
    "53-unknown-target-field": (SHEET, "booking.country,country", "booking.contry,country", "Did you mean booking.country?"),
    "54-name-of-a-field": (MODEL, "  count: ", '  "id; drop table": ', "a name like"),
    "55-metadata-address": (MAIN, "connector: books_api, url: \"http://127.0.0.1", "connector: books_api, url: \"http://169.254.169.254", "the host of a business system"),
    "56-password-in-url": (MAIN, "connector: shop_api, url: \"http://", "connector: shop_api, url: \"http://me:pw@", "{env: NAME}"),
    "57-secret": (MAIN, "problem: The books hear of a booking by e-mail.", "problem: ghp_abcdefghijklmnopqrstuvwxyz123456", "a reference such as"),
    "58-backtracking-regex": (SHEET, "bookings.note,canonical,booking.note,,", "bookings.note,canonical,booking.note,extract (a+)+\\1,", "a regular expression of RE2"),
    "59-expression-that-runs-code": (SHEET, "bookings.nick,canonical,booking.nick,,", "bookings.nick,canonical,booking.nick,__import__ os,", "expected one of"),
}  # fmt: skip
ALONE = ("46", "47", "48", "51")
"""Mistakes that hide others of their file, or are told on every field."""


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch, source: BadSource, tmp_path: Path) -> Iterator[Path]:
    """A landscape's folder; afterwards no system was asked, no database was met and no file was written beside it."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a database connection was made")

    home = tmp_path / "home"
    monkeypatch.setenv("CONCORD_HOME", str(home))
    monkeypatch.setattr("psycopg.Connection.connect", refuse)
    monkeypatch.setattr("sqlalchemy.create_engine", refuse)
    source.requests.clear()
    folder = landscape(tmp_path / "land", source.url)
    files = dict.fromkeys(folder.rglob("*"))
    yield folder
    assert source.requests == []
    assert not home.exists()
    assert dict.fromkeys(folder.rglob("*")) == files


def mistaken(folder: Path, name: str) -> str:
    """Makes the mistake; gives `file:line` of it."""
    file, old, new, _ = MISTAKES[name]
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return f"{file}:{text[: text.index(old)].count(chr(10)) + 1}"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_declaration_is_refused_before_anything_is_touched(
    untouched: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    place = mistaken(untouched, name)
    assert run(["check", "--offline", "--landscape", str(untouched)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert MISTAKES[name][3] in told
    assert "Traceback" not in told
    assert "ghp_" not in told
    assert "me:pw" not in told
    if name[:2] != "51":
        assert place in told
    with pytest.raises(CanonicalRefused):
        load(untouched)


def test_every_mistake_of_every_file_comes_at_once(untouched: Path) -> None:
    together = [name for name in MISTAKES if name[:2] not in ALONE]
    places = {mistaken(untouched, name): MISTAKES[name][3] for name in together}
    with pytest.raises(CanonicalRefused) as refused:
        load(untouched)
    found = [str(problem) for problem in refused.value.problems]
    for place, expected in places.items():
        assert any(told.startswith(f"{place}: ") and expected in told for told in found), place
    assert sorted({told.split(":")[0] for told in found}) == sorted({MAIN, MODEL, SHEET})
