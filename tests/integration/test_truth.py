"""What a first sync made of a seeded world, measured against the truth about it: who is who, and what is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from staging.embedded import EmbeddedServer
from tests.fixtures.mainjob import MainJob, apply_model, drop_databases, running_job

pytestmark = pytest.mark.slow

SCALE = 0.25
"""About 500 customers and 750 people."""
Key = tuple[str, str, str]
NAMES = {
    "shipped_above_ordered": "lines_shipped_not_above_ordered",
    "paid_before_issued": "not_paid_before_issued",
    "credit_above_invoice": "credit_not_above_invoice",
}


@dataclass(frozen=True)
class Outcome:
    """The truth, and what our database says after one sync."""

    truth: dict[str, Any]
    golden: dict[str, dict[Key, str]]
    """Entity → source record → golden record, by live links."""
    reviews: dict[str, set[tuple[Key, Key]]]
    """Entity → pairs of source records that wait for a person."""
    quarantined: dict[Key, list[dict[str, Any]]]
    """Every entry, open or not: a field that was wrong may be right by now because we wrote it."""
    staged: set[Key]
    """Records that are staged and not gone."""
    tax_ids: dict[Key, str]
    summary: Any
    after: dict[str, dict[str, dict[str, Any]]]
    """What the systems hold after the sync: documents or rows by their key."""

    def people_or_customers(self, entity: str) -> dict[Key, str]:
        """Source record → who it truly is."""
        return {_key(m): one["true_id"] for one in self.truth[entity] for m in one["members"]}


def _key(member: dict[str, str]) -> Key:
    return (member["system"], member["stream"], member["id"])


@pytest.fixture(scope="module")
def outcome(
    embedded_server: EmbeddedServer, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    folder = tmp_path_factory.mktemp("truth")
    with running_job(embedded_server, folder, template_database, None, None, scale=SCALE) as job:
        apply_model(job)
        summary = job.sync()
        yield _outcome(job, summary)
    drop_databases(embedded_server, job.database.name, str(job.legacy_url.database))


def _outcome(job: MainJob, summary: Any) -> Outcome:
    golden: dict[str, dict[Key, str]] = defaultdict(dict)
    for r in job.rows("select * from ops.crosswalk where ended_at is null"):
        golden[r["entity"]][r["system"], r["stream"], r["source_id"]] = r["canonical_id"]
    reviews: dict[str, set[tuple[Key, Key]]] = defaultdict(set)
    for r in job.rows("select * from ops.review where state = 'open'"):
        system, stream, source_id = r["other"].split("\x1f")
        reviews[r["entity"]].add(((r["system"], r["stream"], r["source_id"]), (system, stream, source_id)))
    quarantined: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for r in job.rows("select * from ops.quarantine"):
        quarantined[r["system"], r["stream"], r["source_id"]].append(r)
    staged: set[Key] = set()
    for entity in job.world.landscape.model.entities:
        rows = job.rows(f"select system, stream, source_id from staging.{entity.name} where not deleted")
        staged |= {(r["system"], r["stream"], r["source_id"]) for r in rows}
    taxed = job.rows("select system, stream, source_id, tax_id from staging.customer where tax_id is not null")
    tax_ids = {(r["system"], r["stream"], r["source_id"]): r["tax_id"] for r in taxed}
    after = {
        "invoices": {doc["Reference"]: doc for doc in job.stored("accounting", "invoices").values()},
        "credit_notes": {doc["Reference"]: doc for doc in job.stored("accounting", "credit_notes").values()},
        "projects": {doc["name"]: doc for doc in job.stored("projects", "projects").values()},
        "tasks": {doc["name"]: doc for doc in job.stored("projects", "tasks").values()},
    }
    for table, key in (
        ("orders", "order_no"),
        ("clerks", "clerk_no"),
        ("deliveries", "delivery_no"),
        ("warehouse.returns", "return_no"),
    ):
        after[table] = {row[key]: row for row in job.legacy_rows(table)}
    return Outcome(job.sandbox.truth(), golden, reviews, quarantined, staged, tax_ids, summary, after)


@pytest.mark.parametrize("entity", ["customer", "contact"])
def test_no_golden_record_has_records_of_two(outcome: Outcome, entity: str) -> None:
    true = outcome.people_or_customers(entity)
    members: dict[str, set[str]] = defaultdict(set)
    for record, golden in outcome.golden[entity].items():
        if record in true:
            members[golden].add(true[record])

    assert len(members) > 400
    assert {golden: ids for golden, ids in members.items() if len(ids) > 1} == {}


def test_one_customer_with_one_vat_number_is_one_golden_record(outcome: Outcome) -> None:
    true, golden = outcome.people_or_customers("customer"), outcome.golden["customer"]
    sharing: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record, tax_id in outcome.tax_ids.items():
        if record in true:
            sharing[true[record], tax_id].add(golden.get(record, f"no golden record of {record}"))

    assert len(sharing) > 200
    assert {who: ids for who, ids in sharing.items() if len(ids) > 1} == {}


def test_customers_that_share_nothing_unique_are_found_too(outcome: Outcome) -> None:
    """Recall over all pairs of records of one customer that both passed and that nobody has to be asked about."""
    true, golden = outcome.people_or_customers("customer"), outcome.golden["customer"]
    asked = {record for pair in outcome.reviews["customer"] for record in pair}
    ids: dict[str, set[str]] = defaultdict(set)
    for record, who in true.items():
        if record in golden and record not in asked:
            ids[who].add(golden[record])

    together = sum(len(found) == 1 for found in ids.values())

    assert together / len(ids) > 0.95


@pytest.mark.parametrize("kind", ["doubtful_pairs", "duplicates"])
def test_what_belongs_together_is_linked_or_asked_about(outcome: Outcome, kind: str) -> None:
    missed = []
    for one, other in outcome.truth[kind]:
        a, b = _key(one), _key(other)
        if not {a, b} <= outcome.staged:
            continue  # one of them is in quarantine
        if not any(_together(outcome, entity, a, b) for entity in ("customer", "contact")):
            missed.append((a, b))

    assert outcome.truth[kind]
    assert missed == []


def _together(outcome: Outcome, entity: str, a: Key, b: Key) -> bool:
    """Linked to one golden record; or in review with each other, or with a record that is linked with the other."""
    golden = outcome.golden[entity]
    if a in golden and golden[a] == golden.get(b):
        return True
    of_a = {a, *(k for k, g in golden.items() if g == golden.get(a))}
    of_b = {b, *(k for k, g in golden.items() if g == golden.get(b))}
    return any((x in of_a and y in of_b) or (x in of_b and y in of_a) for x, y in outcome.reviews[entity])


@pytest.mark.parametrize("kind", ["different_pairs", "name_clashes"])
def test_what_only_looks_alike_is_not_linked(outcome: Outcome, kind: str) -> None:
    assert outcome.truth[kind]
    for one, other in outcome.truth[kind]:
        for golden in outcome.golden.values():
            a, b = golden.get(_key(one)), golden.get(_key(other))
            assert a is None or a != b, f"{one} and {other} are two"


def test_deleted_and_merged_records_are_not_alive(outcome: Outcome) -> None:
    gone = {_key(m) for m in outcome.truth["deleted"]}
    gone |= {_key({**m, "id": m["loser"]}) for m in outcome.truth["merged"]}
    survivors = {_key(m) for m in outcome.truth["merged"]}

    assert gone
    assert gone & outcome.staged == set()
    assert survivors <= outcome.staged | outcome.quarantined.keys()


def test_every_bad_record_is_explained_by_rule_and_reason(outcome: Outcome) -> None:
    for bad in outcome.truth["bad_records"]:
        if "a day that never was" in bad["why"] and bad["stream"] == "prices":
            continue  # that column is ignored by name
        entries = outcome.quarantined.get(_key(bad), [])
        assert entries, f"{bad} is not in quarantine"
        assert all(e["rule"] and e["reason"] and e["owner"] for e in entries)
        if bad["required"]:
            assert ("record", "open") in {(e["scope"], e["state"]) for e in entries}, f"{bad} passed"


def test_every_unknown_code_is_flagged_with_what_was_found(outcome: Outcome) -> None:
    assert outcome.truth["unknown_codes"]
    for code in outcome.truth["unknown_codes"]:
        entries = outcome.quarantined.get(_key(code), [])
        flagged = [e for e in entries if e["rule"] == "choice" and code["value"] in e["reason"]]
        assert [e["state"] for e in flagged] == ["open"], code


def test_every_impossibility_is_stopped_by_the_rule_for_it(outcome: Outcome) -> None:
    assert {one["kind"] for one in outcome.truth["impossible"]} == NAMES.keys()
    for one in outcome.truth["impossible"]:
        key = ("legacy", "orders", one["order"]) if "order" in one else _key(one)
        assert NAMES[one["kind"]] in {e["rule"] for e in outcome.quarantined.get(key, [])}, one


def test_nothing_good_was_quarantined(outcome: Outcome) -> None:
    """Whatever came to quarantine as a whole record was planted there."""
    planted = {_key(one) for kind in ("bad_records", "unknown_codes", "impossible") for one in outcome.truth[kind]}
    planted |= {("legacy", "orders", one["order"]) for one in outcome.truth["impossible"] if "order" in one}
    whole = {key for key, entries in outcome.quarantined.items() if "record" in {e["scope"] for e in entries}}

    assert whole - planted == set()


def test_what_is_confirmed_is_billed_once(outcome: Outcome) -> None:
    held = outcome.summary.targets["accounting/invoices"].get("held", 0)
    created = outcome.summary.targets["accounting/invoices"]["created"]

    assert created + held == len(outcome.truth["orders_to_invoice"])


def test_an_employee_is_one_in_all_systems(outcome: Outcome) -> None:
    golden = outcome.golden["employee"]
    for one in outcome.truth["employee"]:
        assert len({golden[_key(member)] for member in one["members"]}) == 1, one
    assert len({golden[_key(one["members"][0])] for one in outcome.truth["employee"]}) == len(outcome.truth["employee"])


def test_what_happened_around_orders_is_known_everywhere(outcome: Outcome) -> None:
    """Each planted omission is made good: nothing else could have been, as nobody was asked."""
    truth, after = outcome.truth, outcome.after
    assert {after["clerks"][number]["active"] for number in truth["leavers_with_login"]} == {"N"}
    assert {after["clerks"][number]["active"] for number in truth["staff_without_login"]} == {"Y"}
    assert {after["invoices"][number]["Status"] for number in truth["cancelled_billed"]} == {"VOIDED"}
    assert {after["orders"][number]["ship_cd"] for number in truth["shipping_unmarked"]} <= {"P", "F"}
    assert set(truth["shipments_untold"]) <= after["deliveries"].keys()
    assert {after["credit_notes"][number]["Status"] for number in truth["returns_to_credit"]} == {"DRAFT"}
    assert {after["warehouse.returns"][number]["credit_cd"] for number in truth["returns_to_credit"]} == {"D"}
    assert {after["warehouse.returns"][number]["credit_cd"] for number in truth["credits_untold"]} == {"C"}
    assert {after["orders"][number]["hold_flag"] for number in truth["disputed_orders"]} == {"Y"}
    assert len([doc for doc in after["tasks"].values() if not doc["completed"]]) >= len(truth["disputed_orders"])
    assert set(truth["orders_without_project"]) <= after["projects"].keys()
