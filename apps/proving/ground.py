"""Proving ground: a PostgreSQL server, twins of the systems and a landscape of their own, in one folder.

What they came to is kept as a `Snapshot`: two databases that nobody is connected to and a folder of stores. A copy of
one costs about two seconds: databases are copied as files, the stores as a folder.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import sqlite3
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.proving.nursery import Nursery
from apps.proving.twins import Twins
from staging import migrate
from staging.embedded import EmbeddedServer, admin_connection, create_database, drop_database
from staging.engine import dispose, engine, transaction
from staging.model_changes import apply, plan_changes

if TYPE_CHECKING:
    from canonical.landscape import Landscape
    from sandbox.runner import Running

Json = dict[str, Any]
SEED = 7
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Snapshot:
    """What a copy came to, standing still."""

    concord: str
    legacy: str
    state: Path


@dataclass(frozen=True)
class Mark:
    """How far every system's log had come at some moment."""

    requests: dict[str, int]
    legacy: int


@dataclass
class Copy:
    """A running copy: twins, a landscape that names them, a database. Its variables are this process's, too."""

    folder: Path
    twins: Twins
    sandbox: Running
    nursery: Nursery
    environment: dict[str, str]
    database: str
    legacy_database: str
    legacy_url: str
    _landscape: list[Landscape] = field(default_factory=list)

    @property
    def declarations(self) -> Path:
        """The folder of this copy's landscape."""
        return self.folder / "landscape"

    @property
    def landscape(self) -> Landscape:
        """The landscape as it stood when it was first asked for."""
        from tasks import landscape

        if not self._landscape:
            self._landscape.append(landscape.load(self.declarations))
        return self._landscape[0]

    def rows(self, query: str, *values: Any) -> list[Json]:
        """Rows of our database, as the app role."""
        with transaction(engine("app")) as conn:
            return [dict(row) for row in conn.exec_driver_sql(query, values).mappings()]

    def edit(self, system: str, stream: str, record_id: str, fields: Json) -> Json:
        """A person's edit in a system's own screen; it is no request."""
        edited = {"stream": stream, "id": record_id, "fields": fields}
        return call(f"{self.twins.url(system, self.sandbox)}/_sandbox/edit", "POST", edited)

    def create(self, system: str, path: str, body: Json) -> Json:
        """A new record by a user of the system: a request like any other, with a token."""
        token = self.sandbox.tokens[self.twins.http[system]]
        headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        return call(self.twins.url(system, self.sandbox) + path, "POST", body, headers)

    def fault(self, system: str, **fault: Any) -> None:
        """Plants a fault in a system's twin (kinds and schedules: sandbox/README.md)."""
        call(f"{self.twins.url(system, self.sandbox)}/_sandbox/fault", "POST", fault)

    def stored(self, system: str, stream: str) -> dict[str, Json]:
        """The documents that a twin holds, by id, straight from its store."""
        with closing(
            sqlite3.connect(f"file:{self.sandbox.state_dir}/{self.twins.http[system]}.sqlite?mode=ro", uri=True)
        ) as store:
            rows = store.execute("select id, doc from record where stream = ?", [stream])
            return {record_id: json.loads(doc) for record_id, doc in rows}

    def edit_legacy(self, table: str, key: str, fields: Json) -> None:
        """A person's edit of one row of the order database. Raises KeyError."""
        from sandbox import legacy

        if legacy.edit(self.legacy_url, table, [key], fields) != 1:
            raise KeyError(f"{table}: no row {key!r}")

    def add_legacy(self, table: str, fields: Json) -> None:
        """A person's new row in the order database."""
        from sandbox import legacy

        legacy.add(self.legacy_url, table, fields)

    def legacy_rows(self, table: str) -> list[Json]:
        """The rows of a table of the order database, without the change mark."""
        from sandbox import legacy

        return [{k: v for k, v in row.items() if k != "last_changed"} for row in legacy.rows(self.legacy_url, table)]

    def mark(self) -> Mark:
        """Where the systems' logs stand now."""
        from sandbox import legacy

        last = {name: self._last_request(name) for name in self.twins.http}
        changes = legacy.changes(self.legacy_url) if self.twins.databases else []
        return Mark(last, max((int(c["id"]) for c in changes), default=0))

    def written_since(self, mark: Mark) -> dict[str, int]:
        """System → how many writes it received since the mark; systems without any are left out."""
        from sandbox import legacy

        found = {name: len(self.requests(name, since, writes=True)) for name, since in mark.requests.items()}
        if self.twins.databases:
            found["legacy"] = len(legacy.changes(self.legacy_url, mark.legacy))
        return {name: count for name, count in found.items() if count}

    def requests(self, system: str, since: int = 0, *, writes: bool) -> list[Json]:
        """The requests that a twin received after the one of this number."""
        query = f"since={since}" + ("&writes=1" if writes else "")
        return list(call(f"{self.twins.url(system, self.sandbox)}/_sandbox/requests?{query}", "GET")["requests"])

    def _last_request(self, system: str) -> int:
        return int(call(f"{self.twins.url(system, self.sandbox)}/_sandbox/state", "GET")["requests"]["last_id"])


def call(url: str, method: str, body: Json | None = None, headers: Mapping[str, str] | None = None) -> Json:
    """A request to a twin; its JSON."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310  our own loopback
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        found: Json = json.loads(answer.read() or b"{}")
        return found


@contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """These variables of the environment within the block, and what was there afterwards."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class GroundBusy(Exception):
    """Another process works on this ground."""


class Ground:
    """One server and everything on it, below `home`. Use it as a context manager: what it started is stopped."""

    def __init__(self, home: Path, twins: Twins, scale: float) -> None:
        self.home, self.twins, self.scale = home, twins, scale
        self.server = EmbeddedServer(home / "postgres")
        self.nursery = Nursery()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Ground:
        """Raises GroundBusy where somebody else is at it: beginning anew would end what that one started."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.home.with_name(f"{self.home.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise GroundBusy(f"another process is at work in {self.home}") from None
        self.clear()
        self.home.mkdir(parents=True, mode=0o755)
        self.nursery.open()
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.nursery.close()
        dispose()
        self.clear()
        os.close(self._lock)

    def clear(self) -> None:
        """Ends what stands here and removes it."""
        self.server.destroy()
        shutil.rmtree(self.home, ignore_errors=True)

    @contextmanager
    def begun(self) -> Iterator[Copy]:
        """Twins as they are seeded, a migrated database with the landscape's model, nothing read yet."""
        with self._running(None) as copy:
            with variables(copy.environment):
                migrate.upgrade(engine("owner"), app_role=self.server.url("app").username)
                with transaction(engine("owner")) as conn:
                    model = copy.landscape.model
                    apply(conn, plan_changes(conn, model), str(self.server.url("app").username))
            yield copy

    @contextmanager
    def copy_of(self, taken: Snapshot, *, is_kept: bool = False, asks_oauth: bool = False) -> Iterator[Copy]:
        """A running copy; it is gone afterwards, unless it is kept to become a snapshot itself. asks_oauth: its ledger
        lets nobody in by a fixed token."""
        with self._running(taken, asks_oauth=asks_oauth) as copy:
            yield copy
        if is_kept:
            return
        with closing(admin_connection(self.server)) as admin:
            for name in (copy.database, copy.legacy_database):
                drop_database(admin, name)
        shutil.rmtree(copy.folder, ignore_errors=True)

    @contextmanager
    def with_defect(self, module: str) -> Iterator[None]:
        """Workers started within the block have imported this module: a proof of the proof itself."""
        sound, self.nursery = self.nursery, Nursery(also=module)
        self.nursery.open()
        try:
            yield
        finally:
            self.nursery.close()
            self.nursery = sound

    def restart_database(self) -> None:
        """Stops the server as if its machine had lost its power, and starts it again; returns when it answers."""
        self.server.stop(mode="immediate")
        self.server.start()

    @staticmethod
    def snapshot(copy: Copy) -> Snapshot:
        """What a copy that has been stopped came to."""
        return Snapshot(copy.database, copy.legacy_database, copy.folder / "state")

    @contextmanager
    def _running(self, taken: Snapshot | None, *, asks_oauth: bool = False) -> Iterator[Copy]:
        from sandbox import runner

        number = next(self._numbers)
        own, theirs = f"copy_{number}", f"copy_{number}_legacy"
        with closing(admin_connection(self.server)) as admin:
            create_database(admin, own, taken.concord if taken else None)
            create_database(admin, theirs, taken.legacy if taken else None)
        folder = self.home / "copies" / str(number)
        if taken is not None:
            shutil.copytree(taken.state, folder / "state")
        legacy_url = self.server.url("owner", theirs)
        plain = legacy_url.set(drivername="postgresql").render_as_string(hide_password=False)
        sandbox = runner.start(folder / "state", plain, scale=self.scale, seed=SEED)
        environment = {
            "CONCORD_HOME": str(self.home),
            "CONCORD_DATABASE_URL": self.server.url("app", own).render_as_string(hide_password=False),
            "CONCORD_DATABASE_OWNER_URL": self.server.url("owner", own).render_as_string(hide_password=False),
            **self.twins.secrets(sandbox, legacy_url.render_as_string(hide_password=False)),
        }
        try:
            self.twins.write_landscape(folder / "landscape", sandbox, asks_oauth=asks_oauth)
            with variables(environment):
                try:
                    yield Copy(folder, self.twins, sandbox, self.nursery, environment, own, theirs, plain)
                finally:
                    dispose()
        finally:
            sandbox.stop()
