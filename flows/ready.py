"""The World that a flow works in, refused plainly when the database is not ready for it."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.runtime import flow_run

from staging import migrate
from staging.errors import DatabaseTrouble
from staging.model_changes import model_applied
from tasks import incidents
from tasks.landscape import folder_of
from tasks.steps import At, opened, refused
from tasks.watch import START_GRACE
from tasks.world import World


class ModelNotApplied(DatabaseTrouble):
    """The landscape's model and the entity tables differ."""


def ready_world() -> World:
    """The landscape that CONCORD_LANDSCAPE names; where its declarations are refused, as the version at work has it,
    with an incident. Raises Refused, DatabaseTrouble."""
    migrate.ensure_current()
    world = opened(folder_of())
    key = f"declarations:{world.landscape.name}"
    bad = refused(folder_of())
    incidents.report(world, [incidents.refused_declarations(world, key, bad)] if bad else [], [] if bad else [key])
    with world.transaction() as conn:
        if not model_applied(conn, world.landscape.model):
            raise ModelNotApplied(f"the model of {world.landscape.name} is not applied: concord model apply")
    return world


def overdue_since() -> datetime | None:
    """When this run was due, if it begins long after because nobody was there to start it; else None."""
    due: datetime | None = flow_run.scheduled_start_time
    return due if due is not None and datetime.now(UTC) - due > START_GRACE else None


def place_of(world: World, sync_id: int | None = None, docs_dir: str | None = None) -> At:
    """The world as names that a task run may be given."""
    return At(str(world.folder), world.landscape.digest, sync_id, docs_dir)
