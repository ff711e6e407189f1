"""Bring the sandbox up: seed it once, serve all HTTP systems from one process, and say where everything is.

From the command line `python -m sandbox up`; from tests and the demo `start(...)`, which runs that command and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from sandbox import asana, hubspot, legacy, slack, xero
from sandbox.plane import Plane, TransportProtocol
from sandbox.seed import World, build_world
from sandbox.store import Doc, Store
from sandbox.workbook import write_people, write_prices, write_staff
from sandbox.xero_documents import ID_FIELD

DEFAULT_PORTS = {"crm": 9401, "accounting": 9402, "slack": 9403, "asana": 9404}
TENANT_ID = "5b7f0c52-2a9e-4d1b-9c57-c0c0cd5a4d01"
TOKENS = {
    "crm": "pat-sandbox-crm",
    "accounting": "sandbox-ledger-token",
    "slack": "xoxb-sandbox",
    "asana": "1/sandbox:personal",
    "asana_app": "1/sandbox:app",  # of an OAuth app: it sees external data
}
WEBHOOK_PATH = "sandboxInboxSecret"  # the last part of the webhook's address
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Where:
    """Addresses, secrets and paths of a running sandbox."""

    crm_url: str
    accounting_url: str
    slack_url: str
    slack_webhook: str
    asana_url: str
    legacy_url: str
    workbook_dir: str
    state_dir: str
    truth_path: str
    tenant_id: str
    tokens: dict[str, str]


def seed_state(state_dir: Path, database_url: str | None, seed: int, scale: float) -> None:
    """Fill what was not filled before; a state that exists is left alone.

    The truth is written last: a seeding that was cut short starts again. The database's schema `legacy` belongs to the
    state: a new state replaces it, an old state without it puts it back as seeded.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    truth_path = state_dir / "truth.json"
    known = json.loads(truth_path.read_text()) if truth_path.exists() else None
    is_legacy_due = database_url is not None and (known is None or not legacy.is_seeded(database_url))
    if known is not None and not is_legacy_due:
        return
    world = build_world(known["seed"], known["scale"]) if known else build_world(seed, scale)
    if is_legacy_due and database_url is not None:
        legacy.create(database_url, world.legacy)
    if known is None:
        _seed_files(state_dir, world)
        partial = truth_path.with_suffix(".part")
        partial.write_text(json.dumps(world.truth, indent=1, default=str))
        partial.rename(truth_path)


def fill_store(store: Store, streams: Mapping[str, Sequence[Doc]]) -> None:
    """Put seeded documents into a system's store, each under its own id."""
    with store.transaction():
        for stream, docs in streams.items():
            store.put_many(stream, [(_id_of(stream, doc), doc) for doc in docs])


def _id_of(stream: str, doc: Doc) -> str:
    name = next((name for name in ("id", "gid") if name in doc), None)
    return str(doc[name or ID_FIELD[stream]])


def _seed_files(state_dir: Path, world: World) -> None:
    for system, streams in (("crm", world.crm), ("accounting", world.accounting), ("asana", world.asana)):
        for leftover in state_dir.glob(f"{system}.sqlite*"):
            leftover.unlink()
        store = Store(state_dir / f"{system}.sqlite")
        fill_store(store, streams)
        store.close()
    books = state_dir / "workbooks"
    books.mkdir(exist_ok=True)
    write_prices(books / "prices.xlsx", world.workbook["prices"])
    write_people(books / "contacts.xlsx", world.workbook["people"])
    write_staff(books / "staff.xlsx", world.workbook["staff"])


def planes(state_dir: Path) -> dict[str, Plane]:
    """The HTTP systems of a seeded state, by name."""
    return {
        "crm": hubspot.create_app(Store(state_dir / "crm.sqlite"), TOKENS["crm"]),
        "accounting": xero.create_app(Store(state_dir / "accounting.sqlite"), TOKENS["accounting"], TENANT_ID),
        "slack": slack.create_app(Store(state_dir / "slack.sqlite"), WEBHOOK_PATH, TOKENS["slack"]),
        "asana": asana.create_app(Store(state_dir / "asana.sqlite"), TOKENS["asana"], TOKENS["asana_app"]),
    }


async def serve(state_dir: Path, database_url: str | None, ports: Mapping[str, int], parent: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone. Prints a line of JSON (`Where`) when all is ready."""
    systems = planes(state_dir)
    servers: dict[str, uvicorn.Server] = {}
    found: dict[str, int] = {}
    tasks = []
    for name, plane in systems.items():
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: no Nagle delay
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", ports[name]))
        found[name] = listener.getsockname()[1]
        config = uvicorn.Config(
            plane,
            log_level="warning",
            access_log=False,
            lifespan="off",
            http=TransportProtocol,
            timeout_keep_alive=75,
            date_header=False,  # the plane's own: a system's clock may be off
        )
        servers[name] = _Server(config)
        tasks.append(asyncio.create_task(servers[name].serve([listener])))

    def stop() -> None:
        for server in servers.values():
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    while not all(server.started for server in servers.values()):
        await asyncio.sleep(0.01)
    print(json.dumps(asdict(where(state_dir, database_url, found))), flush=True)
    watch = asyncio.create_task(_parent_gone(parent, stop)) if parent else None
    await asyncio.gather(*tasks)
    if watch is not None:
        watch.cancel()
    for plane in systems.values():
        plane.parts.store.close()


async def _parent_gone(parent: int, stop: Callable[[], None]) -> None:
    """Stop when the process that started us is no longer our parent: it was killed and could not say so."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    stop()


class _Server(uvicorn.Server):
    """A server among several on one loop: signals are handled once, for all of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave the signals to `serve`."""
        yield


def where(state_dir: Path, database_url: str | None, ports: Mapping[str, int]) -> Where:
    """Where everything of this sandbox is."""
    slack_url = f"http://127.0.0.1:{ports['slack']}"
    return Where(
        crm_url=f"http://127.0.0.1:{ports['crm']}",
        accounting_url=f"http://127.0.0.1:{ports['accounting']}",
        slack_url=slack_url,
        slack_webhook=f"{slack_url}/services/T000/B000/{WEBHOOK_PATH}",
        asana_url=f"http://127.0.0.1:{ports['asana']}",
        legacy_url=database_url or "",
        workbook_dir=str(state_dir / "workbooks"),
        state_dir=str(state_dir),
        truth_path=str(state_dir / "truth.json"),
        tenant_id=TENANT_ID,
        tokens=dict(TOKENS),
    )


@dataclass(frozen=True)
class Running(Where):
    """A sandbox in a process of its own. Use it as a context manager, or call `stop`."""

    process: subprocess.Popen[str]

    def truth(self) -> dict[str, Any]:
        """What is true about the seeded records; see `seed`."""
        found: dict[str, Any] = json.loads(Path(self.truth_path).read_text())
        return found

    def stop(self, wait_seconds: float = 10.0) -> None:
        """End the process; its state stays."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(wait_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    state_dir: Path | str,
    database_url: str | None = None,
    ports: Mapping[str, int] | None = None,
    scale: float = 1.0,
    seed: int = 7,
    outlives_us: bool = False,
) -> Running:
    """Start the sandbox in a process of its own and wait until it answers. `ports` None or 0: free ones.

    It ends when this process ends, however that happens, unless it `outlives_us`.
    Raises RuntimeError with the process's own words when it does not come up.
    """
    state_dir = Path(state_dir).resolve()
    chosen = dict.fromkeys(DEFAULT_PORTS, 0) | dict(ports or {})
    command = [sys.executable, "-m", "sandbox", "up", "--state", str(state_dir)]
    command += ["--seed", str(seed), "--scale", str(scale)]
    for name, port in chosen.items():
        command += [f"--{name}-port", str(port)]
    state_dir.mkdir(parents=True, exist_ok=True)
    log_path = state_dir / "sandbox.log"
    if not outlives_us:
        command += ["--parent", str(os.getpid())]
    environment = {**_environment(), **({"SANDBOX_DATABASE_URL": database_url} if database_url else {})}
    root = Path(__file__).resolve().parent.parent
    with log_path.open("a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=root, env=environment, start_new_session=True
        )
    line = _first_line(process)
    if not line:
        process.kill()
        process.communicate()
        raise RuntimeError(f"the sandbox did not come up: {log_path.read_text()[-2_000:]}")
    return Running(**json.loads(line), process=process)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "SANDBOX_DATABASE_URL"}


def _first_line(process: subprocess.Popen[str]) -> str:
    """The line of JSON that says ready, or nothing when the process ended or the time is up."""
    if process.stdout is None:
        return ""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.2)[0]:
            return process.stdout.readline()
        if process.poll() is not None:
            return ""
    return ""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for. parent: end with this process."""

    state_dir: Path
    database_url: str | None
    ports: Mapping[str, int]
    seed: int
    scale: float
    parent: int | None


def run(asked: Asked) -> None:
    """Seed if new, then serve in the foreground."""
    seed_state(asked.state_dir, asked.database_url, asked.seed, asked.scale)
    asyncio.run(serve(asked.state_dir.resolve(), asked.database_url, asked.ports, asked.parent))
