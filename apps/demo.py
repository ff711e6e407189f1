"""The demo's house: systems on loopback, a database and a Prefect server of its own, all under `.concord/demo`.

Nothing of it touches what you work with: it has its own Concord home, so its own embedded cluster and Prefect.

    .concord/demo/
        landscapes/demo/   deployments/demo with the addresses that were free
        sandbox/           the state of the business systems, and truth.json
        postgres/  prefect/  docs/  log/
        running.json       while the demo is kept up: where everything is (readable by its owner alone)
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.runner import Running

DATABASE = "sandbox"
"""The legacy system's own database in the demo's cluster."""
PLACES = ("CONCORD_HOME", "CONCORD_LANDSCAPE", "CONCORD_DATABASE_URL", "CONCORD_DATABASE_OWNER_URL", "PREFECT_API_URL")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Kept:
    """A demo that is up."""

    home: str
    landscape: str
    pid: int
    born: float
    """When the sandbox's process began: its number alone may be another's by now."""
    started_at: str
    environment: dict[str, str]
    """The systems' addresses and secrets, as the landscape names them."""
    links: dict[str, str]

    @property
    def is_alive(self) -> bool:
        import psutil

        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.born) < 1 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def home() -> Path:
    """The demo's own Concord home, under the one that is in use."""
    from staging.home import concord_home

    return concord_home() / "demo"


def landscape_of(place: Path) -> Path:
    """The declarations of the demo in this home."""
    return place / "landscapes" / "demo"


def kept(at: Path | None = None) -> Kept | None:
    """The demo that was left up, if it still is."""
    try:
        found = Kept(**json.loads(((at or home()) / "running.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.is_alive else None


def move_in(place: Path, environment: Mapping[str, str] | None = None) -> None:
    """Leads this process, and what it starts, to the demo's home; whatever else the shell names is left alone."""
    for name in PLACES:
        os.environ.pop(name, None)
    os.environ["CONCORD_HOME"] = str(place)
    os.environ["CONCORD_LANDSCAPE"] = str(landscape_of(place))
    os.environ.update(environment or {})


def clear(place: Path) -> None:
    """Ends what a former demo left running, and removes everything but the Prefect server's history."""
    stop(place)
    from staging.embedded import EmbeddedServer

    EmbeddedServer(place / "postgres").destroy()
    for name in ("landscapes", "sandbox", "docs"):
        shutil.rmtree(place / name, ignore_errors=True)


def stop(place: Path) -> list[str]:
    """Stops what belongs to the demo; gives what was running. What it holds stays until the next demo."""
    from deployments import prefect_local
    from staging.embedded import EmbeddedServer
    from staging.engine import dispose

    stopped = []
    if (left := kept(place)) is not None:
        _end(left.pid)
        stopped.append("the business systems")
    (place / "running.json").unlink(missing_ok=True)
    dispose()
    if (place / "prefect").exists() and prefect_local.stop(place / "prefect"):
        stopped.append("Prefect")
    if (place / "postgres").exists() and EmbeddedServer(place / "postgres").stop():
        stopped.append("the database")
    return stopped


def _end(pid: int, wait_seconds: float = 10) -> None:
    import psutil

    try:
        process = psutil.Process(pid)
        process.terminate()
        process.wait(wait_seconds)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.Error:
        return


def start_systems(place: Path, *, scale: float, outlives_us: bool) -> tuple[Running, dict[str, str]]:
    """Starts the business systems; gives where they are, and the variables that the landscape names.

    Raises Stop's kin where the sandbox does not come up (RuntimeError with its own words)."""
    from sandbox import runner
    from staging.embedded import EmbeddedServer, admin_connection, create_database

    server = EmbeddedServer(place / "postgres")
    with closing(admin_connection(server)) as admin:
        create_database(admin, DATABASE)
    legacy = server.url("owner", DATABASE)
    plain_url = legacy.set(drivername="postgresql").render_as_string(hide_password=False)
    ports = runner.DEFAULT_PORTS if all(map(_is_free, runner.DEFAULT_PORTS.values())) else None
    running = runner.start(place / "sandbox", plain_url, ports=ports, scale=scale, outlives_us=outlives_us)
    environment = {
        "CRM_TOKEN": running.tokens["crm"],
        "ACCOUNTING_TOKEN": running.tokens["accounting"],
        "PROJECTS_TOKEN": running.tokens["asana"],
        "LEGACY_URL": legacy.render_as_string(hide_password=False),
        "SLACK_WEBHOOK": running.slack_webhook,
    }
    return running, environment


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def copy_landscape(place: Path, running: Running) -> Path:
    """The demo's declarations with the addresses and folder of this sandbox."""
    from sandbox.runner import DEFAULT_PORTS
    from tasks.landscape import DEFAULT_FOLDER

    shipped = Path(__file__).resolve().parent.parent / DEFAULT_FOLDER
    folder = landscape_of(place)
    shutil.copytree(shipped, folder, dirs_exist_ok=True)
    found = {
        "crm": running.crm_url,
        "accounting": running.accounting_url,
        "slack": running.slack_url,
        "asana": running.asana_url,
    }
    file = folder / "landscape.yaml"
    text = file.read_text(encoding="utf-8").replace(".concord/sandbox/workbooks", running.workbook_dir)
    for name, url in found.items():
        text = text.replace(f"http://{LOOPBACK}:{DEFAULT_PORTS[name]}", url)
    file.write_text(text, encoding="utf-8")
    return folder


def keep(place: Path, running: Running, environment: Mapping[str, str], links: Mapping[str, str]) -> Kept:
    """Notes a demo that stays up, so that other commands find it. Readable by its owner alone: it holds secrets."""
    import psutil

    made = Kept(
        home=str(place),
        landscape=str(landscape_of(place)),
        pid=running.process.pid,
        born=psutil.Process(running.process.pid).create_time(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=dict(environment),
        links=dict(links),
    )
    handle = os.open(place / "running.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(made), file, indent=1)
    return made


def per_system(streams: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """A sync's counts by stream as counts by system."""
    names = {"received": "read", "new": "new", "changed": "changed", "unchanged": "unchanged"}
    names |= {"quarantined": "quarantined"}
    found: dict[str, dict[str, int]] = {}
    for place, counts in streams.items():
        into = found.setdefault(place.partition("/")[0], dict.fromkeys(names.values(), 0))
        for key, name in names.items():
            into[name] += int(counts.get(key, 0))
    return found


def per_target(targets: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """A sync's counts by target, each with the same keys."""
    names = ("created", "updated", "archived", "held", "waiting")
    return {place: {name: int(counts.get(name, 0)) for name in names} for place, counts in sorted(targets.items())}


def figures(summary: Mapping[str, Any], links: Mapping[str, str], seconds: float, *, is_kept: bool) -> dict[str, Any]:
    """What `concord demo --json` prints."""
    return {
        "seconds": round(seconds, 1),
        "systems": per_system(summary["systems"]),
        "targets": per_target(summary["targets"]),
        "golden_versions": summary["golden_versions"],
        "target_writes": summary["target_writes"],
        "rejected": summary["rejected"],
        "reviews": summary["reviews"],
        "findings": summary["findings"],
        "held": summary["held"],
        "waiting": summary["waiting"],
        "quarantined": summary["quarantined"],
        "trouble": summary["trouble"],
        "sync_id": summary["sync_id"],
        "links": dict(links),
        "is_kept": is_kept,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
