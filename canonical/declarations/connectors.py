"""What each connector ships: its streams, its standard mapping sheet and the settings it understands.

# connectors/hubspot/defaults.yaml
settings:
  url:   {type: url, default: "https://api.hubapi.com"}
  token: {type: text, required: true, secret: true}
streams:
  contacts:
    key: id
    changed: properties.lastmodifieddate
    makes: [{entity: contact}]
    deleted_when: "archived == true"
notifier: false
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from canonical.declarations.oauth import read_oauth2
from canonical.declarations.secrets import ASK_FOR_REFERENCE
from canonical.declarations.shapes import Notes, Section, nearest, one_of, secret_ref, with_secret_refs
from canonical.declarations.streams import read_stream
from canonical.declarations.urls import Network, url_problem
from canonical.declarations.yaml import node_of, read_yaml
from canonical.landscape import Stream
from canonical.problems import Refused

SettingType = Literal[
    "text", "url", "database_url", "integer", "number", "boolean", "duration", "list", "mapping", "oauth2", "any"
]
STREAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")
"""No dot: a sheet writes STREAM.FIELD."""
_DATABASE_SCHEMES = (
    "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb", "mssql", "mssql+pyodbc", "oracle",
    "oracle+oracledb", "sqlite", "duckdb", "snowflake",
)  # fmt: skip


@dataclass(frozen=True)
class ConnectorDefaults:
    """One kind of system. `settings_schema`: name → {required, type, secret, default}."""

    streams: Mapping[str, Any] = field(default_factory=dict)
    sheet: bytes | None = None
    settings_schema: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""
    """The file it was read from, for messages."""
    is_notifier: bool = False
    """It posts messages (Slack, e-mail) and may stand under `notify:`."""


def read_defaults(name: str, data: bytes, sheet: bytes | None = None) -> ConnectorDefaults:
    """A connector's `defaults.yaml`, read as strictly as a landscape. Raises Refused."""
    file = f"connectors/{name}/defaults.yaml"
    node, problems = read_yaml(file, data)
    notes = Notes(problems)
    top = Section(notes, node)
    schema = {key: _setting(section) for key, section in top.sections("settings")}
    streams = {key: section.node for key, section in top.sections("streams", pattern=STREAM_NAME)}
    for key, stream_node in streams.items():
        section = Section(notes, stream_node, f"streams.{key}")
        read_stream(key, section)
        section.done()
    is_notifier = top.boolean("notifier")
    top.done()
    if notes.problems:
        raise Refused(notes.problems)
    return ConnectorDefaults(streams, sheet, schema, file, is_notifier)


def _setting(section: Section) -> dict[str, Any]:
    types: tuple[SettingType, ...] = get_args(SettingType)
    setting: dict[str, Any] = {
        "type": section.choice("type", types, "text"),
        "required": section.boolean("required"),
        "secret": section.boolean("secret"),
        "means": section.text("means") or "",
    }
    default = section.get("default")
    if default is not None:
        setting["default"] = default.plain
    section.done()
    return setting


def default_streams(defaults: ConnectorDefaults) -> dict[str, Stream]:
    """The streams that a connector ships, as values."""
    notes = Notes()
    found: dict[str, Stream] = {}
    for name, declared in defaults.streams.items():
        if isinstance(declared, Stream):
            found[name] = declared
        else:
            found[name] = read_stream(name, Section(notes, node_of(declared, defaults.source), f"streams.{name}"))
    if notes.problems:
        raise Refused(notes.problems)
    return found


def read_settings(section: Section, schema: Mapping[str, Mapping[str, Any]], network: Network) -> dict[str, Any]:
    """A system's settings by its connector's schema. Relative paths and secrets stay as they are declared."""
    settings: dict[str, Any] = {}
    for name, setting in schema.items():
        if setting.get("type") == "oauth2":
            inner = section.section(name, required=bool(setting.get("required")))
            if inner is not None:
                settings[name] = read_oauth2(inner, setting.get("default") or {}, network)
            continue
        is_needed = bool(setting.get("required")) and "default" not in setting
        node = section.get(name, required=is_needed, shape="secret")
        if node is None:
            if "default" in setting:
                settings[name] = setting["default"]
            continue
        ref = secret_ref(node)
        if setting.get("secret") and ref is None:
            section.wrong(
                name, ASK_FOR_REFERENCE, "a value written out" if node.kind != "mapping" else "another mapping"
            )
        elif ref is not None:
            settings[name] = ref
        else:
            settings[name] = _typed(section, name, str(setting.get("type", "text")), network)
    _one_way_in(section, schema)
    return settings


def _one_way_in(section: Section, schema: Mapping[str, Mapping[str, Any]]) -> None:
    """Where a connector takes a token or OAuth 2, a system says which."""
    ways = [name for name in ("token", "oauth2") if name in schema]
    given = [name for name in ways if section.has(name)]
    if len(ways) == 2 and len(given) != 1:
        section.wrong(given[0] if given else "token", "either token: or oauth2:", "both" if given else "neither")


def _typed(section: Section, name: str, kind: str, network: Network) -> Any:
    match kind:
        case "integer":
            return section.integer(name, 0)
        case "number":
            return section.number(name, 0.0)
        case "boolean":
            return section.boolean(name)
        case "duration":
            return section.duration(name, zero=True)
        case "list":
            node = section.get(name, shape="list")
            if node is not None and node.kind != "sequence":
                section.wrong(name, "a list")
            return None if node is None else with_secret_refs(node)
        case "mapping":
            inner = section.section(name)
            return None if inner is None else with_secret_refs(inner.node)
        case "any":
            return section.value(name)
    text = section.text(name)
    if text is not None and kind in ("url", "database_url"):
        problem = _url_problem(text, kind, network)
        if problem:
            section.wrong(name, problem[0], problem[1])
    return text


def _url_problem(text: str, kind: str, network: Network) -> tuple[str, str] | None:
    if kind == "url":
        return url_problem(text, network)
    if text.startswith(("sqlite:", "duckdb:")):  # a file: no host
        return None
    problem = url_problem(text.partition("?")[0], network, _DATABASE_SCHEMES)
    # A user without a password is how database URLs are written; the password is a setting of its own.
    if problem and problem[1] == "both or one of them" and ":" not in text.partition("://")[2].partition("@")[0]:
        user_free = f"{text.partition('://')[0]}://{text.partition('@')[2].partition('?')[0]}"
        return url_problem(user_free, network, _DATABASE_SCHEMES)
    return problem


def connector_problem(name: str, connectors: Mapping[str, ConnectorDefaults]) -> tuple[str, str | None] | None:
    """(expected, suggestion) for a connector that nobody ships."""
    known = (*connectors, "none")
    if name in known:
        return None
    return one_of(sorted(known), 30), nearest(name, known)
