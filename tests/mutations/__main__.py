"""python -m tests.mutations [WORD …]: plants each deliberate defect of `defects.yaml` in a copy and runs its tests.

First the tests run in a copy without defects and must pass. Then each defect must make one of its own tests fail; a
defect that nothing notices, or that keeps the tests from running at all, is named. Exit code 0 only if all are caught.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.defects import TOP, Defect, defects

PASSED, FAILED = 0, 1
"""pytest's exit codes; every other one means that the tests did not run."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Plant defects; see them caught.")
    parser.add_argument("words", nargs="*", help="only defects whose name holds one of these")
    asked = parser.parse_args()
    chosen = [d for d in defects() if not asked.words or any(word in d.name for word in asked.words)]
    if not chosen:
        parser.error("no defect has such a name")
    with tempfile.TemporaryDirectory(prefix="concord-mutations-") as folder:
        copy = Path(folder) / "copy"
        _copy(copy)
        tests = sorted({test for defect in chosen for test in defect.caught_by})
        print(f"{len(tests)} tests without a defect …", flush=True)
        code, said = _run(copy, tests)
        if code != PASSED:
            print(f"they do not pass as the code stands:\n{said}")
            return 1
        missed = [defect for defect in chosen if not _is_caught(copy, defect)]
    print(f"{len(chosen)} defects planted, {len(chosen) - len(missed)} caught")
    return 1 if missed else 0


def _copy(where: Path) -> None:
    """The checkout's files as they stand, tracked or not yet, with its environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TOP, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (TOP / name).is_file():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, where / name)


def _is_caught(copy: Path, defect: Defect) -> bool:
    """Plants one defect, runs its tests, takes it out again."""
    began = time.monotonic()
    sound = {edit.file: (copy / edit.file).read_text(encoding="utf-8") for edit in defect.edits}
    for edit in defect.edits:
        file = copy / edit.file
        file.write_text(edit.done_to(file.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        code, said = _run(copy, defect.caught_by)
    finally:
        for name, text in sound.items():
            (copy / name).write_text(text, encoding="utf-8")
    verdict = {PASSED: "NOT CAUGHT", FAILED: "caught"}.get(code, f"its tests did not run (pytest ended with {code})")
    print(f"{verdict:10}  {defect.name}  ({time.monotonic() - began:.0f} s)", flush=True)
    if code not in (PASSED, FAILED):
        print(said)
    return code == FAILED


def _run(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr)[-3000:]


if __name__ == "__main__":
    sys.exit(main())
