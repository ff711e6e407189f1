"""The embedded server: started by many at once, found again, alive after a SIGKILL, private."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from staging.embedded import EmbeddedServer, ServerStatus, admin_connection
from staging.engine import DatabaseUnavailable, database_url, engine, transaction


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    home = Path(tempfile.mkdtemp(prefix="concord-embedded-"))
    home.chmod(0o755)
    server = EmbeddedServer(home / "postgres")
    yield server
    server.destroy()
    shutil.rmtree(home, ignore_errors=True)


def start_in_another_process(home: Path) -> ServerStatus:
    return EmbeddedServer(home).start()


def setting(server: EmbeddedServer, name: str) -> object:
    with admin_connection(server) as connection:
        row = connection.execute("select current_setting(%s)", [name]).fetchone()
    return row and row[0]


def test_its_life(server: EmbeddedServer) -> None:
    assert server.status().state == "absent"
    assert server.stop() is False
    first = server.start()
    assert first.state == "running"
    assert server.start() == first, "a second start finds the first"
    assert server.stop() is True
    assert server.status().state == "stopped"
    again = server.start()
    assert again.port == first.port, "the port is remembered"
    assert setting(server, "synchronous_commit") == "on"


def test_starts_at_once_make_one_server(server: EmbeddedServer) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(start_in_another_process, [server.home] * 4)
    assert len({(status.pid, status.port) for status in found}) == 1


def test_committed_rows_survive_sigkill(server: EmbeddedServer) -> None:
    killed = server.start().pid
    assert killed
    with admin_connection(server) as connection:
        connection.execute("create table kept as select 1 as n")
    os.kill(killed, signal.SIGKILL)
    psutil.wait_procs([p for p in psutil.process_iter() if p.pid == killed], timeout=10)
    assert server.status().state == "stopped"
    assert server.start().pid != killed
    with admin_connection(server) as connection:
        assert connection.execute("select n from kept").fetchone() == (1,)


def test_pid_file_that_names_a_stranger_is_stale(server: EmbeddedServer) -> None:
    """After a reboot the old postmaster's pid may be anybody's."""
    data = server.start().data
    lines = (data / "postmaster.pid").read_text().splitlines()
    server.stop()
    (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert server.status().state == "stopped"
    assert server.start().state == "running"


def test_taken_port_is_given_up(server: EmbeddedServer) -> None:
    first = server.start().port
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        assert server.start().port != first


def test_passwords_are_private_and_needed(server: EmbeddedServer) -> None:
    server.start()
    assert stat.S_IMODE((server.home / "passwords.json").stat().st_mode) == 0o600
    url = server.url("app")
    assert url.password
    assert url.password not in str(url)
    with pytest.raises(Exception, match="password authentication failed"):
        psycopg.connect(host=url.host, port=url.port, user=url.username, password="wrong", dbname=url.database)


def test_home_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match=r"cannot use .*file/postgres"):
        EmbeddedServer(tmp_path / "file" / "postgres").start()


def test_data_of_another_version_is_refused(server: EmbeddedServer) -> None:
    data = server.start().data
    server.stop()
    (data / "PG_VERSION").write_text("16\n")
    try:
        with pytest.raises(DatabaseUnavailable, match="made by PostgreSQL 16"):
            server.start()
    finally:
        (data / "PG_VERSION").write_text("18\n")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:secret@db/x", "expected a postgresql:// URL, found mysql://"),
        ("no url at all", "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("postgresql://u:secret@127.0.0.1:1/x", "cannot reach the database 127.0.0.1:1/x as u"),
    ],
    ids=["another-database", "not-a-url", "nobody-answers"],
)
def test_bad_database_url_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str, says: str) -> None:
    monkeypatch.setenv("CONCORD_DATABASE_URL", url)
    with pytest.raises(DatabaseUnavailable) as refused, transaction(engine("app")):
        pass
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


def test_lost_connections_are_replaced(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONCORD_DATABASE_URL", "CONCORD_DATABASE_OWNER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONCORD_HOME", str(server.home.parent))
    over = engine("app")
    with transaction(over) as connection:
        connection.exec_driver_sql("select 1")
    server.stop()
    server.start()
    with transaction(over) as connection:
        assert connection.exec_driver_sql("select current_user").scalar() == "concord_app"
    assert database_url("owner").username == "concord_owner"
    over.dispose()
