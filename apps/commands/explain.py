"""`concord explain`: one record's story, from every system's version to every write it caused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.commands.holds import print_changes
from apps.exits import REFUSED, Stop
from apps.listing import NAMES, command_of
from apps.options import Json
from apps.screen import clean, count, emit, heading, show, table, then, when

if TYPE_CHECKING:
    from tasks.explain import Unlinked

CUT = 60
"""Characters of a value in a table; `--json` has all of it."""


def register(root: typer.Typer) -> None:
    root.command("explain", rich_help_panel="Look")(explain)


def explain(
    context: typer.Context,
    entity_name: Annotated[str, typer.Argument(metavar="ENTITY", help="customer, order …")],
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="A canonical id, SYSTEM/STREAM/ID, or a name, number or e-mail.")
    ],
    as_json: Json = False,
) -> None:
    """One record's story: each system's version, which value won and why, its history, writes and open questions."""
    from tasks import explain as stories

    with session.of(context).reading() as (world, conn):
        entity = session.entity(world.landscape, entity_name)
        candidates = stories.found(conn, entity, what)
        if not candidates:
            alone = stories.unlinked(conn, entity, what)
            if alone is None:
                raise Stop(
                    REFUSED,
                    f"no {entity.name} is known by {what!r}",
                    "give a canonical id, SYSTEM/STREAM/ID of a source record, or a name, number or e-mail address",
                )
            _tell_unlinked(alone, as_json=as_json)
            return
        if len(candidates) > 1:
            raise Stop(
                REFUSED,
                f"{len(candidates)} {entity.name}s are known by {what!r}: say which",
                *(f"concord explain {entity.name} {canonical_id}   {label}" for canonical_id, label in candidates),
            )
        story = stories.explain(conn, world, entity, candidates[0][0])
    if as_json:
        emit(story)
    else:
        _print(story.as_dict())


def _print(story: Mapping[str, Any]) -> None:
    state = "deleted, " if story["is_deleted"] else ""
    show(f"{story['entity']} {story['canonical_id']}: {story['label']}", style="bold")
    show(f"{state}version {story['version']}, for {story['owner']}")
    stand_ins = [f["field"] for f in story["fields"] if f["is_provisional"] and _value(f["values"])]
    if stand_ins:
        show(f"provisional (the system of record has not spoken): {', '.join(stand_ins)}", style="yellow")
    _print_links(story["links"])
    labels = {each["canonical_id"]: each["label"] for each in story["labels"]}
    _print_fields([_named(f, labels) for f in story["fields"]])
    _print_history(story["history"])
    _print_writes(story["writes"])
    _print_open(story["open"])


def _print_links(links: Sequence[Mapping[str, Any]]) -> None:
    heading("which records it is")
    rows = []
    for link in links:
        record = f"{link['system']}/{link['stream']}/{link['source_id']}"
        note = "" if link["is_primary"] else "a second one there"
        note = f"ended {when(link['ended_at'])}" if link["ended_at"] else note
        score = f" ({link['score']:.2f})" if link["score"] is not None else ""
        rows.append((record, note, when(link["linked_at"]), link["linked_by"], link["because"] + score))
    table(("record", "", "linked", "by", "because"), rows)


def _print_fields(fields: Sequence[Mapping[str, Any]]) -> None:
    heading("what it says, and why")
    rows = []
    for field in fields:
        value = _value(field["values"])
        others = _others(field["claims"], value)
        if value or others:
            mark = "~ " if field["is_provisional"] and value else ""
            rows.append((field["field"], mark + value, field["because"], others))
    table(("field", "value (~ provisional)", "because", "what others say"), rows)
    silent = [f["field"] for f in fields if not _value(f["values"]) and all(c["said"] != "value" for c in f["claims"])]
    if silent:
        show(f"without a value anywhere: {', '.join(silent)}")


def _others(claims: Sequence[Mapping[str, Any]], value: str) -> str:
    """What the records that did not win say: who says something else, who agrees, who is empty."""
    losers = [c for c in claims if not c["is_winner"]]
    said = {c["system"]: _value(c["values"]) for c in losers if c["said"] == "value"}
    parts = [f"{system}: {text}" for system, text in said.items() if text != value]
    same = [system for system, text in said.items() if text == value]
    empty = [c["system"] for c in losers if c["said"] == "empty"]
    parts += [f"the same in {', '.join(same)}"] if same else []
    parts += [f"empty in {', '.join(empty)}"] if empty else []
    return "; ".join(parts)


def _named(field: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The field with the name of what it refers to in place of its id."""

    def name(values: Mapping[str, str | None]) -> dict[str, str | None]:
        return {key: f"{labels[v]} ({v})" if v is not None and v in labels else v for key, v in values.items()}

    claims = [{**claim, "values": name(claim["values"])} for claim in field["claims"]]
    return {**field, "values": name(field["values"]), "claims": claims}


def _value(values: Mapping[str, str | None]) -> str:
    """A field's leaves as one text: the parts of an address follow each other, lines are counted."""
    text = ", ".join(_told(v) for v in values.values() if v is not None)
    return text if len(text) <= CUT else text[: CUT - 1] + "…"


def _told(value: str) -> str:
    if value.startswith("[{"):
        try:
            return count(len(json.loads(value)), "line")
        except ValueError:
            pass
    return clean(value)


def _print_history(history: Sequence[Mapping[str, Any]]) -> None:
    heading("its versions")
    for version in history:
        changes = version["changes"]
        sync = f" by sync {version['sync_id']}" if version["sync_id"] else ""
        if version["version"] == 1:
            show(f"1  {when(version['at'])}{sync}: made with {count(len(changes), 'value')}")
            continue
        show(f"{version['version']}  {when(version['at'])}{sync}:" + ("" if changes else " only marks changed"))
        for change in changes:
            old, new = _value({"": change["old"]}) or "(empty)", _value({"": change["new"]}) or "(empty)"
            why = change["because"]
            told = f"{change['system']}: {why}" if change["system"] else why
            show(f"     {change['field']}: {old} → {new}  ({told})")


def _print_writes(writes: Sequence[Mapping[str, Any]]) -> None:
    heading("the writes it caused")
    if not writes:
        show("none")
    for write in writes:
        target = f"{write['system']}/{write['stream']}" + (f"/{write['source_id']}" if write["source_id"] else "")
        tries = f" after {count(write['attempts'], 'try', 'tries')}" if write["attempts"] else ""
        at = when(write["settled_at"] or write["created_at"])
        show(f"{write['id']}  {at}  {write['op']} {target}: {write['state']}{tries}  ({write['integration']})")
        if write["reason"]:
            show(f"     {write['reason']}")
        for attempt in write["tries"]:
            if attempt["outcome"] not in ("done", "sent"):
                said = " ".join(clean(attempt[k]) for k in ("status", "field", "reason") if attempt[k] is not None)
                show(f"     try {attempt['number']}: {attempt['outcome']} {said}")
        if isinstance(write["before"], list) and write["op"] == "update":
            print_changes(write["before"])


def _print_open(entries: Sequence[Mapping[str, Any]]) -> None:
    if not entries:
        return
    heading("what is open about it")
    for entry in entries:
        show(f"{NAMES[entry['queue']][0]} {entry['id']} since {when(entry['opened_at'])}: {entry['what']}")
        then(f"concord {command_of(entry['queue'])} show {entry['id']}")


def _tell_unlinked(alone: Unlinked, *, as_json: bool) -> None:
    if as_json:
        emit(alone)
        return
    show(f"{alone.record} belongs to no golden {alone.entity} yet: {alone.state}", style="bold")
    if alone.values:
        table(("field", "value"), list(alone.values.items()))
    _print_open(alone.open)
