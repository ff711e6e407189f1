"""Starts workers that have imported everything already: a proof starts hundreds, and importing takes most of a start.

A nursery is a process that imports and then forks a child for each request. A child is a process like any other: it
opens its own connections and files, and a signal ends it as it ends any. The nursery's own process never opens
anything, and uses no library that keeps threads, so that a fork of it is whole.

    Nursery    our side: asks for children, learns how they ended
    serve()    the nursery's side: `python -m apps.proving.nursery`
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOP = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.02
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""numpy's threads are started when it is imported; a fork would be without them."""


@dataclass(frozen=True)
class Ended:
    """What a worker said, and how it ended: its exit code, or minus the signal that ended it."""

    code: int
    lines: list[dict[str, Any]]
    said: str
    began_at: float
    """By the clock that the worker's lines are stamped with."""

    @property
    def settled_after(self) -> float:
        """Seconds from the start of the process until nothing was left to do; else until its last word."""
        at = [line["at"] for line in self.lines if line.get("settled")] or [line["at"] for line in self.lines]
        return float(at[-1] - self.began_at) if at else float("inf")

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1] if self.lines else {}


class Child:
    """One worker. Its output stands in two files."""

    def __init__(self, pid: int, out: Path, err: Path) -> None:
        self.pid, self.out, self.err = pid, out, err
        self.began_at = time.time()
        self._code: int | None = None
        self._is_over = threading.Event()

    @property
    def is_alive(self) -> bool:
        return not self._is_over.is_set()

    @property
    def is_asleep(self) -> bool:
        """Whether it was stopped (SIGSTOP)."""
        import psutil

        with contextlib.suppress(psutil.Error):
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        return False

    def signal(self, number: int) -> None:
        """Sends it a signal, if it lives."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it, and waits for that."""
        self.signal(signal.SIGKILL)
        self._is_over.wait(10)

    def lines(self) -> list[dict[str, Any]]:
        """What it has said so far."""
        text = self.out.read_text(encoding="utf-8") if self.out.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def ended(self, patience_seconds: float) -> Ended:
        """Waits for its end; one that does not end in time is killed, which its code tells."""
        said = ""
        if not self._is_over.wait(patience_seconds):
            said = f"it did not end within {patience_seconds:.0f} s"
            self.kill()
        said = "\n".join(filter(None, (self.err.read_text(encoding="utf-8", errors="replace").strip(), said)))
        return Ended(self._code if self._code is not None else -signal.SIGKILL, self.lines(), said, self.began_at)

    def over(self, code: int) -> None:
        """It has ended."""
        self._code = code
        self._is_over.set()


class Nursery:
    """Children on request. `open` before the first, `close` after the last: whoever still lives then is ended.

    also: a module that is imported as well, with whatever that changes: a proof of proofs plants a defect so."""

    def __init__(self, also: str = "") -> None:
        self.also = also
        self._process: subprocess.Popen[str] | None = None
        self._children: dict[int, Child] = {}
        self._asked: dict[int, tuple[Path, Path]] = {}
        self._number = 0
        self._news = threading.Condition()

    def open(self) -> None:
        """Starts the nursery's process; it imports while other things are made ready."""
        environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": str(_TOP)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "apps.proving.nursery", *([self.also] if self.also else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            cwd=_TOP,
        )
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> Child:
        """A worker with these arguments and variables; its output goes to files in `folder`."""
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("the nursery is not open")
        with self._news:
            self._number += 1
            number = self._number
            out, err = folder / f"worker-{number}.out", folder / f"worker-{number}.err"
            self._asked[number] = (out, err)
            asked = {"number": number, "arguments": list(arguments), "environment": dict(environment)}
            process.stdin.write(json.dumps({**asked, "out": str(out), "err": str(err)}) + "\n")
            process.stdin.flush()
            self._news.wait_for(lambda: number in self._children or process.poll() is not None, timeout=120)
            if number not in self._children:
                raise RuntimeError("the process that starts workers has ended")
            return self._children[number]

    def close(self) -> None:
        """Ends every child and the nursery."""
        for child in self._children.values():
            child.kill()
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _listen(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        for line in process.stdout:
            told = json.loads(line)
            number = told["number"]
            with self._news:
                if "pid" in told:
                    self._children[number] = Child(told["pid"], *self._asked[number])
                else:
                    self._children[number].over(told["code"])
                self._news.notify_all()
        with self._news:
            for child in self._children.values():  # nobody is left who could tell how they ended
                if child.is_alive:
                    child.signal(signal.SIGKILL)
                    child.over(-signal.SIGKILL)
            self._news.notify_all()


# ------------------------------------------------------------------------------------------------ the nursery's side


def serve() -> None:
    """Forks a child for each line of stdin; tells pids and exit codes on stdout. Ends with its parent."""
    from apps.proving import worker  # noqa: F401
    from expectations.context import preload

    preload()  # what takes longest to import, before anybody waits for it
    for also in sys.argv[1:]:
        importlib.import_module(also)
    numbers: dict[int, int] = {}
    buffer = b""
    while True:
        if select.select([0], [], [], _POLL_SECONDS)[0]:
            read = os.read(0, 1 << 16)
            if not read:
                break
            *lines, buffer = (buffer + read).split(b"\n")
            for line in lines:
                _fork(json.loads(line), numbers)
        while numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            _tell(number=numbers.pop(pid), code=os.waitstatus_to_exitcode(status))
    for pid in numbers:
        os.kill(pid, signal.SIGKILL)


def _fork(asked: dict[str, Any], numbers: dict[int, int]) -> None:
    if pid := os.fork():
        numbers[pid] = asked["number"]
        _tell(number=asked["number"], pid=pid)
        return
    code = 70
    try:
        for handle, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), handle)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(asked["environment"])
        random.seed()
        from apps.proving.worker import main

        code = main(*asked["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    serve()
