"""`concord ledger`: the proof that nothing was lost and nothing invented (DESIGN 7)."""

from __future__ import annotations

from dataclasses import asdict

import typer

from apps import session
from apps.exits import NEEDS_A_PERSON
from apps.options import Json
from apps.screen import emit, show, table, then

app = typer.Typer(help="The ledger: verify its sums.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="ledger", rich_help_panel="Look")


@app.command()
def verify(context: typer.Context, as_json: Json = False) -> None:
    """Count everything twice, what came in and what became of it, per run and overall. Exit code 1 if sums differ."""
    from staging import ledger

    with session.of(context).reading() as (_, conn):
        checks = ledger.verify(conn)
    bad = [c for c in checks if not c.ok]
    if as_json:
        emit({"ok": not bad, "checks": [asdict(c) for c in checks]})
    else:
        rows = [(c.name, c.scope, c.expected, c.found, "agrees" if c.ok else "DIFFERS") for c in checks]
        table(("sum", "over", "#expected", "#found", ""), rows)
        for check in bad:
            show(f"! {check.name}, {check.scope}: {check.because}", style="red")
    if bad:
        if not as_json:
            then("somebody or something changed rows by hand: compare with a backup before the next sync")
        raise typer.Exit(NEEDS_A_PERSON)
    if not as_json:
        show("\nevery sum agrees: nothing is lost, nothing is counted twice", style="green")
