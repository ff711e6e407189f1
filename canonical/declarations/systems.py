"""People and systems as declared in landscape.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from canonical.declarations.connectors import (
    STREAM_NAME,
    ConnectorDefaults,
    connector_problem,
    default_streams,
    read_settings,
)
from canonical.declarations.manifest import Manifest
from canonical.declarations.secrets import ASK_FOR_REFERENCE
from canonical.declarations.shapes import DASHED_NAME, Section, nearest, one_of, secret_ref
from canonical.declarations.streams import read_stream
from canonical.declarations.urls import NETWORKS, Network
from canonical.landscape import Person, Stream, System

REST = "rest"
"""The engine that runs every manifest."""


def read_people(top: Section) -> dict[str, Person]:
    people: dict[str, Person] = {}
    for role, section in top.sections("people", pattern=DASHED_NAME, required=True):
        code = section.get("code", shape="secret")
        ref = None if code is None else secret_ref(code)
        if code is not None and ref is None:
            section.wrong("code", ASK_FOR_REFERENCE, "a value written out")
        email = section.text("email")
        if email is not None and ("@" not in email or any(c.isspace() for c in email)):
            section.wrong("email", "an e-mail address")
        people[role] = Person(
            role=role,
            name=section.text("name", required=True) or role,
            email=email,
            slack=section.text("slack"),
            code=ref,
        )
        section.done()
    return people


def read_timezone(section: Section, *, required: bool = False) -> str | None:
    name = section.text("timezone", required=required)
    if name is None:
        return None
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        from zoneinfo import available_timezones

        section.wrong("timezone", "a time zone such as Europe/London", suggestion=nearest(name, available_timezones()))
        return None
    return name


def read_systems(
    top: Section, connectors: Mapping[str, ConnectorDefaults], manifests: Mapping[str, Manifest]
) -> dict[str, System]:
    systems: dict[str, System] = {}
    for name, section in top.sections("systems", pattern=DASHED_NAME, required=True):
        systems[name] = _read_system(name, section, connectors, manifests)
    return systems


def _read_system(
    name: str,
    section: Section,
    connectors: Mapping[str, ConnectorDefaults],
    manifests: Mapping[str, Manifest],
) -> System:
    if name in ("canonical", "ignore"):
        section.notes.report(section.node, section.where, "another name: sheets use this one", f"'{name}'")
    connector = section.text("connector", required=True) or ""
    manifest = manifests.get(connector)
    defaults = ConnectorDefaults() if manifest else connectors.get(connector, ConnectorDefaults())
    problem = None if manifest or not connector else connector_problem(connector, {**connectors, **_kinds(manifests)})
    if problem:
        section.wrong("connector", problem[0], suggestion=problem[1])
    network: Network = section.choice("network", NETWORKS, "public")
    schema: Mapping[str, Mapping[str, Any]] = manifest.settings if manifest else defaults.settings_schema
    settings = read_settings(section, schema, network)
    if manifest:
        settings["manifest"] = manifest
    shipped = {n: s.stream for n, s in manifest.streams.items()} if manifest else default_streams(defaults)
    originates = section.text_items("originates")
    system = System(
        name=name,
        connector=connector,
        owner=section.mention("role", "owner", required=True) or "",
        streams=_read_streams(section, shipped),
        settings=settings,
        network=network,
        originates=tuple(entity for entity, _ in originates),
        shadow=section.boolean("shadow"),
        why=section.text("why", required=connector == "none") or "",
        timezone=read_timezone(section),
        engine=REST if manifest else connector,
    )
    for index, (entity, node) in enumerate(originates):
        section.mention_of("entity", entity, node, f"{section.at('originates')}[{index}]")
    if problem is None and connector:
        section.done()
    return system


def _kinds(manifests: Mapping[str, Manifest]) -> dict[str, ConnectorDefaults]:
    return {name: ConnectorDefaults() for name in manifests}


def _read_streams(system: Section, shipped: Mapping[str, Stream]) -> dict[str, Stream]:
    streams = dict(shipped)
    places = {}
    for name, section in system.sections("streams", pattern=STREAM_NAME):
        streams[name] = read_stream(name, section, shipped.get(name))
        section.done()
        places[name] = section.key_node("child_of")
    for name, stream in streams.items():
        child = stream.child_of
        if child is not None and child.stream not in streams:
            place = f"{system.at('streams')}.{name}.child_of.stream"
            close = nearest(child.stream, streams)
            system.notes.report(places.get(name, system.node), place, one_of(streams), f"'{child.stream}'", close)
    return streams


def without_unknown_entities(system: System, entities: Mapping[str, object]) -> System:
    """The system without `makes` of entities that this landscape does not have: what a connector ships speaks of more
    than any one business uses. (The landscape's own are checked by name beforehand.)"""
    streams = {
        name: replace(stream, makes=tuple(made for made in stream.makes if made.entity in entities))
        for name, stream in system.streams.items()
    }
    return replace(system, streams=streams)
