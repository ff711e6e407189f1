"""Pages of the guide are walked as they stand: their files, their commands, what they print."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.docs.walk import Walker, blocks, missing, steps

TOP = Path(__file__).resolve().parent.parent.parent
WALKED = ("first-two-systems", "going-live", "mapping-sheets", "when-something-fails")
PORTS = {"crm": "9401", "accounting": "9402", "slack": "9403", "asana": "9404"}
OURS = ("CONCORD_", "PREFECT_", "SANDBOX_", "CRM_TOKEN", "ACCOUNTING_TOKEN")


@pytest.mark.parametrize(
    ("shown", "said", "is_found"),
    [
        ("done", "first\ndone\n", True),
        ("a  b", "a     b", True),
        ("crm … lets us in", "crm  answers and lets us in", True),
        ("16 writes", "17 writes", True),
        ("16 writes", "0 writes", False),
        ("0 writes", "0 writes", True),
        ("0 writes", "10 writes", False),
        ("done", "not done", False),
    ],
)
def test_what_a_guide_shows_is_compared_with_what_is_said(shown: str, said: str, is_found: bool) -> None:
    assert (missing((shown,), said) is None) == is_found


def test_lines_are_to_come_in_the_guides_order() -> None:
    assert missing(("b", "a"), "a\nb") == "a"


@pytest.fixture
def walker() -> Iterator[Walker]:
    """A new folder outside the checkout with the environment's `concord` and `python` on its path."""
    # Not pytest's tmp_path: as root that is private, and the database's account must get there.
    folder = Path(tempfile.mkdtemp(prefix="concord-guide-"))
    folder.chmod(0o755)
    (folder / "deployments").symlink_to(TOP / "deployments")  # what stands in a checkout
    shims = folder / "bin"
    shims.mkdir()
    for name, started in (("concord", "-m apps.cli"), ("python", "")):
        shim = shims / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {started} "$@"\n')
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    environment |= {"PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": str(TOP), "COLUMNS": "300"}
    ports = {old: str(_free_port()) for old in PORTS.values()}
    found = Walker(folder, environment, ports)
    try:
        yield found
    finally:
        found.end()
        _stop_servers(folder / ".concord")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WALKED)
def test_the_guide_holds_command_by_command(walker: Walker, name: str) -> None:
    guide = TOP / "docs" / "guide" / f"{name}.md"
    sandbox_ports = " ".join(f"--{name}-port {walker.here(port)}" for name, port in PORTS.items())
    for block in blocks(guide.read_text(encoding="utf-8")):
        if "file" in block.options:
            walker.write(block)
        elif block.language == "console":
            for step in steps(block):
                if block.options.get("terminal") == "2":
                    walker.start(step, sandbox_ports)
                elif block.options.get("until") == "ctrl-c":
                    walker.interrupt(walker.start(step))
                else:
                    walker.run(step)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop_servers(home: Path) -> None:
    """What the walk left running."""
    if not home.exists():
        return
    from deployments import prefect_local
    from staging.embedded import EmbeddedServer

    prefect_local.stop(home / "prefect")
    EmbeddedServer(home / "postgres").destroy()
