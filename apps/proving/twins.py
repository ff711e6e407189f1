"""Which systems of a landscape the sandbox can stand in for, and a landscape that names the twins in their place.

HubSpot, Xero, Asana and Slack have a twin each. Files stand in for themselves: they are copied. A database has one if
it is the demo's order database. Any other system has none, and `concord prove` says so instead of going near it.
"""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sandbox.oauth import CLIENT_ID, CLIENT_SECRET, XERO

if TYPE_CHECKING:
    from canonical.landscape import Landscape
    from sandbox.runner import Running

STAND_INS = {"hubspot": "crm", "xero": "accounting", "asana": "asana", "slack": "slack"}
"""Connector → the name of its twin in the sandbox."""
_LIMITS: dict[str, dict[str, int]] = {
    "hubspot": {"requests_per_10_seconds": 1900, "searches_per_second": 100, "index_lag_seconds": 1},
    "xero": {"requests_per_minute": 6000, "requests_per_day": 100_000},
    "asana": {"requests_per_minute": 15_000},
}
"""What the twins allow, so that a proof takes minutes and not days (sandbox: DEFAULT_LIMIT, MINUTE_LIMIT)."""
_OAUTH_SECRET = "TWIN_CLIENT_SECRET"  # noqa: S105  a variable's name
_TOP = Path(__file__).resolve().parents[2]
DEMO = _TOP / "deployments" / "demo"


class NoTwin(Exception):
    """Systems of the landscape that the sandbox cannot stand in for: name → why."""

    def __init__(self, systems: Mapping[str, str]) -> None:
        self.systems = dict(systems)
        super().__init__("; ".join(f"{name}: {why}" for name, why in self.systems.items()))


@dataclass(frozen=True)
class Twins:
    """The systems of one landscape by the twin that stands in for them."""

    source: Path
    """The landscape that was declared."""
    http: dict[str, str]
    """System → the twin's name in the sandbox, for those that speak HTTP and hold records."""
    alerts: str | None
    files: dict[str, str]
    """System → the folder it reads, as declared."""
    databases: tuple[str, ...] = ()
    """Systems that are the demo's order database."""

    def url(self, system: str, sandbox: Running) -> str:
        """Where a system's twin is."""
        return str(getattr(sandbox, f"{self.http.get(system, system)}_url"))

    def secrets(self, sandbox: Running, legacy_url: str) -> dict[str, str]:
        """The variables that the twins' landscape names, with what opens the twins."""
        found = {_variable(system): sandbox.tokens[twin] for system, twin in self.http.items()}
        found |= {_variable(system): legacy_url for system in self.databases}
        found[_OAUTH_SECRET] = CLIENT_SECRET
        return {**found, **({_variable(self.alerts): sandbox.slack_webhook} if self.alerts else {})}

    def write_landscape(self, folder: Path, sandbox: Running, *, asks_oauth: bool = False) -> None:
        """The landscape with the twins' addresses, secrets and limits in place of the systems', in `folder`.

        asks_oauth: the ledger lets Concord in by OAuth 2, whose tokens end and are renewed."""
        shutil.copytree(self.source, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        file = folder / "landscape.yaml"
        declared = _read(self.source)
        for system, twin in self.http.items():
            entry = declared["systems"][system]
            entry.pop("oauth2", None)
            entry |= {"url": self.url(system, sandbox), "network": "loopback", "token": {"env": _variable(system)}}
            entry |= _LIMITS[entry["connector"]]
            if twin == "accounting":
                entry["tenant_id"] = sandbox.tenant_id
            if twin == "accounting" and asks_oauth:
                del entry["token"]
                entry["oauth2"] = _oauth(sandbox.accounting_url)
        if self.alerts:
            entry = declared["systems"][self.alerts]
            entry |= {"url": sandbox.slack_url, "network": "loopback", "webhook_url": {"env": _variable(self.alerts)}}
        for system in self.databases:
            declared["systems"][system]["url"] = {"env": _variable(system)}
        for system, path in self.files.items():
            declared["systems"][system]["path"] = self._copied(path, sandbox)
        text = yaml.safe_dump(declared, sort_keys=False, allow_unicode=True, width=10_000)
        file.write_text(text, encoding="utf-8")

    def _copied(self, path: str, sandbox: Running) -> str:
        """Where a files system reads: the twin's workbooks for the demo, else a copy of the real folder."""
        if self.source == DEMO:
            return sandbox.workbook_dir
        real = (self.source / path).resolve() if not Path(path).is_absolute() else Path(path)
        place = Path(sandbox.state_dir) / "files" / secrets.token_hex(4)
        if real.is_dir():
            shutil.copytree(real, place)
            return str(place)
        place.mkdir(parents=True)
        return str(shutil.copy2(real, place))


def of(landscape: Landscape, folder: Path) -> Twins:
    """The twins of a declared landscape. Raises NoTwin with every system that has none."""
    raw: dict[str, Any] = _read(folder)["systems"]
    is_demo = folder.resolve() == DEMO
    http: dict[str, str] = {}
    missing: dict[str, str] = {}
    files: dict[str, str] = {}
    databases: list[str] = []
    alerts: str | None = None
    twice = Counter(entry.get("connector") for entry in raw.values())
    for name, entry in raw.items():
        kind = str(entry.get("connector"))
        if kind == "none":
            continue
        if kind in STAND_INS and twice[kind] > 1:
            missing[name] = f"there is one twin of {kind}, and the landscape has {twice[kind]} such systems"
        elif kind == "slack":
            alerts = name
        elif kind in STAND_INS:
            http[name] = STAND_INS[kind]
        elif kind == "files":
            files[name] = str(entry.get("path", ""))
        elif kind == "sql" and is_demo:
            databases.append(name)
        else:
            missing[name] = f"there is no twin of {kind}: what it holds is not known here"
    if not missing and not http:
        missing[landscape.name] = "it names no system that has a twin"
    if missing:
        raise NoTwin(missing)
    return Twins(folder.resolve(), http, alerts, files, tuple(databases))


def _read(folder: Path) -> dict[str, Any]:
    """The landscape's file, which the product's own strict reader has accepted before."""
    found: dict[str, Any] = yaml.safe_load((folder / "landscape.yaml").read_text(encoding="utf-8"))
    return found


def _oauth(url: str) -> dict[str, Any]:
    """How the ledger's twin lets an app in."""
    return {
        "client_id": CLIENT_ID,
        "client_secret": {"env": _OAUTH_SECRET},
        "authorize_url": f"{url}{XERO.authorize_path}",
        "token_url": f"{url}{XERO.token_path}",
        "redirect_uri": "http://localhost:9/authorized",
    }


def _variable(system: str) -> str:
    return f"TWIN_{system.upper().replace('-', '_')}"
