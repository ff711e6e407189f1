"""Running both sides, one after the other, each load in a process of its own, on one database server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

from benchmarks.load.figures import PHASES
from sandbox.http_sources import RunningSources, start_sources
from staging import migrate, model_changes
from staging.embedded import EmbeddedServer, admin_connection, create_database
from staging.engine import dispose, engine, transaction
from tasks import landscape as reading

SYSTEMS = ("north", "south", "west")
CHANGED_PERCENT = 1
TEMPLATE = "bench_template"
HERE = Path(__file__).resolve().parent
Side = Literal["concord", "concord_cold", "dlt"]
SIDES: tuple[Side, ...] = ("concord", "concord_cold", "dlt")
Tell = Callable[[str], None]


class LoadFailed(Exception):
    """A side ended with an error; the message carries what it said."""


@dataclass(frozen=True)
class Place:
    """Where a benchmark works: server, folder, declarations."""

    server: EmbeddedServer
    folder: Path

    def environment(self, side: Side, run: int) -> dict[str, str]:
        """What leads a side's process to its database."""
        name = f"bench_{side}_{run}"
        return {
            "CONCORD_HOME": str(self.folder),
            "CONCORD_DATABASE_URL": self.server.url("app", name).render_as_string(hide_password=False),
            "CONCORD_DATABASE_OWNER_URL": self.server.url("owner", name).render_as_string(hide_password=False),
            "BENCHMARK_DLT_URL": self.server.url("owner", name)
            .set(drivername="postgresql")
            .render_as_string(hide_password=False),
        }


@contextmanager
def place() -> Iterator[Place]:
    """A server of its own in a temporary folder; both go at the end."""
    folder = Path(tempfile.mkdtemp(prefix="concord-bench-"))
    folder.chmod(0o755)  # the server's own account walks through it when the benchmark runs as root
    server = EmbeddedServer(folder / "postgres")
    try:
        server.start()
        yield Place(server, folder)
    finally:
        server.destroy()
        shutil.rmtree(folder, ignore_errors=True)


def declared(folder: Path, urls: tuple[str, ...]) -> Path:
    """The benchmark's landscape with the sources' addresses."""
    made = folder / "landscape"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(HERE / "landscape", made)
    file = made / "landscape.yaml"
    text = file.read_text()
    for system, url in zip(SYSTEMS, urls, strict=True):
        text = text.replace(f"{{{system}}}", url)
    file.write_text(text)
    return made


def prepare(at: Place, landscape: Path) -> None:
    """A migrated database with the model applied, which each of Concord's runs gets a copy of."""
    with admin_connection(at.server) as connection:
        create_database(connection, TEMPLATE)
    urls = {"CONCORD_DATABASE_URL": "app", "CONCORD_DATABASE_OWNER_URL": "owner"}
    for name, role in urls.items():
        os.environ[name] = at.server.url(role, TEMPLATE).render_as_string(hide_password=False)  # type: ignore[arg-type]
    try:
        migrate.upgrade()
        model = reading.load(landscape).model
        with transaction(engine("owner")) as connection_:
            model_changes.apply(connection_, model_changes.plan_changes(connection_, model))
    finally:
        dispose()
        for name in urls:
            del os.environ[name]


def run_once(at: Place, landscape: Path, sources: RunningSources, run: int, sides: tuple[Side, ...], tell: Tell) -> Any:
    """All three loads by every side, the sides taking turns; gives side → phase → figures."""
    found: dict[str, dict[str, Any]] = {side: {} for side in sides}
    names = {side: f"bench_{side}_{run}" for side in sides}
    with ExitStack() as stack:
        with admin_connection(at.server) as connection:
            for side, name in names.items():
                create_database(connection, name, None if side == "dlt" else TEMPLATE)
                stack.callback(_drop, at.server, name)
        for phase in PHASES:
            if phase == "changed":
                change(sources.urls)
            for side in sides if run % 2 == 0 else reversed(sides):
                quiet(at.server, names[side])
                found[side][phase] = one_load(at, landscape, sources, side, run)
                tell(f"run {run + 1}, {phase}: {side} {found[side][phase]['seconds']:.2f} s")
    return found


def one_load(at: Place, landscape: Path, sources: RunningSources, side: Side, run: int) -> dict[str, Any]:
    """One load in a process of its own. Raises LoadFailed."""
    match side:
        case "dlt":
            state = at.folder / f"dlt_{run}"
            state.mkdir(exist_ok=True)
            command = ["-m", "benchmarks.load.dlt_side", str(state), *sources.urls]
        case "concord":
            command = ["-m", "benchmarks.load.concord_side", str(landscape), "--warm"]
        case "concord_cold":
            command = ["-m", "benchmarks.load.concord_side", str(landscape)]
    began = time.perf_counter()
    figures = alone(command, at.environment(side, run))
    return {**figures, "process_seconds": time.perf_counter() - began}


def alone(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Runs Python with these arguments in a process of its own; gives the JSON of its last line. Raises LoadFailed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=HERE.parent.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise LoadFailed(f"python {' '.join(command)} ended with {done.returncode}:\n{said}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def change(urls: Sequence[str], percent: float = CHANGED_PERCENT) -> None:
    """Changes this share of every source's records."""
    for url in urls:
        request = urllib.request.Request(f"{url}/change?percent={percent}", data=b"", method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own source on loopback
            answer.read()


def quiet(server: EmbeddedServer, database: str) -> None:
    """What autovacuum and the checkpointer do between two nightly loads is done before a side begins, untimed."""
    url = server.url("admin", database)
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=str(url.password), dbname=database, autocommit=True
    ) as connection:
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")


def _drop(server: EmbeddedServer, name: str) -> None:
    with admin_connection(server) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def measure(rows: int, runs: int, sides: tuple[Side, ...], tell: Tell) -> list[Mapping[str, Any]]:
    """`runs` runs over `rows` customers; one entry a run: side → phase → figures."""
    with place() as at, start_sources(rows, len(SYSTEMS)) as sources:
        landscape = declared(at.folder, sources.urls)
        prepare(at, landscape)
        return [run_once(at, landscape, sources, run, sides, tell) for run in range(runs)]
