"""A guide in markdown as something that can be walked: its files are written, its commands run, what it shows is held
against what is said.

A fenced block with `file=PATH` is a file. A fenced block of `console` is a session: lines that begin with `$ ` are
commands, the lines below each are what it prints, in this order, among other lines:

    …            anything within the line
    0            nought; any other number stands for any number but nought (figures and ids may differ)
    spaces       as many as there are

`terminal=2` runs a command beside the others until the end, `until=ctrl-c` until it has said what the guide shows.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 180
COMMAND_SECONDS = 240
_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_KEEP = "\ncode=$?; pwd > {place}/cwd; env -0 > {place}/env; exit $code"


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    options: Mapping[str, str]
    text: str
    line: int


@dataclass(frozen=True)
class Step:
    """One command and the lines that it is to print."""

    command: str
    shows: tuple[str, ...]
    line: int


def blocks(markdown: str) -> Iterator[Block]:
    """Every fenced block of a page."""
    for found in _FENCE.finditer(markdown):
        options = dict(part.partition("=")[::2] for part in found[2].split())
        yield Block(found[1], options, found[3], markdown.count("\n", 0, found.start()) + 1)


def steps(block: Block) -> list[Step]:
    """The commands of a session. Raises AssertionError where it does not begin with one."""
    found: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append(Step(line[2:], (), number))
        elif line.strip():
            assert found, f"line {number}: a session begins with a command"
            last = found[-1]
            found[-1] = Step(last.command, (*last.shows, line), last.line)
    return found


def missing(shows: tuple[str, ...], said: str) -> str | None:
    """The first line of the guide that was not printed, at least not after those before it; None: all were."""
    lines = iter([" ".join(line.split()) for line in said.splitlines()])
    for wanted in shows:
        pattern = _pattern(wanted)
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None


def _pattern(wanted: str) -> re.Pattern[str]:
    parts = re.split(r"(…|\d+)", " ".join(wanted.split()))
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if part == "…":
        return ".*"
    if part.isdecimal():
        return "0" if part == "0" else r"\d*[1-9]\d*|0\d+".join(("(?:", ")"))
    return re.escape(part)


@dataclass
class Walker:
    """A shell that walks: what one command exports or where it goes, the next one finds."""

    folder: Path
    environment: dict[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)
    """What stands in the guide → what stands here instead (ports)."""
    beside: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def here(self, text: str) -> str:
        """The guide's text with this walk's ports."""
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return text

    def write(self, block: Block) -> None:
        """The file that a block declares."""
        path = self.folder / block.options["file"]
        assert path.parent.is_dir(), f"line {block.line}: the guide has not made the folder of {path.name}"
        path.write_text(self.here(block.text), encoding="utf-8")

    def run(self, step: Step) -> None:
        """One command, to its end: exit code 0, and it prints what the guide shows."""
        place = self.folder / ".walk"
        place.mkdir(exist_ok=True)
        script = self.here(step.command) + _KEEP.format(place=place)
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said = done.stdout
        assert done.returncode == 0, f"line {step.line}: `{step.command}` ended with {done.returncode}:\n{said}"
        self.folder = Path((place / "cwd").read_text().strip())
        kept = (place / "env").read_text().split("\0")
        self.environment = dict(pair.partition("=")[::2] for pair in kept if pair)
        lost = missing(step.shows, self.there(said))
        assert lost is None, f"line {step.line}: `{step.command}` did not print {lost!r}, but:\n{said}"

    def there(self, said: str) -> str:
        """What was said with the guide's ports."""
        for old, new in self.replaced.items():
            said = said.replace(new, old)
        return said

    def start(self, step: Step, more: str = "") -> subprocess.Popen[bytes]:
        """A command that stays: returns when it has said what the guide shows."""
        log = self.folder / f"{len(self.beside)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(step.command)} {more}"], cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.beside.append(process)
        deadline = time.monotonic() + READY_SECONDS
        while lost := missing(step.shows, self.there(log.read_text())):
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, f"line {step.line}: `{step.command}` did not print {lost!r}, but:\n{log.read_text()}"
            time.sleep(0.1)
        return process

    def interrupt(self, process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C in its terminal."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)

    def end(self) -> None:
        """Ends whatever runs beside."""
        for process in self.beside:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
