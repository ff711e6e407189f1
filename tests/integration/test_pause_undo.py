"""Pauses that claims heed at once, and runs that are undone as far as they still stand there (DESIGN 9.15)."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from apps import exits
from staging import pauses
from tasks.deliver import deliver
from tests.fixtures.badsource import page, record
from tests.fixtures.bench import Bench
from tests.fixtures.mainjob import MainJob
from tests.fixtures.outside import in_agreement
from tests.fixtures.said import Concord

pytestmark = pytest.mark.slow

CLAIMS_STOP_SECONDS = 5.0


def known_everywhere(job: MainJob, number: int) -> list[dict[tuple[str, str], str]]:
    found = job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.phone is not null and g.status = 'active' and not g.deleted and not"
        " g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit :n",
        n=number,
    )
    return [job.source_ids("customer", row["id"]) for row in found]


def call_them(job: MainJob, customers: list[dict[tuple[str, str], str]]) -> None:
    for n, ids in enumerate(customers):
        job.edit("crm", "companies", ids["crm", "companies"], {"phone": f"020 7946 {n + 100:04d}"})


def desk_phone(job: MainJob, ids: dict[tuple[str, str], str]) -> str:
    [row] = [r for r in job.legacy_rows("clients") if r["client_no"] == ids["legacy", "clients"]]
    return str(row["tel"])


def books_phone(job: MainJob, ids: dict[tuple[str, str], str]) -> str:
    phones = job.stored("accounting", "contacts")[ids["accounting", "contacts"]]["Phones"]
    [phone] = [p for p in phones if p["PhoneType"] == "DEFAULT"]
    return "".join(phone.get(part, "") for part in ("PhoneCountryCode", "PhoneAreaCode", "PhoneNumber"))


# --------------------------------------------------------------------------------------------------------------- pause


def test_a_running_delivery_stops_claiming_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty creates, one by one; the pause comes in the middle."""
    answer, sent = bench.source.answer, threading.Event()

    def slowly(method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        if method == "POST":
            sent.set()
            time.sleep(0.1)
        return answer(method, target, body)

    bench.source.pages = [page(*(record(id=f"R{n:02d}", name=f"Name {n}", note=f"N{n}") for n in range(60)))]
    with bench.world.transaction() as conn:
        pauses.pause(conn, "system:books", by="ada", reason="stocktaking")
    bench.sync()
    assert bench.rows("select 1 from ops.outbox") == []
    with bench.world.transaction() as conn:
        assert pauses.resume(conn, "system:books", by="ada", reason="counted")
    bench.source.answer = slowly  # type: ignore[method-assign]
    monkeypatch.setattr("tasks.sync.deliver", lambda *_: pytest.fail("not yet"), raising=True)
    with pytest.raises(BaseException, match="not yet"):
        bench.sync()
    worker = threading.Thread(target=deliver, args=(bench.world, ("bookings-to-books",)))
    worker.start()
    assert sent.wait(20)
    with bench.world.transaction() as conn:
        pauses.pause(conn, "system:books", by="ada", reason="stocktaking again")
    at = time.monotonic()
    worker.join(20)
    assert time.monotonic() - at < CLAIMS_STOP_SECONDS
    states = {r["state"]: r["n"] for r in bench.rows("select state, count(*) as n from ops.outbox group by 1")}
    assert states["delivered"] < 40
    assert states["delivered"] + states["ready"] == 60
    assert len(bench.source.ledger) == states["delivered"]
    with bench.world.transaction() as conn:
        pauses.resume(conn, "system:books", by="ada", reason="counted")
    deliver(bench.world, ("bookings-to-books",))
    assert len(bench.source.ledger) == 60
    assert in_agreement()


def test_a_pause_ends_by_its_time(bench: Bench) -> None:
    bench.source.pages = [page(record(id="A", name="one"))]
    with bench.world.transaction() as conn:
        until = datetime.now(UTC) + timedelta(hours=1)
        pauses.pause(conn, "integration:bookings-to-books", by="ada", reason="lunch", until=until)
    first = bench.sync()
    assert (first.target_writes, len(first.paused)) == (0, 1)
    with bench.world.transaction() as conn:
        conn.execute(sa.text("update ops.pause set until = now()"))
    second = bench.sync()
    assert (second.target_writes, second.paused) == (1, [])
    [row] = bench.rows("select ended_by, ended_because from ops.pause")
    assert row == {"ended_by": "concord", "ended_because": "its time was over"}


def test_a_paused_integration_reads_and_matches_and_tells_nobody(main_job: MainJob, concord: Concord) -> None:
    [ids] = known_everywhere(main_job, 1)
    said = concord(
        "pause", "customer-details", "--because", "the vendor moves house", "--until", "2h", "--by", "order-desk"
    )
    assert said.code == exits.DONE, said.err
    mark = main_job.mark()
    call_them(main_job, [ids])
    done = main_job.sync()
    assert main_job.written_since(mark) == {}
    assert done.golden_versions == 1, "golden records stay current"
    assert "the vendor moves house" in done.paused[0]
    shown = concord("status")
    assert "paused: integration customer-details, by order-desk" in shown.out
    assert "1 write waits" in shown.out or "writes wait behind it" in shown.out
    planned = concord("plan", "customer-details", "--save", "--json").json
    assert {t["verdict"] for t in planned["targets"]} == {"paused"}
    refused = concord("apply", str(planned["saved_plan_id"]), "--yes")
    assert refused.code == exits.NEEDS_A_PERSON
    assert "is paused by order-desk" in refused.out
    assert concord("resume", "customer-details").code == exits.DONE
    assert "nothing to do" in concord("resume", "customer-details").err
    main_job.sync()
    assert set(main_job.written_since(mark)) == {"accounting", "legacy"}
    assert in_agreement()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("customer-detail", "--because", "why not"), "did you mean customer-details?"),
        (("accounting", "--because", "x"), "say why"),
        (("accounting", "--because", "because", "--until", "yesterday"), "expected 2h"),
        (("accounting", "--because", "because", "--until", "2020-01-01"), "is over already"),
    ],
    ids=["unknown", "no reason", "no time", "a time that is over"],
)
def test_a_pause_that_makes_no_sense_is_refused(
    main_job: MainJob, concord: Concord, arguments: tuple[str, ...], said: str
) -> None:
    found = concord("pause", *arguments)
    assert found.code == exits.REFUSED
    assert said in found.err


# ---------------------------------------------------------------------------------------------------------------- undo


def test_what_a_run_changed_is_set_back_and_not_done_again(main_job: MainJob, concord: Concord) -> None:
    first, second = known_everywhere(main_job, 2)
    before = [(desk_phone(main_job, c), books_phone(main_job, c)) for c in (first, second)]
    call_them(main_job, [first, second])
    done = main_job.sync()
    assert desk_phone(main_job, first) == "+442079460100"
    main_job.edit_legacy("clients", second["legacy", "clients"], {"tel": "+442079460999"})  # moved on
    refused = concord("undo", str(done.sync_id), "--because", "wrong list")
    assert refused.code == exits.REFUSED

    said = concord("undo", str(done.sync_id), "--because", "wrong list", "--by", "order-desk", "--yes", "--json")

    assert said.code == exits.NEEDS_A_PERSON, "something was left alone"
    found = said.json
    assert [(k["system"], k["field"]) for k in found["left_alone"]] == [("legacy", "tel")]
    assert "somebody has changed it" in found["left_alone"][0]["because"]
    assert (found["integrations"], found["target_writes"]) == (["customer-details"], 3)
    assert (desk_phone(main_job, first), books_phone(main_job, first)) == before[0]
    assert books_phone(main_job, second) == before[1][1]
    assert desk_phone(main_job, second) == "+442079460999"
    assert in_agreement()

    mark = main_job.mark()
    quiet = main_job.sync()
    assert main_job.written_since(mark) == {}
    assert quiet.target_writes == 0
    assert f"undone: sync {done.sync_id} (wrong list)" in concord("status").out
    golden = main_job.golden_id("customer", "crm", "companies", first["crm", "companies"])
    story = concord("explain", "customer", golden, "--json").json
    assert {w["because"] for w in story["writes"][-2:]} == {f"undoes sync {done.sync_id}"}
    again = concord("undo", str(done.sync_id), "--because", "wrong list", "--yes")
    assert "nothing is left" in again.out

    # the cause is corrected, the integration goes on: what the CRM says now is written, once
    main_job.edit("crm", "companies", first["crm", "companies"], {"phone": "020 7946 0777"})
    concord("resume", "customer-details", "--because", "the list is right now")
    main_job.sync()
    assert desk_phone(main_job, first) == "+442079460777"
    assert books_phone(main_job, second) == "+442079460101", "what the CRM still says is written again"
    last = main_job.sync()
    assert (last.target_writes, last.golden_versions) == (0, 0)
    assert in_agreement()


def test_what_a_run_created_is_archived(main_job: MainJob, concord: Concord) -> None:
    made = main_job.call(
        "crm", "POST", "/crm/v3/objects/companies",
        {"properties": {"name": "Quillfeather Bindery", "vat_number": "GB914223017", "hs_lead_status": "CUSTOMER",
                        "email": "desk@quillfeather.example", "country": "GB"}},
    )  # fmt: skip
    done = main_job.sync()
    ids = main_job.source_ids("customer", main_job.golden_id("customer", "crm", "companies", made["id"]))
    contact = ids["accounting", "contacts"]
    assert main_job.stored("accounting", "contacts")[contact]["ContactStatus"] == "ACTIVE"
    said = concord("undo", str(done.sync_id), "--because", "a test customer", "--yes", "--json")
    assert [w["op"] for w in said.json["writes"] if w["system"] == "accounting"] == ["archive"]
    assert main_job.stored("accounting", "contacts")[contact]["ContactStatus"] == "ARCHIVED"
    assert in_agreement()
    mark = main_job.mark()
    main_job.sync()
    assert main_job.written_since(mark) == {}


def test_what_a_run_archived_is_brought_back_where_the_system_can(main_job: MainJob, concord: Concord) -> None:
    marked = 'archive: {column: deleted_flag, value: "Y"'
    main_job.replace_in("landscape.yaml", marked, f'{marked}, live: "N"')
    [ids] = known_everywhere(main_job, 1)
    main_job.call("crm", "DELETE", f"/crm/v3/objects/companies/{ids['crm', 'companies']}")
    done = main_job.sync()

    def flag() -> str:
        rows = {r["client_no"]: r["deleted_flag"] for r in main_job.legacy_rows("clients")}
        return str(rows[ids["legacy", "clients"]])

    assert flag() == "Y"
    said = concord("undo", str(done.sync_id), "--because", "deleted by mistake", "--yes", "--json")
    assert [w["op"] for w in said.json["writes"] if w["system"] == "legacy"] == ["restore"]
    assert {k["because"] for k in said.json["left_alone"] if k["system"] == "accounting"} == {
        "it was archived there: reopen it by hand, nothing of ours can"
    }
    assert flag() == "N"
    assert in_agreement()
    mark = main_job.mark()
    main_job.sync()
    assert "legacy" not in main_job.written_since(mark)


def test_an_undo_is_braked_and_its_asker_does_not_let_it_go(
    main_job: MainJob, concord: Concord, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = known_everywhere(main_job, 4)
    call_them(main_job, customers)
    done = main_job.sync()
    main_job.replace_in("landscape.yaml", '{changes: "max(700, 60%)"', '{changes: "max(3, 1%)"')
    mark = main_job.mark()
    said = concord("undo", str(done.sync_id), "--because", "wrong list", "--by", "order-desk", "--yes", "--json")
    assert said.json["held"] == 8
    assert main_job.written_since(mark) == {}
    main_job.sync()
    assert main_job.value("select count(*) from ops.outbox where state = 'held' and because like 'undoes%'") == 8
    holds = concord("holds", "list", "--json").json["entries"]
    mine = [h for h in holds if h["requested_by"] == "order-desk"]
    assert len(mine) == 2
    decide = ("holds", "approve", str(mine[0]["id"]), "--reason", "as agreed", "--yes", "--by")
    assert "somebody else must approve" in concord(*decide, "order-desk").err
    assert concord(*decide, "integration-owner").code == exits.DONE
    concord("deliver")
    assert len(main_job.written_since(mark)) == 1
    assert in_agreement()


def test_an_unknown_run_is_refused(main_job: MainJob, concord: Concord) -> None:
    assert concord("undo", "4711", "--because", "why not", "--yes").code == exits.REFUSED
