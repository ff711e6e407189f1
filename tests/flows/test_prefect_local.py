"""The local Prefect server: started once, found again, its pages call itself, stopped with all it started."""

from __future__ import annotations

import json
import os
import stat
import urllib.request
from pathlib import Path

import httpx
import psutil
import pytest

from deployments import prefect_local
from deployments.prefect_local import LocalPrefect, PrefectUnavailable
from tests.fixtures.prefect import pages


def test_it_is_started_once_and_reused(prefect_server: LocalPrefect) -> None:
    home = Path(prefect_server.log or "").parent
    assert prefect_local.start(home) == prefect_server
    assert os.environ["PREFECT_API_URL"] == prefect_server.api_url


def test_its_pages_call_this_server(prefect_server: LocalPrefect) -> None:
    with urllib.request.urlopen(f"{prefect_server.ui_url}/ui-settings") as answer:
        assert json.load(answer)["api_url"] == prefect_server.api_url


@pytest.mark.parametrize("name", ["encryption.key", "login"])
def test_secrets_are_kept_beside_the_database_for_their_owner_alone(prefect_server: LocalPrefect, name: str) -> None:
    assert stat.S_IMODE(Path(prefect_server.log or "").with_name(name).stat().st_mode) == 0o600


def test_nobody_reads_without_logging_in(prefect_server: LocalPrefect) -> None:
    with httpx.Client(base_url=prefect_server.api_url) as stranger:
        assert stranger.get("/health").json() is True
        assert stranger.get("/admin/version").status_code == 401
        assert stranger.get("/admin/version", auth=("admin", "guess")).status_code == 401
    with pages(prefect_server) as client:
        assert client.get("/admin/version").status_code == 200


def test_a_foreign_page_changes_nothing(prefect_server: LocalPrefect) -> None:
    """Even in the browser of somebody who has logged in: it has no token, and is answered to no other origin."""
    user, _, password = (prefect_server.login or "").partition(":")
    body = {"name": "from-elsewhere"}
    with httpx.Client(base_url=prefect_server.api_url, auth=(user, password)) as browser:
        assert browser.post("/flows/", json=body).status_code == 403
        foreign = browser.get("/admin/version", headers={"Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in foreign.headers
    with pages(prefect_server) as client:
        assert client.post("/flows/", json=body).is_success


def test_it_listens_on_loopback_only(prefect_server: LocalPrefect) -> None:
    server = psutil.Process(prefect_server.pid)
    listening = [
        c for p in (server, *server.children(recursive=True)) for c in p.net_connections() if c.status == "LISTEN"
    ]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_its_clients_are_led_to_it_with_its_login(prefect_server: LocalPrefect) -> None:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        assert client.api_version()
        assert client.create_flow_from_name("made-by-a-client")


def test_a_server_named_elsewhere_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.com/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:mine")
    found = prefect_local.start(tmp_path)
    assert found == LocalPrefect("https://prefect.example.com/api", "https://prefect.example.com")
    assert not found.is_ours
    assert os.environ["PREFECT_API_AUTH_STRING"] == "me:mine"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_come_up_is_said_and_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(PrefectUnavailable, match="ended with exit code"):
        prefect_local.start(tmp_path, {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "not a url"})
    assert prefect_local.running(tmp_path) is None


def test_a_pid_that_is_another_process_by_now_is_not_ours(tmp_path: Path) -> None:
    somebody = psutil.Process(os.getppid())
    state = {"pid": somebody.pid, "born": somebody.create_time() - 1000, "port": 1, "prefect": "3"}
    (tmp_path / "server.json").write_text(json.dumps(state))
    assert prefect_local.running(tmp_path) is None
    assert prefect_local.stop(tmp_path) is False
    assert somebody.is_running()
