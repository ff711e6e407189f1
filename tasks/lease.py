"""A worker's hold on the writes that it claimed, while it looks, sends and settles (RELIABILITY P7).

The database's clock says when a lease is over; here only how much is surely left is kept, counted from before it was
renewed. A thread renews it while the work goes on; when that fails, nothing is left, and the connectors send nothing
more (`connectors.lease`). Whoever finds the lease over takes the writes over under another name: what the first worker
then stores finds no row.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from types import TracebackType

from connectors.lease import now
from staging import delivery
from staging.errors import DatabaseTrouble
from tasks.world import World

LEASE_SECONDS = 120.0
HEARTBEATS = 4
"""A lease is renewed so often before it would be over."""

log = logging.getLogger("concord.delivery")


class Lease:
    """Claimed writes held by one worker, from `claimed_at` on (`connectors.lease.now`)."""

    def __init__(self, world: World, worker: str, ids: Iterable[int], claimed_at: float, seconds: float) -> None:
        self._world = world
        self._worker = worker
        self._ids = sorted(ids)
        self._seconds = seconds
        self._until = claimed_at + seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def left_seconds(self) -> float:
        """How much of the lease is surely left."""
        return self._until - now()

    def send(self, ids: Iterable[int], request: str, *, is_again: bool) -> set[int]:
        """Notes that these are sent now, in this request; gives those that are still ours."""
        before = now()
        with self._world.transaction() as conn:
            kept = delivery.sending(
                conn,
                list(ids),
                worker=self._worker,
                lease_seconds=self._seconds,
                request=request,
                is_again=is_again,
            )
        if kept:
            self._until = before + self._seconds
        return kept

    def _beat(self) -> None:
        while not self._done.wait(self._seconds / HEARTBEATS):
            before = now()
            try:
                with self._world.transaction() as conn:
                    kept = delivery.renew(conn, self._ids, worker=self._worker, lease_seconds=self._seconds)
            except (DatabaseTrouble, OSError) as error:
                log.warning("a lease could not be renewed: %s", type(error).__name__)
                continue
            if not kept:
                return  # settled, or somebody else's by now: what is left runs out
            self._until = before + self._seconds
