"""How a command ends: its exit code, and one plain message instead of a traceback.

0    done
1    done, but something needs a person: a stream could not be read, a write was refused, a field is unaccounted for
2    nothing was done: wrong usage, or a declaration is refused (every problem with file and line)
3    busy: another process runs the same integration
4    the database cannot be used as it is
5    a system (or the Prefect server) cannot be reached, or does not let us in
70   a fault of Concord's own; the traceback is in the log that the message names
74   the output could not be written
130  stopped by Ctrl-C; what was committed stays, the next run goes on from there
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

DONE = 0
NEEDS_A_PERSON = 1
REFUSED = 2
BUSY = 3
DATABASE = 4
SYSTEM = 5
FAULT = 70
OUTPUT = 74
INTERRUPTED = 130

SECRET_OPTION = re.compile(
    r"--?(?:[a-z0-9]+-)*(?:pass(?:word|phrase)?|pwd|token|secret|code|api-?key|access-?key|client-?secret|bearer|webhook-?url)(?:=|\Z)",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"  # a URL with a password in it
    r"|\b(?:xox[abprs]-|pat-[a-z0-9]+-|sk_live_|sk_test_|ghp_|github_pat_|AKIA[0-9A-Z]{12})"
    r"|hooks\.slack\.com/services/",
    re.IGNORECASE,
)


class Stop(Exception):
    """A command ends here: its exit code, what happened, and what to type next."""

    def __init__(self, code: int, message: str, *then: str) -> None:
        self.code, self.message, self.then = code, message, then
        super().__init__(message)


def unknown(kind: str, name: str, known: Iterable[str]) -> Stop:
    """A name that is not declared: the nearest one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(names) or 'none declared'}"
    return Stop(REFUSED, f"there is no {kind} {name!r}; {hint}")


def refuse_secrets(arguments: Sequence[str]) -> None:
    """What is typed stands in the shell's history and in every process list: secrets come from elsewhere."""
    for position, argument in enumerate(arguments, 1):
        if SECRET_OPTION.match(argument) or SECRET_VALUE.search(argument):
            raise Stop(
                REFUSED,
                f"argument {position} carries a secret, and others can read a command line",
                "put it into the environment (CONCORD_DATABASE_URL, CONCORD_APPROVAL_CODE, the variables that"
                " landscape.yaml names), or let the command ask for it",
            )


def explained(error: BaseException) -> Stop:
    """Any error as an end with a plain message; what nobody foresaw goes to a log with its traceback."""
    if isinstance(error, Stop):
        return error
    return _declared(error) or _from_outside(error) or _fault(error)


def _declared(error: BaseException) -> Stop | None:
    """What our own layers raise on purpose."""
    from canonical.problems import Refused
    from connectors.protocol import ConnectorError
    from staging.errors import DatabaseTrouble, SchemaMissing

    if isinstance(error, Refused):
        count = len(error.problems)
        head = "the declarations are refused" + (f", {count} problems:" if count > 1 else ":")
        return Stop(REFUSED, "\n".join([head, *(f"  {p}" for p in error.problems)]))
    if isinstance(error, SchemaMissing):
        return Stop(DATABASE, str(error))
    if isinstance(error, DatabaseTrouble):
        return Stop(DATABASE, str(error), "look at it: concord db status")
    if isinstance(error, ConnectorError):
        code = REFUSED if type(error).__name__ == "Misdeclared" else SYSTEM
        return Stop(code, str(error), "ask every system: concord systems check")
    name = type(error).__name__
    if name == "SyncBusy":
        return Stop(BUSY, str(error), "see where it is: concord status")
    if name == "OldDeclarations":
        return Stop(REFUSED, str(error))
    if name == "PrefectUnavailable":
        return Stop(SYSTEM, str(error), "a sync needs no Prefect: concord sync --without-prefect")
    return None


def _from_outside(error: BaseException) -> Stop | None:
    """What the database or the operating system says in the middle of the work."""
    from staging.trouble import as_trouble

    if trouble := as_trouble(error):
        return Stop(DATABASE, str(trouble), "look at it: concord db status")
    if isinstance(error, KeyboardInterrupt):
        return Stop(INTERRUPTED, "stopped; what was committed stays, and the next run goes on from there")
    if isinstance(error, OSError) and error.filename is not None:
        return Stop(REFUSED, f"{error.filename}: {error.strerror}")
    return None


def _fault(error: BaseException) -> Stop:
    from staging.home import concord_home

    said = "".join(traceback.format_exception(error))
    try:
        folder = concord_home() / "log"
        folder.mkdir(parents=True, exist_ok=True)
        log: Path | None = folder / f"fault-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
        assert log is not None
        log.write_text(f"{' '.join(sys.argv[1:])}\n\n{said}", encoding="utf-8")
    except OSError:
        sys.stderr.write(said)
        log = None
    first = (str(error).strip().splitlines() or ["no message"])[0]
    where = f"the whole story is in {log}" if log else "the whole story stands above"
    return Stop(FAULT, f"a fault of Concord's own: {type(error).__name__}: {first[:300]}", where)
