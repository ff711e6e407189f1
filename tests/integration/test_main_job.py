"""The main job, end to end: four systems brought into agreement, judged by what the systems themselves have seen."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from staging import holds, ledger
from staging.embedded import EmbeddedServer
from staging.engine import engine, transaction
from tasks import resolve
from tasks import sync as syncs
from tests.fixtures.mainjob import Json, MainJob, Snapshot, copy_of

EVERYWHERE = {("crm", "companies"), ("accounting", "contacts"), ("legacy", "clients")}


@pytest.fixture(scope="module")
def customers(shared_job: MainJob) -> Iterator[dict[tuple[str, str], str]]:
    """Customers that stand once in the CRM, the ledger and the order database: each test takes its own."""
    return known_everywhere(shared_job)


def known_everywhere(job: MainJob) -> Iterator[dict[tuple[str, str], str]]:
    """Their ids: (system, stream) → source id, and ("golden", "customer") → canonical id."""
    found = job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.phone is not null and g.status = 'active' and not g.deleted and not"
        " g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1"
    )
    for row in found:
        yield job.source_ids("customer", row["id"]) | {("golden", "customer"): row["id"]}


def sent(writes: Sequence[Json], *, to: str) -> list[tuple[str, dict[str, Any]]]:
    """(record id, what was sent besides the id) of every item in the bodies of an HTTP system's write requests."""
    items: list[tuple[str, dict[str, Any]]] = []
    for write in writes:
        assert write["status"] in (200, 201, 207), write
        if not write["body"]:
            continue
        body = json.loads(write["body"])
        if to == "crm":
            items += [(item.get("id", ""), item.get("properties", {})) for item in body["inputs"]]
            continue
        [(_, listed)] = body.items()
        for item in listed:
            name = next((n for n in ("ContactID", "InvoiceID", "ItemID") if n in item), "")
            items.append((item.pop(name, ""), item))
    return items


def differing(change: Json) -> dict[str, Any]:
    """What an update in the order database changed, its own change mark aside."""
    assert change["op"] == "UPDATE"
    return {k: v for k, v in change["new"].items() if change["old"][k] != v and k != "last_changed"}


def quiet(job: MainJob) -> None:
    """One more sync has nothing to say to anybody."""
    mark = job.mark()
    again = job.sync()
    assert (again.target_writes, again.golden_versions, again.trouble) == (0, 0, [])
    assert job.written_since(mark) == {}


def in_agreement(job: MainJob) -> None:
    with transaction(engine("app")) as conn:
        assert [c for c in ledger.verify(conn) if not c.ok] == []


def test_a_first_sync_brings_every_system_into_agreement(first_sync: Snapshot, shared_job: MainJob) -> None:
    done = first_sync.summary
    assert done is not None
    assert done.trouble == []
    assert done.rejected == 0
    assert {where for where, counts in done.targets.items() if counts.get("created")} >= {
        "crm/companies",
        "crm/contacts",
        "accounting/contacts",
        "accounting/invoices",
    }
    assert shared_job.value("select state from ops.sync order by id limit 1") == "complete"
    open_writes = shared_job.rows("select distinct state from ops.outbox where state not in ('delivered', 'held')")
    assert open_writes == []
    in_agreement(shared_job)


@pytest.mark.slow
def test_chunks_of_any_size_come_to_agreement(
    embedded_server: EmbeddedServer, unsynced: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that belong together are worked out in different chunks; what one planned another takes back."""
    for name, size in (("FIRST_CHUNK", 7), ("FEW", 14), ("CHUNK", 20)):
        monkeypatch.setattr(resolve, name, size)
    with copy_of(embedded_server, unsynced, tmp_path / "job") as job:
        done = job.sync()
        assert (done.trouble, done.rejected) == ([], 0)
        in_agreement(job)
        quiet(job)


def test_a_second_sync_writes_nothing(main_job: MainJob) -> None:
    quiet(main_job)


@pytest.mark.slow
def test_a_phone_edited_in_the_crm_changes_that_field_where_it_should_be_known(
    shared_job: MainJob, customers: Iterator[dict[tuple[str, str], str]]
) -> None:
    ids = next(customers)
    mark = shared_job.mark()
    shared_job.edit("crm", "companies", ids["crm", "companies"], {"phone": "020 7946 0123"})

    done = shared_job.sync()

    written = shared_job.written_since(mark)
    assert set(written) == {"accounting", "legacy"}
    [(contact, fields)] = sent(written["accounting"], to="accounting")
    assert contact == ids["accounting", "contacts"]
    # the number is kept whole: its other two parts are set empty, or a reader would put them before it
    whole = {"PhoneType": "DEFAULT", "PhoneCountryCode": "", "PhoneAreaCode": "", "PhoneNumber": "+442079460123"}
    assert fields == {"Phones": [whole]}
    [change] = written["legacy"]
    assert (change["tbl"], change["new"]["client_no"]) == ("clients", ids["legacy", "clients"])
    assert differing(change) == {"tel": "+442079460123"}
    assert done.target_writes == 2
    [version] = shared_job.rows(
        "select changes from golden.history where entity = 'customer' and canonical_id = :id and version > 1"
        " and sync_id = :sync",
        id=ids["golden", "customer"],
        sync=done.sync_id,
    )
    assert [(c["new"], c["system"]) for c in version["changes"]] == [({"phone": "+442079460123"}, "crm")]
    quiet(shared_job)


def test_an_edit_of_a_field_that_the_crm_owns_is_found_in_accounting_and_put_back(
    shared_job: MainJob, customers: Iterator[dict[tuple[str, str], str]]
) -> None:
    ids = next(customers)
    contact = ids["accounting", "contacts"]
    right = shared_job.stored("accounting", "contacts")[contact]["EmailAddress"]
    mark = shared_job.mark()
    shared_job.edit("accounting", "contacts", contact, {"EmailAddress": "typo@nowhere.example"})

    shared_job.sync()

    [finding] = shared_job.rows(
        "select kind, field, ours, theirs, action, state, owner, closed_because from ops.finding"
        " where system = 'accounting' and source_id = :id and kind = 'unauthorised_edit'",
        id=contact,
    )
    assert (finding["field"], finding["ours"], finding["theirs"]) == ("EmailAddress", right, "typo@nowhere.example")
    assert (finding["action"], finding["state"]) == ("restore", "corrected")
    assert finding["owner"].startswith("head-of-sales")
    written = shared_job.written_since(mark)
    assert set(written) == {"accounting"}
    assert sent(written["accounting"], to="accounting") == [(contact, {"EmailAddress": right})]
    assert shared_job.stored("accounting", "contacts")[contact]["EmailAddress"] == right
    quiet(shared_job)


@pytest.mark.slow
def test_a_confirmed_order_becomes_one_invoice(shared_job: MainJob) -> None:
    order = shared_job.rows(
        "select o.number, c.source_id as contact from golden.order o join ops.crosswalk c on c.canonical_id ="
        " o.customer and c.entity = 'customer' and c.system = 'accounting' and c.is_primary and c.ended_at is null"
        " where o.status = 'draft' and o.lines is not null and json_array_length(o.lines) > 1 and not exists"
        " (select from json_array_elements(o.lines) l where l ->> 'product' is null) order by 1 limit 1"
    )[0]
    lines = [r for r in shared_job.legacy_rows("order_lines") if r["order_no"] == order["number"]]
    mark = shared_job.mark()
    shared_job.edit_legacy("orders", order["number"], {"state_cd": "CONF"})
    edit, *_ = shared_job.legacy_changes(mark.legacy)

    shared_job.sync()

    written = shared_job.written_since(mark)
    assert [w["path"] for w in written["accounting"]] == ["/api.xro/2.0/Invoices"]
    [(_, invoice)] = sent(written["accounting"], to="accounting")
    assert invoice["Reference"] == order["number"]
    assert invoice["Contact"] == {"ContactID": order["contact"]}
    assert (invoice["Type"], invoice["Status"]) == ("ACCREC", "AUTHORISED")
    told = {
        (line["ItemCode"], Decimal(str(line["Quantity"])), Decimal(str(line["UnitAmount"])))
        for line in invoice["LineItems"]
    }
    assert told == {(line["sku"], line["qty"], line["unit_price"]) for line in lines}
    assert len(invoice["LineItems"]) == len(lines)
    held = [d for d in shared_job.stored("accounting", "invoices").values() if d["Reference"] == order["number"]]
    assert len(held) == 1
    # the new invoice is an amount due, which the CRM shows; the order database hears that nothing is paid yet
    assert [differing(c) for c in written["legacy"] if c["id"] != edit["id"]] == []
    for _, fields in sent(written.get("crm", []), to="crm"):
        assert set(fields) == {"balance_due"}
    quiet(shared_job)


@pytest.mark.slow
def test_a_payment_in_accounting_marks_the_order_and_the_customer(shared_job: MainJob) -> None:
    unpaid = {
        doc["Reference"]: doc
        for doc in shared_job.stored("accounting", "invoices").values()
        if doc["Status"] == "AUTHORISED" and doc["Reference"].startswith("SO-") and doc["CurrencyCode"] == "GBP"
    }
    orders = {r["order_no"]: r for r in shared_job.legacy_rows("orders")}
    number = min(n for n in unpaid if orders.get(n, {}).get("paid_flag") == "N" and _is_billed_once(shared_job, n))
    invoice = unpaid[number]
    customer = shared_job.golden_id("customer", "accounting", "contacts", invoice["Contact"]["ContactID"])
    company = shared_job.source_ids("customer", customer)["crm", "companies"]
    [contact] = shared_job.call("accounting", "GET", f"/api.xro/2.0/Contacts/{invoice['Contact']['ContactID']}")[
        "Contacts"
    ]
    owed = Decimal(str(contact["Balances"]["AccountsReceivable"]["Outstanding"]))
    assert Decimal(shared_job.stored("crm", "companies")[company]["properties"]["balance_due"]) == owed
    paid = {
        "Invoice": {"InvoiceID": invoice["InvoiceID"]},
        "Account": {"Code": "090"},
        "Date": "2026-01-15",
        "Amount": invoice["AmountDue"],
        "Reference": "planted",
    }
    shared_job.call("accounting", "PUT", "/api.xro/2.0/Payments", {"Payments": [paid]})
    mark = shared_job.mark()

    shared_job.sync()

    written = shared_job.written_since(mark)
    assert set(written) == {"crm", "legacy"}
    [change] = written["legacy"]
    assert (change["tbl"], change["new"]["order_no"], differing(change)) == ("orders", number, {"paid_flag": "Y"})
    [(told, fields)] = sent(written["crm"], to="crm")
    assert told == company
    assert set(fields) == {"balance_due"}
    assert Decimal(fields["balance_due"]) == owed - Decimal(str(invoice["AmountDue"]))
    quiet(shared_job)


def _is_billed_once(job: MainJob, number: str) -> bool:
    links = job.value(
        "select count(*) from ops.crosswalk c join golden.order o on o.id = c.canonical_id where o.number = :number"
        " and c.entity = 'order' and c.system = 'accounting' and c.ended_at is null",
        number=number,
    )
    return bool(links == 1)


def test_a_corrected_record_leaves_quarantine_by_itself(shared_job: MainJob) -> None:
    entry = shared_job.rows(
        "select id, source_id, rule, field, reason from ops.quarantine where system = 'legacy' and stream = 'products'"
        " and scope = 'record' and state = 'open' order by id"
    )[0]
    assert entry["field"] == "price"
    shared_job.edit_legacy("products", entry["source_id"], {"unit_price": "1,234.56"})

    shared_job.sync()

    [after] = shared_job.rows(
        "select state, closed_because, closed_by from ops.quarantine where id = :id", id=entry["id"]
    )
    assert (after["state"], after["closed_by"]) == ("resolved", "concord")
    assert after["closed_because"].startswith("passed in batch")
    price = "select price from staging.product where system = 'legacy' and source_id = :id"
    assert shared_job.value(price, id=entry["source_id"]) == Decimal("1234.56")
    quiet(shared_job)
    in_agreement(shared_job)


@pytest.mark.slow
def test_children_wait_for_their_parents(shared_job: MainJob) -> None:
    """A new customer's confirmed order: nothing is invoiced to nobody, and nothing is forgotten."""
    sku = shared_job.value("select sku from golden.product order by sku limit 1")
    with psycopg.connect(shared_job.legacy_url.set(drivername="postgresql").render_as_string(False)) as legacy:
        legacy.execute(
            "insert into legacy.clients (client_no, company_name, fullname, vat_no, mail, status_cd, ctry,"
            " last_changed) values ('C-NEW', 'Quillfeather Bindery', '', 'GB914223017', 'desk@quillfeather.example',"
            " 'A', 'GB', now())"
        )
        legacy.execute(
            "insert into legacy.orders (order_no, client_no, order_date, currency, state_cd, last_changed)"
            " values ('SO-NEW', 'C-NEW', '02/03/2026', 'GBP', 'CONF', now())"
        )
        legacy.execute(
            "insert into legacy.order_lines (order_no, line_no, sku, qty, shipped_qty, unit_price, vat_rate,"
            " last_changed) values ('SO-NEW', 1, %s, 2, 0, 9.5, 20, now())",
            [sku],
        )
    mark = shared_job.mark()

    alone = shared_job.sync("order-to-invoice")

    assert (alone.waiting, alone.target_writes) == (1, 0)
    assert shared_job.written_since(mark) == {}
    [waits] = shared_job.rows("select refs from ops.outbox where state = 'waiting'")
    assert [ref["entity"] for ref in waits["refs"]] == ["customer"]

    together = shared_job.sync()

    assert together.waiting == 0
    accounting = shared_job.written_since(mark)["accounting"]
    assert [w["path"] for w in accounting if w["path"].endswith(("Contacts", "Invoices"))] == [
        "/api.xro/2.0/Contacts",
        "/api.xro/2.0/Invoices",
    ]
    contact = shared_job.source_ids("customer", shared_job.golden_id("customer", "legacy", "clients", "C-NEW"))
    [invoice] = [d for d in shared_job.stored("accounting", "invoices").values() if d["Reference"] == "SO-NEW"]
    assert invoice["Contact"]["ContactID"] == contact["accounting", "contacts"]
    quiet(shared_job)
    in_agreement(shared_job)


class WithoutReading(syncs.PlainSteps):
    """Every step but the reading."""

    def extract(self, *_: Any) -> list[Any]:
        return []


def rework(job: MainJob) -> syncs.Summary:
    """A sync that has nothing but what is landed already."""
    sync_id = syncs.begin(job.world, "all", "incremental", started_by="a test")
    return syncs.sync(job.world, "all", WithoutReading(job.world, sync_id), sync_id=sync_id)


@pytest.mark.slow
def test_a_changed_mapping_is_reworked_from_what_is_landed(main_job: MainJob) -> None:
    live = main_job.value(
        "select count(*) from landing.record where system = 'crm' and stream = 'companies' and not deleted"
    )
    mark = main_job.mark()
    main_job.replace_in(
        "mappings/crm.csv",
        "crm,companies.properties.city,canonical,customer.address.city,trim,",
        "crm,companies.properties.city,canonical,customer.address.city,trim | upper,",
    )

    done = rework(main_job)

    assert main_job.read_since(mark) == [r for r in main_job.read_since(mark) if not r.startswith("crm GET")]
    assert done.systems["crm/companies"]["mapped"] == live
    assert {where: n for where, counts in done.systems.items() if (n := counts["mapped"])}.keys() == {"crm/companies"}
    shouted = main_job.rows(
        "select g.address_city from golden.customer g join ops.crosswalk c on c.canonical_id = g.id where c.system ="
        " 'crm' and c.ended_at is null and c.is_primary and g.address_city is not null and not g.deleted"
    )
    assert shouted
    assert all(row["address_city"] == row["address_city"].upper() for row in shouted)
    written = main_job.written_since(mark)
    assert set(written) == {"accounting", "crm"} or set(written) == {"accounting"}
    for _, fields in sent(written["accounting"], to="accounting"):
        [address] = fields.pop("Addresses")
        assert fields == {}
        assert set(address) == {"AddressType", "City"}
    main_job.sync()
    quiet(main_job)
    in_agreement(main_job)


@pytest.mark.slow
def test_a_changed_rule_is_judged_again_from_what_is_landed(main_job: MainJob) -> None:
    rule = "expectations/order.yaml"
    mark = main_job.mark()
    day = main_job.value("select percentile_disc(0.9) within group (order by ordered_on) from staging.order")
    late = "select source_id from staging.order where ordered_on >= :day and system = 'legacy'"
    concerned = {row["source_id"] for row in main_job.rows(late, day=day)}
    assert concerned
    main_job.replace_in(rule, 'tolerance: "max(50, 10%)"', 'tolerance: "100%"')
    main_job.replace_in(rule, "ordered_on < '2100-01-01'", f"ordered_on < '{day}'")

    stricter = rework(main_job)

    entries = "select source_id from ops.quarantine where rule = 'not_from_the_future' and state = 'open'"
    assert stricter.quarantined >= len(concerned)
    assert concerned <= {row["source_id"] for row in main_job.rows(entries)}
    assert main_job.read_since(mark) == []
    in_agreement(main_job)

    main_job.replace_in(rule, f"ordered_on < '{day}'", "ordered_on < '2100-01-01'")
    rework(main_job)

    assert main_job.rows(entries) == []
    assert main_job.written_since(mark) == {}
    in_agreement(main_job)


@pytest.mark.slow
def test_a_held_set_is_applied_once_when_approved_and_never_when_rejected(main_job: MainJob) -> None:
    main_job.replace_in(
        "landscape.yaml",
        'brake: {changes: "max(700, 60%)", deletes: "max(5, 2%)"}',
        'brake: {changes: "max(1, 1%)", deletes: "max(5, 2%)"}',
    )
    chosen = list(itertools.islice(known_everywhere(main_job), 3))
    for number, ids in enumerate(chosen):
        main_job.edit("crm", "companies", ids["crm", "companies"], {"phone": f"020 7946 020{number}"})
    mark = main_job.mark()

    main_job.sync()

    assert main_job.written_since(mark) == {}
    opened = main_job.rows(
        "select id, system, kind, writes, reason, owner from ops.hold where state = 'open'"
        " and integration = 'customer-details' order by system"
    )
    assert [(h["system"], h["kind"], h["writes"]) for h in opened] == [
        ("accounting", "brake", 3),
        ("legacy", "brake", 3),
    ]
    assert all("brake allows" in h["reason"] and h["owner"].startswith("integration-owner") for h in opened)
    in_agreement(main_job)

    to_accounting, to_legacy = (h["id"] for h in opened)
    with transaction(engine("app")) as conn:
        assert holds.approve(conn, to_accounting, by="priya", reason="the switchboard moved") == 3
        assert holds.reject(conn, to_legacy, by="ellen", reason="the old numbers stay") == 3
    main_job.sync()

    written = main_job.written_since(mark)
    assert set(written) == {"accounting"}
    assert sorted(record for record, _ in sent(written["accounting"], to="accounting")) == sorted(
        ids["accounting", "contacts"] for ids in chosen
    )
    with transaction(engine("app")) as conn:
        assert holds.approve(conn, to_accounting, by="priya", reason="once more") == 0
        assert holds.approve(conn, to_legacy, by="priya", reason="after all") == 0
    quiet(main_job)
    in_agreement(main_job)
