"""A landscape's folder, as bytes, becomes a `Landscape`, or is refused with every problem of every file at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from canonical.declarations.connectors import ConnectorDefaults
from canonical.declarations.digest import landscape_digest
from canonical.declarations.flows import flow_problems
from canonical.declarations.integrations import read_integrations
from canonical.declarations.inverses import with_inverses
from canonical.declarations.manifest import Manifest, read_manifest
from canonical.declarations.models import DeclaredModel, in_reference_order, read_entity
from canonical.declarations.programs import program_problems
from canonical.declarations.rules import EntityRules, read_rules
from canonical.declarations.secrets import ASK_FOR_REFERENCE, note_secrets
from canonical.declarations.shapes import Notes, Section, nearest, one_of, secret_ref
from canonical.declarations.sheets import overridden, row_problems, standard_rows
from canonical.declarations.systems import read_people, read_systems, read_timezone, without_unknown_entities
from canonical.declarations.urls import NETWORKS, Network
from canonical.declarations.yaml import Node, read_yaml
from canonical.landscape import Heartbeat, Integration, Landscape, Person, SecretRef, System
from canonical.mapping.sheet import SheetRow, read_sheet
from canonical.problems import Problem, Refused
from canonical.retention import DAY, KINDS

MAIN = "landscape.yaml"
FOLDERS = {"model": ".yaml", "mappings": ".csv", "expectations": ".yaml", "connectors": ".yaml"}
"""Folder → how the names of its declarations end."""
_DECLARATIONS = (".yaml", ".yml", ".csv", ".xlsx")
_CONNECTOR_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")


def read_landscape(files: Mapping[str, bytes], connectors: Mapping[str, ConnectorDefaults], name: str) -> Landscape:
    """The landscape that the files (path inside the folder → bytes) declare, on top of what connectors ship.

    Raises Refused with all problems of all files. Files that are no declarations (README.md, docs/…) are left alone."""
    return _Reading(files, connectors, name).landscape()


@dataclass(frozen=True)
class Main:
    """What `landscape.yaml` itself declares, and the model that was read between its systems and its integrations."""

    timezone: str
    people: dict[str, Person]
    systems: dict[str, System]
    integrations: dict[str, Integration]
    notify: dict[str, Any]
    retention: dict[str, int]
    model: DeclaredModel


def read_main(
    top: Section,
    connectors: Mapping[str, ConnectorDefaults],
    manifests: Mapping[str, Manifest],
    model_of: Callable[[Mapping[str, System]], DeclaredModel],
) -> Main:
    """Every key of `landscape.yaml`. `model_of` reads the model, which needs the systems and is needed by the rest."""
    timezone = read_timezone(top, required=True) or "UTC"
    people = read_people(top)
    systems = read_systems(top, connectors, manifests)
    model = model_of(systems)
    integrations = read_integrations(top, model.entities, systems)
    notify = _read_notify(top, systems, connectors)
    retention = _read_retention(top)
    top.done()
    return Main(timezone, people, systems, integrations, notify, retention, model)


def _read_retention(top: Section) -> dict[str, int]:
    """How long what is over is kept: `{landed: 90d, history: 1095d}`; what is not named by default."""
    section = top.section("retention")
    if section is None:
        return {}
    found: dict[str, int] = {}
    for kind, kept in KINDS.items():
        seconds = section.duration(kind)
        if seconds is not None and seconds < kept.least_seconds:
            section.wrong(kind, f"at least {kept.least_seconds // DAY}d: work still needs it", f"{seconds} seconds")
        elif seconds is not None:
            found[kind] = seconds
    section.done()
    return found


def _read_notify(
    top: Section, systems: Mapping[str, System], connectors: Mapping[str, ConnectorDefaults]
) -> dict[str, Any]:
    """Where incidents go: `{slack: SYSTEM, channel: "#ops", email: SYSTEM, fallback: email}`, and what is called while
    all is well: `heartbeat: {url: {env: NAME}}`."""
    section = top.section("notify")
    if section is None:
        return {}
    found: dict[str, Any] = {}
    for key in ("slack", "email"):
        system = section.mention("system", key)
        if system is not None:
            found[key] = system
            defaults = connectors.get(systems[system].connector) if system in systems else None
            if defaults is not None and not defaults.is_notifier and defaults.source:
                section.wrong(key, "a system whose connector posts messages", f"'{system}'")
    channel = section.text("channel")
    if channel is not None:
        found["channel"] = channel
    if section.has("fallback"):
        found["fallback"] = section.choice("fallback", ("slack", "email"), "email")
        if not {"slack", "email"} <= found.keys():
            section.wrong("fallback", "both slack: and email:, of which one steps in for the other", "one of them")
    heartbeat = section.section("heartbeat")
    if heartbeat is not None:
        found["heartbeat"] = _read_heartbeat(heartbeat)
    section.done()
    return found


def _read_heartbeat(section: Section) -> Heartbeat:
    node = section.get("url", required=True, shape="secret")
    ref = None if node is None else secret_ref(node)
    if node is not None and ref is None:
        section.wrong("url", ASK_FOR_REFERENCE, "a value written out")
    network: Network = section.choice("network", NETWORKS, "public")
    section.done()
    return Heartbeat(ref or SecretRef("env", ""), network)


class _Reading:
    """One reading. The steps follow what they need of each other: manifests, systems, model, integrations, sheets."""

    def __init__(self, files: Mapping[str, bytes], connectors: Mapping[str, ConnectorDefaults], name: str) -> None:
        self.files = {file: data for file, data in sorted(files.items()) if self._is_declaration(file)}
        self.connectors = connectors
        self.name = name
        self.notes = Notes()

    @staticmethod
    def _is_declaration(file: str) -> bool:
        path = PurePosixPath(file)
        is_hidden = any(part.startswith((".", "~")) for part in path.parts)
        return path.suffix.lower() in _DECLARATIONS and not is_hidden and path.parts[0] not in ("docs", "data")

    def landscape(self) -> Landscape:
        nodes = self._nodes()
        manifests = self._manifests(nodes)
        top = Section(self.notes, nodes.get(MAIN, Node(MAIN, None, "refused")))
        main = read_main(top, self.connectors, manifests, lambda systems: self._model(nodes, systems))
        timezone, people, systems, integrations = main.timezone, main.people, main.systems, main.integrations
        model, notify = main.model, main.notify
        rules = self._rules(nodes, model)
        self._check_mentions(people, systems, model)
        systems = {key: without_unknown_entities(system, model.entities) for key, system in systems.items()}
        self._check_references(model)
        sheet = self._sheet(systems, integrations, model, top, timezone)
        self._check_programs(sheet, systems, integrations, model, timezone)
        if self.notes.problems:
            raise Refused(_once(self.notes.problems))
        return Landscape(
            name=self.name,
            timezone=timezone,
            people=people,
            systems=systems,
            integrations=integrations,
            model=in_reference_order(model.entities),
            sheet=sheet,
            rules=rules,
            notify=notify,
            retention=main.retention,
            digest=landscape_digest(self.files, self._shipped(systems)),
            files={file: data.decode("utf-8-sig") for file, data in self.files.items()},
            places=_places(nodes[MAIN], model),
        )

    # ---- files

    def _nodes(self) -> dict[str, Node]:
        """Every YAML file as a node; files that are in no place of theirs are reported."""
        nodes: dict[str, Node] = {}
        if MAIN not in self.files:
            known = [file for file in self.files if "/" not in file]
            self.notes.problems.append(
                Problem(MAIN, None, "the file", "it in the landscape's folder", "no such file", nearest(MAIN, known))
            )
        for file, data in self.files.items():
            folder = file.rpartition("/")[0]
            if file != MAIN and not (folder in FOLDERS and file.endswith(FOLDERS[folder])):
                self._misplaced(file, folder)
            elif file.endswith(".yaml"):
                node, problems = read_yaml(file, data)
                nodes[file] = node
                self.notes.problems.extend(problems)
                note_secrets(self.notes, node)
        return nodes

    def _misplaced(self, file: str, folder: str) -> None:
        places = [MAIN, *(f"{name}/*{suffix}" for name, suffix in FOLDERS.items())]
        stem = PurePosixPath(file).stem
        if folder == "mappings" and file.endswith(".xlsx"):
            found = "a workbook (bring it in: concord mapping import, and keep it elsewhere)"
            self.notes.problems.append(Problem(file, None, "the file's place", "a sheet as CSV", found))
            return
        close = nearest(folder, FOLDERS)
        suggestion = f"{close}/{stem}{FOLDERS[close]}" if close else None
        self.notes.problems.append(Problem(file, None, "the file's place", one_of(places), f"'{file}'", suggestion))

    def _in(self, folder: str, nodes: Mapping[str, Node]) -> list[Node]:
        return [node for file, node in nodes.items() if file.startswith(f"{folder}/")]

    def _shipped(self, systems: Mapping[str, System]) -> dict[str, bytes]:
        """What the connectors in use ship, so that an upgrade of one shows in the digest."""
        used = {system.connector for system in systems.values()} & set(self.connectors)
        return {
            name: (self.connectors[name].sheet or b"") + repr(sorted(self.connectors[name].streams)).encode()
            for name in used
        }

    # ---- kinds of declarations

    def _manifests(self, nodes: Mapping[str, Node]) -> dict[str, Manifest]:
        manifests: dict[str, Manifest] = {}
        for node in self._in("connectors", nodes):
            stem = PurePosixPath(node.file).stem
            if not _CONNECTOR_NAME.match(stem) or stem in self.connectors or stem == "none":
                expected = "a name of its own, in small letters, digits and _"
                found = f"'{stem}', which Concord ships" if stem in self.connectors else f"'{stem}'"
                self.notes.report(node, "the file's name", expected, found)
            manifests[stem] = read_manifest(self.notes, node, stem)
        return manifests

    def _model(self, nodes: Mapping[str, Node], systems: Mapping[str, System]) -> DeclaredModel:
        model = DeclaredModel()
        owners = {name: system.owner for name, system in systems.items()}
        for node in self._in("model", nodes):
            read_entity(self.notes, node, owners, model)
        if not model.entities and not self.notes.problems:
            self.notes.problems.append(Problem("model/", None, "the folder", "at least one entity", "none"))
        return model

    def _rules(self, nodes: Mapping[str, Node], model: DeclaredModel) -> dict[str, EntityRules]:
        found: dict[str, EntityRules] = {}
        for node in self._in("expectations", nodes):
            rules = read_rules(self.notes, node, model.entities)
            if rules is None:
                continue
            if rules.entity in found:
                other = found[rules.entity].source
                self.notes.report(
                    node, "entity", "each entity in one file", f"'{rules.entity}' again (also in {other})"
                )
            found[rules.entity] = rules
        return found

    # ---- what holds between files

    def _check_mentions(
        self, people: Mapping[str, Person], systems: Mapping[str, System], model: DeclaredModel
    ) -> None:
        known: dict[str, Mapping[str, object]] = {"role": people, "system": systems, "entity": model.entities}
        what = {"role": "a role under people", "system": "a system", "entity": "an entity of the model"}
        for mention in self.notes.mentions:
            options = known[mention.kind]
            if mention.name not in options:
                expected = f"{what[mention.kind]}: {one_of(options)}"
                close = nearest(mention.name, options)
                self.notes.report(mention.node, mention.where, expected, mention.node.shown, close)

    def _check_references(self, model: DeclaredModel) -> None:
        for entity in model.entities.values():
            for item in entity.fields:
                for part, where in [(item, item.name), *((line, f"{item.name}.of.{line.name}") for line in item.of)]:
                    if part.entity and part.entity not in model.entities:
                        node = model.nodes[f"{entity.name}.{item.name}"]
                        is_standard = node.file != entity.source
                        asked = f", or without: [{item.name}]" if is_standard else ""
                        self.notes.report(
                            model.nodes[entity.name] if is_standard else node,
                            f"fields.{where}.entity",
                            f"an entity of the model: {one_of(model.entities)}{asked}",
                            f"'{part.entity}'",
                            nearest(part.entity, model.entities),
                        )

    # ---- sheets

    def _sheet(
        self,
        systems: Mapping[str, System],
        integrations: Mapping[str, Integration],
        model: DeclaredModel,
        top: Section,
        timezone: str,
    ) -> tuple[SheetRow, ...]:
        own: list[SheetRow] = []
        for file, data in self.files.items():
            if file.startswith("mappings/") and file.endswith(".csv"):
                rows, problems = read_sheet(file, data)
                own.extend(rows)
                self.notes.problems.extend(problems)
        shipped, problems = standard_rows(systems, self.connectors, model.entities)
        self.notes.problems.extend(problems)
        self.notes.problems.extend(row_problems(own, systems, model.entities))
        entities = in_reference_order(model.entities)
        sheet, problems = with_inverses(overridden(shipped, own), systems, entities, timezone)
        self.notes.problems.extend(problems)
        entry = top.node.entries.get("integrations")
        places = {} if entry is None else entry.node.entries
        lines = {name: (MAIN, places[name].line) for name in integrations if name in places}
        own_files = frozenset(row.file for row in own)
        self.notes.problems.extend(flow_problems(sheet, integrations, model.entities, own_files, lines))
        return sheet

    def _check_programs(
        self,
        sheet: tuple[SheetRow, ...],
        systems: Mapping[str, System],
        integrations: Mapping[str, Integration],
        model: DeclaredModel,
        timezone: str,
    ) -> None:
        """Compile what the sheets say, but for rows already refused, and not on a model that is itself refused."""
        if any(problem.file.startswith("model/") for problem in self.notes.problems):
            return
        refused = {(problem.file, problem.line) for problem in self.notes.problems}
        rows = [row for row in sheet if (row.file, row.line) not in refused]
        entities = in_reference_order(model.entities)
        found = program_problems(rows, systems, integrations, entities, timezone)
        # A condition of a stream was already refused at its own place.
        self.notes.problems.extend(problem for problem in found if problem.line is not None)


def _once(problems: list[Problem]) -> set[Problem]:
    """Each problem once, and of a value that is a secret nothing but that."""
    secret = {(p.file, p.line, p.where) for p in problems if p.expected == ASK_FOR_REFERENCE}
    return {p for p in problems if p.expected == ASK_FOR_REFERENCE or (p.file, p.line, p.where) not in secret}


def _places(main: Node, model: DeclaredModel) -> dict[str, tuple[str, int | None]]:
    """Where everything stands, for messages about what is found out later."""
    places: dict[str, tuple[str, int | None]] = {}

    def note(node: Node, prefix: str) -> None:
        for key, entry in node.entries.items():
            place = f"{prefix}{key}"
            places[place] = (entry.node.file, entry.line)
            note(entry.node, f"{place}.")

    note(main, "")
    for name in model.entities:
        places[f"model.{name}"] = (model.nodes[name].file, model.nodes[name].line)
        note(model.nodes[name], f"model.{name}.")
    return places
