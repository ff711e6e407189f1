"""JSON Schemas (draft 7) of what a landscape declares, for editors: made by asking the strict readers themselves.

They know keys, words, types and forms; what holds between files (roles, systems, fields that must exist) and between
values is left to `concord check`. In one thing they are stricter: a key without a value, which the reader takes for an
absent one, is unfinished to an editor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from canonical.declarations.connectors import ConnectorDefaults
from canonical.declarations.landscape import read_main
from canonical.declarations.manifest import read_declared_manifest
from canonical.declarations.models import DeclaredModel, read_declared, read_extending
from canonical.declarations.rules import read_declared_rules
from canonical.declarations.shape_of import ANY_NAME, DEFINITIONS, Probe, Schema, Shape, schema_of, shape_of

FILES: Mapping[str, str] = {
    "landscape": "landscape.yaml",
    "model": "model/*.yaml",
    "expectations": "expectations/*.yaml",
    "connectors": "connectors/*.yaml",
}
"""Schema → the files of a landscape that it is for."""
_SYSTEM = f"systems.{ANY_NAME}.connector"
_ANSWERS = {"timezone": "UTC"}
"""So that no probe searches all zones for one like its own word."""


def schemas(connectors: Mapping[str, ConnectorDefaults]) -> dict[str, str]:
    """File name → JSON text of each schema; `connectors` are the ones that are shipped."""
    made = {
        "landscape": _landscape(connectors),
        "model": _model(),
        "expectations": schema_of(shape_of(lambda probe: read_declared_rules(probe, {}))),
        "connectors": schema_of(shape_of(lambda probe: read_declared_manifest(probe, ANY_NAME))),
    }
    return {f"{name}.schema.json": _document(name, schema) for name, schema in made.items()}


def _document(name: str, schema: Schema) -> str:
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Made by `concord check --schemas`; change the readers in canonical/declarations and run it.",
        "title": f"Concord: {FILES[name]}",
        **schema,
    }
    used = {key: value for key, value in DEFINITIONS.items() if f'"#/definitions/{key}"' in json.dumps(schema)}
    if used:
        whole["definitions"] = used
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _main(connectors: Mapping[str, ConnectorDefaults], connector: str) -> Shape:
    """The shape of landscape.yaml where every system has this connector."""

    def read(probe: Probe) -> object:
        return read_main(probe, connectors, {}, lambda _: DeclaredModel())

    return shape_of(read, {**_ANSWERS, _SYSTEM: connector})


def _landscape(connectors: Mapping[str, ConnectorDefaults]) -> Schema:
    """landscape.yaml: what a system may say is a matter of its connector."""
    names = [*sorted(connectors), "none"]
    made = {name: schema_of(_main(connectors, name)) for name in (*names, ANY_NAME)}
    whole = made["none"]
    (pattern,) = whole["properties"]["systems"]["patternProperties"]
    systems = {name: _system(schema, pattern) for name, schema in made.items()}
    for name, defaults in connectors.items():
        _explain(systems[name]["properties"], defaults)
    of_manifest = systems.pop(ANY_NAME)
    # A system of a manifest of one's own has the settings that the manifest asks for.
    of_manifest.pop("additionalProperties", None)
    chosen = [{"if": _says(name), "then": system} for name, system in systems.items()]
    other = {"if": {"not": {"anyOf": [_says(name) for name in names]}}, "then": of_manifest}
    connector = {"anyOf": [{"enum": names}, {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,30}$"}]}
    whole["properties"]["systems"]["patternProperties"] = {
        pattern: {
            "type": "object",
            "required": ["connector"],
            "properties": {"connector": connector},
            "allOf": [*chosen, other],
        }
    }
    return whole


def _system(whole: Schema, pattern: str) -> Schema:
    found: Schema = whole["properties"]["systems"]["patternProperties"][pattern]
    return found


def _explain(properties: Schema, defaults: ConnectorDefaults) -> None:
    """What a connector says of its settings, for whoever points at one."""
    for name, setting in defaults.settings_schema.items():
        if setting.get("means") and name in properties:
            made = properties[name]
            # Beside a $ref nothing counts in draft 7.
            whole = {"allOf": [made]} if "$ref" in made else made
            properties[name] = {"description": str(setting["means"]), **whole}


def _says(connector: str) -> Schema:
    return {"properties": {"connector": {"const": connector}}, "required": ["connector"]}


def _model() -> Schema:
    """model/*.yaml: with `extends` the standard entity brings what else would be wanted."""

    def read(probe: Probe) -> object:
        read_extending(probe)
        return read_declared(probe, {}, DeclaredModel(), "")

    made = schema_of(shape_of(read))
    wanted: Any = made.pop("required")
    made["if"], made["then"] = {"not": {"required": ["extends"]}}, {"required": wanted}
    return made
