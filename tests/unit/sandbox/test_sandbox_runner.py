"""The whole sandbox in a process of its own: comes up, keeps its state, cuts connections for real, stops cleanly."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import openpyxl
import pytest

from sandbox import legacy
from sandbox.http_sources import start_sources
from sandbox.runner import Running, start
from sandbox.workbook import set_cell
from staging.embedded import EmbeddedServer, admin_connection, create_database


@pytest.fixture(scope="module")
def legacy_url(embedded_server: EmbeddedServer) -> str:
    name = f"legacy_{uuid.uuid4().hex[:8]}"
    with admin_connection(embedded_server) as connection:
        create_database(connection, name)
    return embedded_server.url("owner", name).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def running(state_dir: Path, legacy_url: str) -> Iterator[Running]:
    with start(state_dir, legacy_url, scale=0.03) as running:
        yield running


def test_all_systems_answer_with_what_the_truth_counts(running: Running, legacy_url: str) -> None:
    counts = running.truth()["counts"]
    crm = httpx.get(f"{running.crm_url}/_sandbox/state").json()["records"]
    deleted = [one for one in running.truth()["deleted"] if one["system"] == "crm"]
    assert crm["companies"] == counts["crm"]["companies"] - sum(one["stream"] == "companies" for one in deleted)
    assert httpx.get(f"{running.accounting_url}/_sandbox/state").json()["records"] == counts["accounting"]
    warehouse = {f"warehouse.{table}": count for table, count in counts["warehouse"].items()}
    assert legacy.counts(legacy_url) == {"jobs": 0, **counts["legacy"], **warehouse}
    assert httpx.post(running.slack_webhook, json={"text": "up"}).text == "ok"


def test_an_edit_in_the_legacy_database_moves_its_mark_and_is_noted(running: Running, legacy_url: str) -> None:
    order = running.truth()["paid_unmarked"][0]
    assert legacy.changes(legacy_url) == []
    assert legacy.edit(legacy_url, "orders", [order], {"paid_flag": "Y"}) == 1
    (change,) = legacy.changes(legacy_url)
    assert (change["tbl"], change["old"]["paid_flag"], change["new"]["paid_flag"]) == ("orders", "N", "Y")
    assert change["new"]["last_changed"] > change["old"]["last_changed"]
    legacy.edit(legacy_url, "orders", [order], {"paid_flag": "Y"})
    assert legacy.changes(legacy_url)[-1]["new"]["last_changed"] == change["new"]["last_changed"]


def test_workbooks_have_their_human_dirt(running: Running) -> None:
    prices = openpyxl.load_workbook(Path(running.workbook_dir) / "prices.xlsx")["Prices"]
    rows = list(prices.iter_rows(values_only=True))
    assert rows[0][1] is None
    assert rows[1][:3] == ("SKU", "Description", "List price")
    skus = [row[0] for row in rows[2:] if row[0] is not None]
    assert any(isinstance(one, int) for one in skus)
    assert any(isinstance(one, str) and one.startswith("0") for one in skus)
    people = openpyxl.load_workbook(Path(running.workbook_dir) / "contacts.xlsx")["People"]
    assert any(isinstance(row[4], int) for row in people.iter_rows(values_only=True))
    assert (Path(running.workbook_dir) / "csv" / "contacts.csv").read_bytes().startswith(b"\xef\xbb\xbfRef;Name")


def test_a_cell_is_changed_as_a_person_does(running: Running) -> None:
    path = Path(running.workbook_dir) / "contacts.xlsx"
    set_cell(path, "P-0001", "Company", "Renamed Ltd")
    row = next(row for row in openpyxl.load_workbook(path)["People"].iter_rows(values_only=True) if row[0] == "P-0001")
    assert row[2] == "Renamed Ltd"
    with pytest.raises(KeyError, match="no row"):
        set_cell(path, "P-9999", "Company", "x")


@pytest.mark.parametrize(
    ("kind", "error"), [("reset_after", httpx.ReadError), ("truncated", httpx.RemoteProtocolError)]
)
def test_connections_are_really_cut(running: Running, kind: str, error: type[Exception]) -> None:
    httpx.post(f"{running.crm_url}/_sandbox/fault", json={"kind": kind})
    with pytest.raises(error):
        httpx.get(
            f"{running.crm_url}/crm/v3/objects/companies", headers={"authorization": f"Bearer {running.tokens['crm']}"}
        )


def test_state_survives_a_kill_and_is_not_seeded_again(running: Running, state_dir: Path, legacy_url: str) -> None:
    headers = {"authorization": f"Bearer {running.tokens['crm']}"}
    path = "/crm/v3/objects/companies"
    made = httpx.post(f"{running.crm_url}{path}", json={"properties": {"name": "Kept"}}, headers=headers).json()
    truth = running.truth()
    rows = legacy.counts(legacy_url)
    running.process.kill()
    running.process.wait()
    with start(state_dir, legacy_url, scale=0.05, seed=99) as again:
        found = httpx.get(f"{again.crm_url}{path}/{made['id']}", headers=headers)
        assert found.status_code == 200
        assert again.truth() == truth
        assert legacy.counts(legacy_url) == rows
    assert again.process.returncode == 0


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = "import sys, os, signal; from sandbox.runner import start; running = start(sys.argv[1], scale=0.03);"
    program += "print(running.crm_url, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False
    )
    url = done.stdout.strip()
    assert url.startswith("http://127.0.0.1:")
    for _ in range(100):
        try:
            httpx.get(f"{url}/_sandbox/state")
        except httpx.TransportError:
            return
        time.sleep(0.1)
    pytest.fail("the sandbox is still there")


def test_trouble_at_the_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="scale: expected"):
        start(tmp_path / "new", scale=0.001)


def test_benchmark_sources_serve_every_record_and_change_some() -> None:
    with start_sources(2_500, sources=2, page_size=1_000) as sources:
        first = list(_all(sources.urls[0]))
        assert len(first) == 1_250
        assert len({one["id"] for url in sources.urls for one in _all(url)}) == 2_500
        assert httpx.post(f"{sources.urls[0]}/change?percent=2").json() == {"changed": 25}
        assert sum(old != new for old, new in zip(first, _all(sources.urls[0]), strict=True)) == 25
        assert httpx.get(f"{sources.urls[0]}/customers?page=99").json() == {"data": [], "next": None}
        assert httpx.get(f"{sources.urls[0]}/customers?page=x").status_code == 400
    assert sources.process.returncode == 0


def _all(url: str) -> Iterator[dict[str, object]]:
    page: int | None = 1
    while page:
        answer = httpx.get(f"{url}/customers", params={"page": page, "size": 1_000}).json()
        yield from answer["data"]
        page = answer["next"]
