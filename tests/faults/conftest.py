"""Processes that are killed, and what the systems hold in the end, in a form that two runs can be compared by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from openpyxl import load_workbook

from canonical.model import Entity
from staging.crash import VARIABLE
from staging.engine import engine, transaction
from tests.fixtures.mainjob import Json, MainJob

_SYNC = """
import sys
from tasks import sync as syncs
from tasks.world import World

world = World.of(sys.argv[1])
sync_id = syncs.begin(world, "all", "incremental", started_by="a test")
done = syncs.sync(world, "all", syncs.PlainSteps(world, sync_id), sync_id=sync_id)
print(done.target_writes)
"""
_TOP = Path(__file__).resolve().parent.parent.parent
# What a system chooses by itself when it stores something, and so may differ between two runs that did the same.
_CHOSEN_BY_THE_SYSTEM = {
    "id", "createdAt", "updatedAt", "createdate", "lastmodifieddate", "hs_lastmodifieddate", "hs_object_id",
    "ContactID", "InvoiceID", "InvoiceNumber", "LineItemID", "ItemID", "PaymentID", "UpdatedDateUTC", "DateString",
    "associations", "last_changed", "archivedAt",
}  # fmt: skip
STORED = (
    ("crm", "companies"),
    ("crm", "contacts"),
    ("accounting", "contacts"),
    ("accounting", "items"),
    ("accounting", "invoices"),
    ("accounting", "payments"),
)


def plant_work(job: MainJob) -> None:
    """Something to do for every step: edits, corrections, an unauthorised edit, new records with and without anything
    that they could be recognised by, a new customer's order, an order to be billed."""
    everywhere = job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.status = 'active' and not g.deleted and not g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit 4"
    )
    *moved, edited = (job.source_ids("customer", row["id"]) for row in everywhere)
    for number, ids in enumerate(moved):
        job.edit("crm", "companies", ids["crm", "companies"], {"phone": f"020 7946 030{number}"})
    job.edit("accounting", "contacts", edited["accounting", "contacts"], {"EmailAddress": "typo@nowhere.example"})
    sku = job.value("select sku from golden.product order by sku limit 1")
    draft = job.value(
        "select o.number from golden.order o join ops.crosswalk c on c.canonical_id = o.customer and c.system ="
        " 'accounting' and c.ended_at is null where o.status = 'draft' and json_array_length(o.lines) > 0"
        " order by 1 limit 1"
    )
    job.edit_legacy("orders", draft, {"state_cd": "CONF"})
    with psycopg.connect(job.legacy_url.set(drivername="postgresql").render_as_string(False)) as legacy:
        clients = "insert into legacy.clients (client_no, company_name, fullname, vat_no, mail, status_cd, ctry,"
        legacy.execute(
            f"{clients} last_changed) values ('C-NEW', 'Quillfeather Bindery', 'Ada Quill', 'GB914223017',"
            " 'ada@quillfeather.example', 'A', 'GB', now()), ('C-BARE', 'Tallowmere Joinery', '', null, null, 'A',"
            " null, now())"
        )
        legacy.execute(
            "insert into legacy.orders (order_no, client_no, order_date, currency, state_cd, last_changed)"
            " values ('SO-NEW', 'C-NEW', '02/03/2025', 'GBP', 'CONF', now()),"
            " ('SO-BARE', 'C-BARE', '02/03/2025', 'GBP', 'CONF', now())"
        )
        legacy.execute(
            "insert into legacy.order_lines (order_no, line_no, sku, qty, shipped_qty, unit_price, vat_rate,"
            " last_changed) values ('SO-NEW', 1, %(sku)s, 2, 0, 9.5, 20, now()),"
            " ('SO-BARE', 1, %(sku)s, 1, 0, 4, 20, now())",
            {"sku": sku},
        )
    people = Path(job.sandbox.workbook_dir) / "contacts.xlsx"
    book = load_workbook(people)
    book["People"].append(("P-9001", "Ottoline Marchbanks", "", "", "+44 20 7946 0777"))
    book["People"].append(("P-9002", "Zebedee Farrow", "", "", ""))
    book.save(people)


def sync_process(job: MainJob, crash_point: str | None = None) -> subprocess.CompletedProcess[str]:
    """A sync in a process of its own, which ends at `crash_point` as if its machine had lost its power."""
    environment = {**os.environ, **job.environment, "PYTHONPATH": str(_TOP)}
    if crash_point:
        environment[VARIABLE] = crash_point
    return subprocess.run(
        [sys.executable, "-c", _SYNC, str(job.folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def end_state(job: MainJob) -> dict[str, Counter[str]]:
    """Everything that systems and golden records hold, place by place, as a multiset of comparable texts."""
    stored = {f"{s}/{t}": job.stored(s, t) for s, t in STORED}
    names = {i: doc["properties"]["name"] for i, doc in stored["crm/companies"].items()}
    for person in stored["crm/contacts"].values():
        person["companies"] = sorted(names[i] for i in person["companies"])
    held = {place: _texts(docs.values()) for place, docs in stored.items()}
    held |= {f"legacy/{table}": _texts(job.legacy_rows(table)) for table in ("clients", "orders", "order_lines")}
    with transaction(engine("app")) as conn:
        for entity in job.world.landscape.model.entities:
            rows = conn.execute(sa.text(f"select {', '.join(_own_columns(entity))} from golden.{entity.name}"))
            held[f"golden {entity.name}"] = _texts(dict(r) for r in rows.mappings())
    held["links"] = _texts(
        job.rows(
            "select entity, system, stream, is_primary, count(*) as n from ops.crosswalk where ended_at is null"
            " group by 1, 2, 3, 4"
        )
    )
    held["quarantine"] = _texts(
        job.rows("select system, stream, source_id, entity, rule, field from ops.quarantine where state = 'open'")
    )
    return held


def _own_columns(entity: Entity) -> list[str]:
    """The columns whose values do not come from ids that a system chose."""
    chosen = {("invoice", "number"), ("invoice", "lines"), ("payment", "reference")}
    names = [c for c in entity.columns if c not in entity.references and (entity.name, c) not in chosen]
    return [f'"{name}"' for name in (*names, "deleted")]


def _texts(docs: Any) -> Counter[str]:
    return Counter(json.dumps(_plain(doc), sort_keys=True, default=str) for doc in docs)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept: Json = {k: _plain(v) for k, v in value.items() if k not in _CHOSEN_BY_THE_SYSTEM}
        return kept
    return [_plain(v) for v in value] if isinstance(value, list) else value
