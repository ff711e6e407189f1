"""The local Prefect server: started once, found again, its pages call itself, stopped with all it started."""

from __future__ import annotations

import json
import os
import stat
import urllib.request
from pathlib import Path

import psutil
import pytest

from deployments import prefect_local
from deployments.prefect_local import LocalPrefect, PrefectUnavailable


def test_it_is_started_once_and_reused(prefect_server: LocalPrefect) -> None:
    home = Path(prefect_server.log or "").parent
    assert prefect_local.start(home) == prefect_server
    assert os.environ["PREFECT_API_URL"] == prefect_server.api_url


def test_its_pages_call_this_server(prefect_server: LocalPrefect) -> None:
    with urllib.request.urlopen(f"{prefect_server.ui_url}/ui-settings") as answer:
        assert json.load(answer)["api_url"] == prefect_server.api_url


def test_secrets_are_not_kept_with_their_key(prefect_server: LocalPrefect) -> None:
    key = Path(prefect_server.log or "").with_name("encryption.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_server_named_elsewhere_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.com/api")
    found = prefect_local.start(tmp_path)
    assert found == LocalPrefect("https://prefect.example.com/api", "https://prefect.example.com")
    assert not found.is_ours
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
