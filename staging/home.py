"""The folder of everything Concord keeps on this machine, and what its long-lived servers share."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"


def concord_home() -> Path:
    """The folder of everything Concord keeps on this machine: CONCORD_HOME, else `.concord` in the working folder."""
    return Path(os.environ.get("CONCORD_HOME") or ".concord").absolute()


@contextmanager
def exclusive(folder: Path, mode: int = 0o700) -> Iterator[None]:
    """Make the folder (of this mode) and hold its lock file: one process at a time, others wait. Raises OSError.

    The kernel drops the lock with its process, so a SIGKILL leaves nothing behind.
    """
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remembered_port(folder: Path) -> int | None:
    """The loopback port that a server of this folder used last."""
    try:
        return int((folder / "port").read_text())
    except (OSError, ValueError):
        return None


def usable_port(folder: Path) -> int:
    """The remembered loopback port if nobody has it now, else a free one, remembered from now on. Raises OSError."""
    wanted = remembered_port(folder) or 0
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            if not wanted:
                raise
            (folder / "port").unlink()
            return usable_port(folder)
        port: int = probe.getsockname()[1]
    remember_port(folder, port)
    return port


def remember_port(folder: Path, port: int | None) -> None:
    """Use this port next time too."""
    if port is not None and remembered_port(folder) != port:
        (folder / "port").write_text(str(port))


def forget_port(folder: Path) -> None:
    """Take another port next time."""
    (folder / "port").unlink(missing_ok=True)
