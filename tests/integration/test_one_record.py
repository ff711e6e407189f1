"""`sync --record`: one record goes all the way, with its parents if it must, and nothing else (DESIGN 9.15)."""

from __future__ import annotations

import psycopg
import pytest

from apps import exits
from tests.fixtures.mainjob import MainJob
from tests.fixtures.outside import in_agreement
from tests.fixtures.said import Concord

pytestmark = pytest.mark.slow


def test_one_edited_record_is_written_where_it_should_be_known_and_no_other(
    main_job: MainJob, concord: Concord
) -> None:
    found = main_job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.phone is not null and g.status = 'active' and not g.deleted and not"
        " g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit 2"
    )
    first, second = (main_job.source_ids("customer", row["id"]) for row in found)
    for n, ids in enumerate((first, second)):
        main_job.edit("crm", "companies", ids["crm", "companies"], {"phone": f"020 7946 {n + 100:04d}"})
    mark = main_job.mark()

    record = f"crm/companies/{first['crm', 'companies']}"
    said = concord("sync", "--record", record, "--json")

    assert said.code == exits.DONE, said.err
    done = said.json
    assert [(s["record"], s["read"]) for s in done["steps"]] == [
        (f"crm/companies/{first['crm', 'companies']}", "changed")
    ]
    assert [(g["entity"], [c["field"] for c in g["changes"]]) for g in done["golden"]] == [("customer", ["phone"])]
    latest = {(w["system"], w["state"]) for w in done["writes"] if w["sync_id"] == done["sync_id"]}
    assert latest == {("accounting", "delivered"), ("legacy", "delivered")}
    written = main_job.written_since(mark)
    assert {s: len(w) for s, w in written.items()} == {"accounting": 1, "legacy": 1}
    assert written["legacy"][0]["new"]["client_no"] == first["legacy", "clients"]
    assert in_agreement()

    again = concord("sync", "--record", record, "--json").json
    assert again["steps"][0]["read"] == "unchanged"
    assert {s: len(w) for s, w in main_job.written_since(mark).items()} == {"accounting": 1, "legacy": 1}

    # the other one is still found by the next sync
    main_job.sync()
    assert main_job.written_since(mark)["legacy"][-1]["new"]["client_no"] == second["legacy", "clients"]
    last = main_job.sync()
    assert (last.target_writes, last.golden_versions) == (0, 0)
    assert in_agreement()


def test_a_record_brings_the_parents_that_it_needs(main_job: MainJob, concord: Concord) -> None:
    """A confirmed order of a customer whom nobody has read yet: the customer is created first, then billed."""
    sku = main_job.value("select sku from golden.product order by sku limit 1")
    with psycopg.connect(main_job.legacy_url.set(drivername="postgresql").render_as_string(False)) as legacy:
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
    mark = main_job.mark()
    said = concord("sync", "--record", "legacy/orders/SO-NEW")
    assert said.code == exits.DONE, said.out + said.err
    assert "legacy/clients/C-NEW (it is referred to)" in said.out
    accounting = [w["path"] for w in main_job.written_since(mark)["accounting"]]
    assert [p.rsplit("/", 1)[-1] for p in accounting if p.endswith(("Contacts", "Invoices"))][:1] == ["Contacts"]
    assert in_agreement()
    main_job.sync()
    last = main_job.sync()
    assert (last.target_writes, last.golden_versions) == (0, 0)
    assert in_agreement()


def test_what_a_rule_refuses_is_told(main_job: MainJob, concord: Concord) -> None:
    sku = main_job.value(
        "select p.sku from golden.product p join ops.crosswalk c on c.canonical_id = p.id and c.system = 'legacy'"
        " and c.ended_at is null order by 1 limit 1"
    )
    main_job.edit_legacy("products", sku, {"unit_price": "not a price"})
    mark = main_job.mark()
    said = concord("sync", "--record", f"legacy/products/{sku}")
    assert "! " in said.out
    assert "concord quarantine list" in said.out
    assert main_job.written_since(mark) == {}
    assert in_agreement()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--record", "crm"), exits.REFUSED, "expected SYSTEM/STREAM/ID"),
        (("--record", "crm/compnies/1"), exits.REFUSED, "did you mean companies?"),
        (("--record", "legacy/order_lines/1"), exits.NEEDS_A_PERSON, "name the record they belong to"),
        (("product-prices", "--record", "crm/companies/1"), exits.REFUSED, "product-prices moves product"),
        (("--record", "crm/companies/1", "--full"), exits.REFUSED, "have no meaning with it"),
    ],
    ids=["no record", "no stream", "a part of another", "another integration", "with full"],
)
def test_what_cannot_be_synced_by_itself_is_refused(
    main_job: MainJob, concord: Concord, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = concord("sync", *arguments)
    assert said.code == code
    assert words in said.err


def test_a_record_that_its_system_does_not_know_is_told(main_job: MainJob, concord: Concord) -> None:
    said = concord("sync", "--record", "crm/companies/999999999999")
    assert said.code == exits.NEEDS_A_PERSON
    assert "does not know it" in said.out
