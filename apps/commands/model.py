"""`concord model`: the canonical model, and the entity tables that follow it (DESIGN 9.20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.options import Json, Yes
from apps.screen import clean, count, emit, heading, out, say, show, table, then

if TYPE_CHECKING:
    from canonical.model import Entity

app = typer.Typer(help="The canonical model: show it, apply it to the database.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="model", rich_help_panel="Declare")


@app.command("show")
def show_model(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[ENTITY]", help="One entity; without it all of them.")] = None,
    as_json: Json = False,
) -> None:
    """The entities: their fields, types, and which system is the authority for each."""
    landscape = session.of(context).landscape()
    entities = [session.entity(landscape, name)] if name else list(landscape.model.entities)
    if as_json:
        emit([_as_dict(e) for e in entities])
        return
    for entity in entities:
        heading(f"{entity.name}: {entity.means}" if entity.means else entity.name)
        show(f"owner {entity.owner}; system of record {entity.record}, until it has a value {_listed(entity)}")
        table(
            ("field", "type", "system of record", "owner", "notes"),
            [(f.name, f.type, f.record, f.owner, _notes(f)) for f in entity.fields],
        )


@app.command()
def apply(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Show the statements that bring the entity tables to the model, ask, and run them in one transaction."""
    from staging import model_changes
    from staging.engine import database_url, engine, transaction

    landscape = session.of(context).landscape()
    session.ready_database()
    changes = session.model_changes(landscape)
    if as_json:
        emit({"changes": [{**vars_of(c)} for c in changes], "applied": bool(changes) and yes})
        if not yes:
            return
    elif not changes:
        show(f"the model of {landscape.name} is applied; nothing to do")
        return
    else:
        _print_changes(changes)
    if changes:
        session.confirmed(f"Run these statements for {count(len(changes), 'change')}?", yes=yes)
        with transaction(engine("owner")) as conn:
            changes = model_changes.plan_changes(conn, landscape.model)
            model_changes.apply(conn, changes, database_url("app").username)
    if not as_json:
        show(f"applied {count(len(changes), 'change')}", style="green")
        if any(c.refill for c in changes):
            say("new columns are filled by the next sync, from what is kept, without reading the systems again")
        then("concord sync")


def vars_of(change: Any) -> dict[str, Any]:
    """A change with stable keys."""
    names = ("kind", "table", "sentence", "statements", "refill")
    return {name: getattr(change, name) for name in names}


def _print_changes(changes: list[Any]) -> None:
    for change in changes:
        show(f"- {change.sentence}", style="bold")
        for statement in change.statements:
            for line in statement.strip().splitlines():
                out().print(f"    {clean(line.rstrip())}", style="dim", soft_wrap=True)


def _as_dict(entity: Entity) -> dict[str, Any]:
    return {
        "entity": entity.name,
        "means": entity.means,
        "owner": entity.owner,
        "record": entity.record,
        "until_recorded": list(entity.until_recorded),
        "fields": [
            {
                "name": f.name,
                "type": f.type,
                "required": f.required,
                "record": f.record,
                "owner": f.owner,
                "columns": [leaf.column for leaf in f.leaves],
                "values": list(f.values),
            }
            for f in entity.fields
        ],
        "match": {
            name: list(getattr(entity.match, name)) for name in ("unique", "strong", "shared", "alike", "different_if")
        },
    }


def _listed(entity: Entity) -> str:
    return " then ".join(entity.until_recorded) if entity.until_recorded else "any other system's stands in"


def _notes(field: Any) -> str:
    notes = ["required"] if field.required else []
    if field.values:
        notes.append("one of " + ", ".join(field.values))
    if field.type == "reference" and field.entity:
        notes.append(f"to {field.entity}")
    return "; ".join(notes)
