"""One local Prefect server, started when needed and reused by every command (DESIGN 9.17); never the ephemeral one.

    <home>/             `.concord/prefect` (or under CONCORD_HOME); the server's PREFECT_HOME
        lock            one process at a time starts or stops it
        server.json     pid and port of the one that runs
        server.log      what it says
        prefect.db      its SQLite database
        login           user:password of its API and pages, made once (0600)
        encryption.key  what its secret blocks are encrypted with, made once (0600)

Ours listens on loopback only, asks for the login everywhere but at its health check, answers pages of its own address
only (CORS), and takes changes from a browser only with a token that a foreign page cannot have (CSRF).

A process that runs flows must know the server *before* Prefect reads its settings: call `start()` (which calls `use()`)
before the first `import prefect`. A later call refreshes the settings that were read, which Prefect allows, but clients
that are already open keep their old server. Where PREFECT_API_URL is set, that server is used and none is started: with
whatever else the shell says of it (PREFECT_API_AUTH_STRING, PREFECT_API_KEY), which is then left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

from staging.home import LOOPBACK, concord_home, exclusive, usable_port

START_SECONDS = 120
"""12-17 s on two quiet cores; the first start also migrates its database."""
STOP_SECONDS = 20
ANSWER_SECONDS = 3
# What a shell may have set for another server must not lead this one elsewhere.
NOT_INHERITED = (
    "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_API_DATABASE",
    "PREFECT_SERVER_",
)  # fmt: skip
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


class PrefectUnavailable(Exception):
    """The local Prefect server does not come up; the message says where to look."""


@dataclass(frozen=True, slots=True)
class LocalPrefect:
    """A Prefect server that answers. `pid`, `log` and `login` only for one of ours."""

    api_url: str
    ui_url: str
    pid: int | None = None
    log: str | None = None
    login: str | None = field(default=None, repr=False)
    """user:password, as its pages and PREFECT_API_AUTH_STRING take it."""

    @property
    def is_ours(self) -> bool:
        return self.pid is not None


def start(
    home: Path | None = None, settings: Mapping[str, str] | None = None, wait_seconds: float = START_SECONDS
) -> LocalPrefect:
    """Start the server, or find the one that runs, and lead this process to it. Raises PrefectUnavailable.

    `settings` are further PREFECT_* variables for a server that has to be started.
    """
    if found := _named_elsewhere(home):
        return found
    home = _home(home)
    try:
        with exclusive(home):
            server = running(home) or _launch(home, settings or {}, wait_seconds)
    except OSError as error:
        raise PrefectUnavailable(f"cannot use {home} for the local Prefect server: {error.strerror}") from error
    use(server, home)
    return server


def running(home: Path | None = None) -> LocalPrefect | None:
    """Our server, if it lives, answers, and is of the installed Prefect."""
    home = _home(home)
    known = _read_state(home)
    if known is None or known.prefect != version("prefect") or not known.asks_for_login:
        return None
    server = _server(home, known.port, known.pid)
    return server if _answers(server) else None


def stop(home: Path | None = None, wait_seconds: float = STOP_SECONDS) -> bool:
    """Stop our server and everything it started. False: it was not running."""
    home = _home(home)
    with exclusive(home):
        known = _read_state(home)
        (home / "server.json").unlink(missing_ok=True)
        if known is None:
            return False
        _end(known.pid, wait_seconds)
        return True


def use(server: LocalPrefect, home: Path | None = None) -> None:
    """Lead this process, and those it starts, to a server."""
    os.environ.update(QUIET | {"PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(_home(home))})
    if server.login:
        os.environ["PREFECT_API_AUTH_STRING"] = server.login
        os.environ.pop("PREFECT_API_KEY", None)  # another server's; it would be sent instead
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def login_file(home: Path | None = None) -> Path:
    """Where the login of our server is kept, readable by its owner alone."""
    return _home(home) / "login"


# ------------------------------------------------------------------------------------------------------- how it is done


@dataclass(frozen=True, slots=True)
class _State:
    """What is remembered of the server; a pid alone may be another process's by now."""

    pid: int
    born: float
    port: int
    prefect: str
    asks_for_login: bool = False


def _home(home: Path | None) -> Path:
    return (home or concord_home() / "prefect").absolute()


def _named_elsewhere(home: Path | None) -> LocalPrefect | None:
    """The server that the user named in PREFECT_API_URL, unless it is the one that `use` put there."""
    named = os.environ.get("PREFECT_API_URL")
    if not named or (named.startswith(f"http://{LOOPBACK}:") and os.environ.get("PREFECT_HOME") == str(_home(home))):
        return None
    return LocalPrefect(named, os.environ.get("PREFECT_UI_URL") or named.removesuffix("/api"))


def _server(home: Path, port: int, pid: int) -> LocalPrefect:
    base = f"http://{LOOPBACK}:{port}"
    return LocalPrefect(f"{base}/api", base, pid, str(home / "server.log"), _login(home))


def _launch(home: Path, settings: Mapping[str, str], wait_seconds: float) -> LocalPrefect:
    """Start the server and wait until it is healthy; one that does not come up is ended again."""
    if left := _read_state(home):  # it lives but does not answer, or is another version's
        _end(left.pid, STOP_SECONDS)
    port = usable_port(home)
    log = home / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=home, start_new_session=True,
            env=_environment(home, port, settings),
        )  # fmt: skip
    state = _State(process.pid, psutil.Process(process.pid).create_time(), port, version("prefect"), True)
    (home / "server.json").write_text(json.dumps(asdict(state)))
    server = _server(home, port, process.pid)
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(server):
            return server
        time.sleep(0.25)
    how = f"ended with exit code {process.returncode}" if process.poll() is not None else "does not answer"
    _end(process.pid, 5)
    (home / "server.json").unlink(missing_ok=True)
    raise PrefectUnavailable(f"the local Prefect server {how} after {wait_seconds:.0f} s at most; see {log}")


def _environment(home: Path, port: int, settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    return {
        **inherited,
        **QUIET,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        # The UI's pages call this port; without it they would call 4200.
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_SERVER_ENCRYPTION_KEY": _encryption_key(home),
        "PREFECT_SERVER_API_AUTH_STRING": _login(home),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        # The pages that the guide shows; the newer ones are a click away.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port},http://localhost:{port}",
        **settings,
    }


def _encryption_key(home: Path) -> str:
    """The key of Prefect's secret blocks: without one of ours it would stand in the same database as they do."""
    return _kept(home / "encryption.key", lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode())


def _login(home: Path) -> str:
    """user:password. Prefect knows one user only."""
    return _kept(login_file(home), lambda: f"admin:{secrets.token_urlsafe(24)}")


def _kept(path: Path, make: Callable[[], str]) -> str:
    """A secret that is made once and readable by its owner alone."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(make())
    return path.read_text().strip()


def _read_state(home: Path) -> _State | None:
    """The remembered server, if its process lives."""
    try:
        state = _State(**json.loads((home / "server.json").read_text()))
        process = psutil.Process(state.pid)
        is_same = abs(process.create_time() - state.born) < 1 and process.status() != psutil.STATUS_ZOMBIE
        return state if is_same else None
    except (OSError, ValueError, TypeError, psutil.Error):
        return None


def _answers(server: LocalPrefect) -> bool:
    """Whether the server is healthy."""
    try:
        with urllib.request.urlopen(f"{server.api_url}/health", timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            return bool(answer.read() == b"true")
    except (OSError, ValueError):
        return False


def _end(pid: int, wait_seconds: float) -> None:
    """End the session that we started: asked first, then made."""
    try:
        members = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        for member in members:
            if member.is_running():
                try:
                    member.send_signal(how)
                except psutil.Error:
                    continue
        _, members = psutil.wait_procs(members, timeout=wait_seconds)
        if not members:
            return
