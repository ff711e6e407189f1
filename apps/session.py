"""What one call of `concord` works with: the landscape it names, its world, and a database that is ready for it.

Heavy modules are imported inside functions: `concord --help` and `concord db status` must answer at once.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from apps.exits import DATABASE, REFUSED, Stop, unknown
from apps.screen import clean, err, is_interactive, say

if TYPE_CHECKING:
    from canonical.landscape import Landscape
    from canonical.model import Entity
    from staging.engine import Connection
    from staging.model_changes import Change
    from tasks.world import World


@dataclass
class Session:
    """The global options."""

    folder: Path | None = None

    def landscape(self) -> Landscape:
        """The declared landscape. Raises Refused."""
        from tasks import landscape

        return landscape.load(self.folder)

    @contextmanager
    def world(self, *, is_model_needed: bool = True) -> Iterator[World]:
        """The landscape at work on a database whose schema (and model) fit. Raises Refused, DatabaseTrouble, Stop."""
        landscape = self.landscape()
        ready_database()
        from tasks.landscape import folder_of
        from tasks.world import World

        world = World(landscape, folder_of(self.folder))
        try:
            if is_model_needed:
                _require_model(world)
            yield world
        finally:
            world.close()

    @contextmanager
    def reading(self) -> Iterator[tuple[World, Connection]]:
        """A world and a transaction to read from."""
        with self.world() as world, world.transaction() as conn:
            yield world, conn


def of(context: typer.Context) -> Session:
    """The session of a command's context."""
    found = context.find_object(Session)
    assert found is not None, "the root command makes it"
    return found


def ready_database() -> None:
    """The database with the schema of this code. The embedded one is ours alone, so it is started and upgraded here."""
    from staging import migrate
    from staging.engine import is_embedded
    from staging.errors import SchemaMissing

    if is_embedded():
        start_embedded()
    try:
        migrate.ensure_current()
    except SchemaMissing:
        if not is_embedded():
            raise
        migrate.upgrade()


def start_embedded() -> None:
    """Starts the embedded server unless it runs, and says so: the first time takes a while."""
    from staging.embedded import EmbeddedServer

    server = EmbeddedServer()
    status = server.status()
    if status.state == "running":
        return
    doing = "creating" if status.state == "absent" else "starting"
    say(f"{doing} the embedded database under {server.home}", style="dim")
    server.start()


def model_changes(landscape: Landscape) -> list[Change]:
    """What would have to change for the landscape's model, as the owner sees it."""
    from staging.engine import engine, transaction
    from staging.model_changes import plan_changes

    with transaction(engine("owner")) as conn:
        return plan_changes(conn, landscape.model)


def _require_model(world: World) -> None:
    from staging.model_changes import plan_changes

    with world.transaction() as conn:
        changes = plan_changes(conn, world.landscape.model)
    if changes:
        what = "its tables do not exist yet" if all(c.kind == "create" for c in changes) else "it has changed"
        raise Stop(
            DATABASE,
            f"the model of {world.landscape.name} is not applied to the database: {what}",
            "see the changes and apply them: concord model apply",
        )


def integrations(world: World, name: str) -> tuple[str, ...]:
    """The integrations that a name means."""
    from tasks.sync import chosen

    if name != "all" and name not in world.landscape.integrations:
        raise unknown("integration", name, [*world.landscape.integrations, "all"])
    found = chosen(world, name)
    if not found:
        raise Stop(REFUSED, f"{world.landscape.name} declares no integrations")
    return found


def entity(landscape: Landscape, name: str) -> Entity:
    """A declared entity."""
    if name not in landscape.model.by_name:
        raise unknown("entity", name, landscape.model.by_name)
    return landscape.model[name]


def role(landscape: Landscape, name: str) -> str:
    """A declared role."""
    if name not in landscape.people:
        raise unknown("role", name, landscape.people)
    return name


def who(landscape: Landscape, by: str | None) -> str:
    """Whoever gives this command: the role that was named, else the account that runs it."""
    return role(landscape, by) if by else f"{getpass.getuser()}@{socket.gethostname()}"


def system(landscape: Landscape, name: str) -> str:
    """A declared system that a connector serves."""
    if name not in landscape.systems:
        raise unknown("system", name, landscape.systems)
    if name not in landscape.active_systems:
        raise Stop(REFUSED, f"{name} has no connector: {landscape.systems[name].why or 'it stays manual'}")
    return name


def confirmed(question: str, *, yes: bool, otherwise: Sequence[str] = ()) -> None:
    """Asks unless `--yes` was said. Where nobody can be asked, nothing is done."""
    if yes:
        return
    if not is_interactive():
        raise Stop(REFUSED, "this asks for a confirmation, and nobody is there to ask: add --yes", *otherwise)
    answer = err().input(f"{clean(question)} [y/N] ", markup=False)
    if answer.strip().lower() not in ("y", "yes"):
        raise Stop(REFUSED, "nothing was done")
