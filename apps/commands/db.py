"""`concord db`: the database, and the embedded server where that is the one (DESIGN 9.16)."""

from __future__ import annotations

import typer

from apps import session
from apps.exits import DATABASE, REFUSED, Stop
from apps.options import Json
from apps.screen import emit, say, show, then

app = typer.Typer(help="The database: start, stop, status, upgrade.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="db", rich_help_panel="House keeping")


@app.command()
def start() -> None:
    """Start the embedded PostgreSQL server (creating it the first time) and bring its schema up to date."""
    _require_embedded()
    from staging import migrate
    from staging.embedded import EmbeddedServer

    session.start_embedded()
    version = migrate.upgrade()
    running = EmbeddedServer().status()
    show(f"running on 127.0.0.1:{running.port} (pid {running.pid}), schema {version}, data in {running.data}")
    then("stop it: concord db stop")


@app.command()
def stop() -> None:
    """Stop the embedded server. What is committed stays; the next command starts it again."""
    _require_embedded()
    from staging.embedded import EmbeddedServer

    show("stopped" if EmbeddedServer().stop() else "it was not running")


@app.command()
def status(as_json: Json = False) -> None:
    """Where the database is, whether it answers, and whether its schema fits this Concord. Exit code 4 if not."""
    found = _state()
    if as_json:
        emit(found)
    else:
        show(f"database   {found['place']}")
        show(f"state      {found['state']}{': ' + found['trouble'] if found['trouble'] else ''}")
        show(f"schema     {found['schema'] or 'none'} (this Concord works on {found['schema_wanted']})")
        if found["log"]:
            show(f"log        {found['log']}")
        if found["next"]:
            then(found["next"])
    if found["state"] != "running" or found["schema"] != found["schema_wanted"]:
        raise typer.Exit(DATABASE)


@app.command()
def upgrade() -> None:
    """Bring the schema to this Concord's version, in one transaction. Entity tables follow `concord model apply`."""
    from staging import migrate
    from staging.engine import is_embedded

    if is_embedded():
        session.start_embedded()
    say("upgrading the schema", style="dim")
    show(f"the schema is at version {migrate.upgrade()}")
    then("bring the entity tables to the model: concord model apply")


def _require_embedded() -> None:
    from staging.engine import is_embedded

    if not is_embedded():
        raise Stop(
            REFUSED,
            "CONCORD_DATABASE_URL names a server of your own; Concord starts and stops only the embedded one",
            "see whether it answers: concord db status",
        )


def _state() -> dict[str, str | None]:
    """The database's state, without starting anything."""
    from staging import migrate
    from staging.embedded import EmbeddedServer
    from staging.engine import database_url, engine, is_embedded, transaction
    from staging.errors import DatabaseTrouble

    found: dict[str, str | None] = dict.fromkeys(("trouble", "schema", "log", "next"))
    found |= {"state": "running", "schema_wanted": migrate.head()}
    if is_embedded():
        server = EmbeddedServer().status()
        place = f"127.0.0.1:{server.port}" if server.port else "not running"
        found |= {"place": f"embedded under {server.home} ({place})", "state": server.state, "log": str(server.log)}
        if server.state != "running":
            return {**found, "next": "concord db start"}
    else:
        url = database_url()
        found["place"] = f"{url.host or 'localhost'}:{url.port or 5432}/{url.database} (CONCORD_DATABASE_URL)"
    try:
        with transaction(engine("app")) as conn:
            found["schema"] = migrate.current(conn)
        migrate.ensure_current()
    except DatabaseTrouble as trouble:
        is_schema = type(trouble).__name__.startswith("Schema")
        found |= {"trouble": str(trouble), "state": "running" if is_schema else "unreachable"}
        found["next"] = "concord db upgrade" if type(trouble).__name__ == "SchemaMissing" else None
    return found
