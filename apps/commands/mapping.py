"""`concord mapping`: the sheets that run, their rules, and what becomes of every source field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.commands import mapping_sheets
from apps.exits import NEEDS_A_PERSON
from apps.options import Json
from apps.screen import count, emit, heading, show, table, then

if TYPE_CHECKING:
    from canonical.landscape import Landscape, Stream, System

app = typer.Typer(
    help="The mapping sheets: show them, edit them in a spreadsheet, compare them, see what they leave out.",
    no_args_is_help=True,
)
SAMPLE = 1_000


def register(root: typer.Typer) -> None:
    mapping_sheets.register(app)
    root.add_typer(app, name="mapping", rich_help_panel="Declare")


@app.command("show")
def show_sheet(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[SYSTEM]", help="One system; without it all of them.")] = None,
    as_json: Json = False,
) -> None:
    """The rows that run: connectors' standard sheets with the landscape's own rows in their place."""
    landscape = session.of(context).landscape()
    wanted = session.system(landscape, name) if name else None
    rows = [row for row in landscape.sheet if wanted in (None, row.system)]
    if as_json:
        names = (
            "source_system", "source_field", "target_system", "target_field", "rule", "notes", "direction", "file",
            "line",
        )  # fmt: skip
        emit([{n: getattr(row, n) for n in names} for row in rows])
        return
    for direction in ("inbound", "outbound", "ignored"):
        some = [r for r in rows if r.direction == direction]
        if some:
            heading(f"{direction}: {count(len(some), 'row')}")
            table(
                ("source", "target", "rule", "notes", "declared in"),
                [
                    (
                        f"{r.source_system}: {r.source_field}", f"{r.target_system}: {r.target_field}", r.rule, r.notes,
                        f"{r.file}:{r.line}",
                    )
                    for r in some
                ],
            )  # fmt: skip


@app.command()
def rules(as_json: Json = False) -> None:
    """Every rule that a sheet may name, what it takes and what it does."""
    from canonical.mapping.functions import RULES

    found = [{"rule": r.name, "signature": r.signature, "does": r.doc, "inverse": r.inverse} for r in RULES.values()]
    if as_json:
        emit(found)
        return
    table(("rule", "does", "undone by"), [(r["signature"], r["does"], r["inverse"]) for r in found])
    show("\nRules are joined by |, from left to right: trim | lower | map open=active *=flag")


@app.command()
def report(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[SYSTEM]", help="One system; without it all of them.")] = None,
    write_back: Annotated[
        bool, typer.Option("--write-back", help="Show for every field that is read the rule that would write it back.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Account for every field that was seen in what is landed: mapped, ignored by name, or unmapped (exit code 1)."""
    from staging import reports

    with session.of(context).reading() as (world, conn):
        landscape = world.landscape
        systems = [session.system(landscape, name)] if name else list(landscape.active_systems)
        found = []
        for system in systems:
            declared = landscape.systems[system]
            for stream in declared.streams.values():
                payloads = reports.sample_payloads(conn, system, stream.name, SAMPLE)
                found.append(account(landscape, declared, stream, payloads))
    if as_json:
        emit(found)
    else:
        _print_report(found)
        if write_back:
            _print_ways_back(found)
    if any(stream["unmapped"] for stream in found):
        raise typer.Exit(NEEDS_A_PERSON)


def account(landscape: Landscape, system: System, stream: Stream, payloads: Sequence[bytes]) -> dict[str, Any]:
    """What becomes of each field seen in these records of a stream."""
    from canonical.mapping.inverse import ways_back
    from canonical.mapping.report import mapping_report

    fields = mapping_report(landscape.sheet, system, stream, seen_paths(payloads))
    rows = [row for row in landscape.sheet if row.stream == stream.name]
    back = ways_back(rows, system, landscape.model, landscape.timezone)
    return {
        "system": system.name,
        "stream": stream.name,
        "records_seen": len(payloads),
        "mapped": {path: list(targets) for path, targets in fields.mapped.items() if path not in fields.unseen},
        "ignored": list(fields.ignored),
        "unmapped": list(fields.unmapped),
        "unseen": list(fields.unseen),
        "write_back": [
            {
                "field": way.source.partition(".")[2],
                "target": way.row.target_field,
                "reads": way.row.rule,
                "writes": way.rule,
                "because": way.because or None,
            }
            for way in back
        ],
    }


def seen_paths(payloads: Iterable[bytes]) -> list[str]:
    """Every path that carries a value in these JSON records, sorted; inside lists as `LIST[].FIELD`."""
    import orjson

    found: set[str] = set()
    for payload in payloads:
        try:
            _collect(orjson.loads(payload), "", found)
        except orjson.JSONDecodeError:
            continue
    return sorted(found)


def _collect(value: Any, path: str, found: set[str]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _collect(inner, f"{path}.{key}" if path else str(key), found)
    elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
        for inner in value:
            _collect(inner, f"{path}[]", found)
    elif path:
        found.add(path)


def _print_report(found: Sequence[dict[str, Any]]) -> None:
    seen = [s for s in found if s["records_seen"]]
    table(
        (
            "system/stream", "#records looked at", "#mapped", "#ignored by name", "#unmapped", "#never seen",
            "#invertible",
        ),
        [
            (
                f"{s['system']}/{s['stream']}", s["records_seen"], len(s["mapped"]), len(s["ignored"]),
                len(s["unmapped"]), len(s["unseen"]), sum(way["writes"] is not None for way in s["write_back"]),
            )
            for s in seen
        ],
    )  # fmt: skip
    for stream in seen:
        place = f"{stream['system']}/{stream['stream']}"
        if stream["unmapped"]:
            heading(f"{place}: seen, and named by no row of a sheet")
            show("  " + ", ".join(stream["unmapped"]), style="yellow")
        if stream["unseen"]:
            heading(f"{place}: named by a row, and never seen (misspelt, or empty so far)")
            show("  " + ", ".join(stream["unseen"]))
    empty = [f"{s['system']}/{s['stream']}" for s in found if not s["records_seen"]]
    if empty:
        show(f"\nnothing landed yet: {', '.join(empty)}")
        then("concord sync --sample 100")
    if any(s["unmapped"] for s in seen):
        show("")
        then("give each a row in mappings/SYSTEM.csv: a target, or `ignore,-` to leave it out by name")
    elif seen:
        show("\nevery field that was seen is mapped or ignored by name", style="green")


def _print_ways_back(found: Sequence[dict[str, Any]]) -> None:
    """Which fields that are read could be written back, and how: `inverse` in a sheet stands for that rule."""
    heading("written back by")
    rows = [
        (
            f"{s['system']}/{s['stream']}", way["field"], way["target"], way["reads"],
            "(as it stands)" if way["writes"] == "" else way["writes"] or f"no way back: {way['because']}",
        )
        for s in found
        for way in s["write_back"]
    ]  # fmt: skip
    table(("system/stream", "field", "is read into", "by", "written back by"), rows)
    then("write one back: a row `canonical,ENTITY.FIELD,SYSTEM,STREAM.FIELD,inverse,`")
