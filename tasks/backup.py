"""Backup, and restore: afterwards nothing is sent before the targets were read, and who was erased stays erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from staging import audit, carried, erasure, locks, migrate, restored
from staging import backup as files
from staging.engine import database_url, dispose, engine, transaction
from staging.model_changes import apply, plan_changes
from tasks import relearn
from tasks.forget import forget
from tasks.sync import SyncBusy, TurnedAway
from tasks.world import World


@dataclass(frozen=True)
class Copied:
    """A backup that was made. `anchor`: the end of the audit's chain in it."""

    file: str
    bytes: int
    sha256: str
    anchor: dict[str, Any] | None


@dataclass
class Restored:
    """What a restore did."""

    file: str
    sha256: str
    made_at: str | None
    """The time of the last row of the audit in the backup."""
    before: str | None
    """Where the database was copied to before it was replaced; None: there was nothing to copy."""
    resting: list[str] = field(default_factory=list)
    """SYSTEM/STREAM that nothing is sent to before it was read to its end."""
    void: int = 0
    """Writes that were open in the backup and are planned anew."""
    erased_again: list[str] = field(default_factory=list)
    tokens_kept: int = 0
    is_model_changed: bool = False


def backup(world: World, file: Path, *, by: str) -> Copied:
    """Copies the database into a file; noted in the audit first, so that the copy holds it. Raises DatabaseTrouble."""
    with world.transaction() as conn:
        audit.append(conn, by, "backup.made", f"file:{file.name}")
        end = audit.head(conn)
    made = files.dump(database_url("owner"), file)
    return Copied(str(made.file), made.bytes, made.sha256, asdict(end) if end else None)


def restore(world: World, file: Path, *, by: str, reason: str) -> Restored:
    """Sets the database back to a backup. The database as it is now is copied beside the file first, where there is
    one. Raises DatabaseTrouble, SyncBusy, TurnedAway."""
    found = files.about(file)
    if not migrate.is_known(found.schema):
        raise TurnedAway(f"{file} was made by a newer Concord (schema {found.schema}): restore it with that one")
    kept = carried.Kept()
    with _nobody_at_work(world):
        try:
            before = _copy_aside(world, file, kept)
        except carried.AtWork as busy:
            raise TurnedAway(str(busy)) from None
        dispose()
        files.restore(database_url("owner"), file)
    dispose()
    migrate.upgrade()
    with transaction(engine("owner")) as conn:
        changes = plan_changes(conn, world.landscape.model)
        apply(conn, changes, database_url("app").username)
    done = Restored(str(file), found.sha256, None, str(before) if before else None, is_model_changed=bool(changes))
    with transaction(engine("app")) as conn:
        end = audit.head(conn)
        done.made_at = end.at if end else None
        targets = relearn.targets(world)
        done.void = restored.begin(conn, targets)
        done.resting = [f"{system}/{stream}" for system, stream, _ in targets]
        done.tokens_kept = kept.put_tokens_back(conn)
        detail = {
            "file": file.name, "sha256": found.sha256, "replaced": asdict(kept.head) if kept.head else None,
            "copied_to": before.name if before else None, "void": done.void,
        }  # fmt: skip
        audit.append(conn, by, "backup.restored", "database:concord", detail, reason=reason)
    done.erased_again = _erase_again(world, kept.erased, by=by)
    return done


@contextmanager
def _nobody_at_work(world: World) -> Iterator[None]:
    """No sync and no delivery is under way: what it holds in memory would be written into another past."""
    with ExitStack() as stack:
        for name in world.landscape.integrations:
            if stack.enter_context(locks.lane(world.engine, f"sync:{name}", wait=False)) is None:
                raise SyncBusy(name, "a moment ago", "another process")
        yield


def _copy_aside(world: World, file: Path, kept: carried.Kept) -> Path | None:
    """A copy of what is replaced; None where nothing was ever written."""
    with transaction(world.engine) as conn:
        if not kept.look(conn):
            return None
    now = datetime.now(UTC)
    return files.dump(
        database_url("owner"), file.with_name(f"{file.stem}.replaced-{now:%Y%m%dT%H%M%S}{file.suffix}")
    ).file


def _erase_again(world: World, erased: Sequence[tuple[str, str]], *, by: str) -> list[str]:
    """Whoever was erased after the backup was made came back with it: erased again at once."""
    done = []
    for entity, canonical_id in erased:
        with transaction(engine("app")) as conn:
            is_known = any(pair == (entity, canonical_id) for pair in erasure.done_since(conn))
        if is_known or entity not in world.landscape.model.by_name:
            continue
        try:
            forget(world, entity, canonical_id, by=by, reason="erased before the restore, erased again", is_done=True)
        except KeyError:
            continue  # the backup is older than the record
        done.append(f"{entity} {canonical_id}")
    return done
