"""Named moments at which a process may be killed on demand, to prove that work goes on where it stopped.

`CONCORD_CRASH_POINT=deliver.sent:2` ends the process with SIGKILL when it comes to that point the second time: nothing
is cleaned up, nobody is told, as when a machine loses its power. `deliver.sent:2:stop` stops it there with SIGSTOP
instead, as when a machine sleeps: SIGCONT wakes it. Without the variable a point does nothing.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

VARIABLE: Final = "CONCORD_CRASH_POINT"
POINTS: Final = {
    "extract.landing": "a group of pages and its cursor are stored, not committed",
    "extract.landed": "a group of pages and its cursor are committed",
    "stage.candidates": "a batch's candidates are committed, not judged",
    "stage.merging": "a batch is split and merged, not committed",
    "stage.merged": "a batch is merged and committed",
    "resolve.chunk": "links, golden versions and writes of a chunk are stored, not committed",
    "resolve.committed": "links, golden versions and writes of a chunk are committed as planned",
    "plan.leftovers": "writes of what was noted as dirty are committed as planned",
    "release.released": "planned writes are released and committed",
    "deliver.claimed": "writes are committed as in flight, not sent",
    "deliver.sending": "writes are noted as sent in a request and committed, nothing has left",
    "deliver.sent": "the target has answered, nothing of it is stored",
    "deliver.settling": "receipts, links and shadows are stored, not committed",
    "deliver.settled": "receipts, links and shadows are committed",
    "deliver.taken_over": "what a dead worker left in flight is taken over and committed, not looked up",
    "sync.ending": "all of a sync's work is committed, its end is stored and not committed",
    "apply.committing": "a plan agrees and its writes are released, not committed",
    "apply.committed": "a plan is applied and committed, nothing is sent",
    "token.asked": "the renewal of a token is noted and committed, not sent",
    "token.given": "a system has put a new token in place of the old, nothing of it is stored",
    "token.stored": "a new token is committed, not used yet",
}
"""Point → what is true at it."""

_hits: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Ends the process here if the environment asks for this point at this hit. Raises KeyError for an unknown name."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    POINTS[name]
    point, hit, how = [*wanted.split(":"), "", ""][:3]
    if point != name:
        return
    _hits[name] += 1
    if _hits[name] == int(hit or 1):
        os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)
