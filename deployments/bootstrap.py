"""Make the checkout's virtual environment: `python3 deployments/bootstrap.py` (what `make setup` runs).

Needs nothing but Python >= 3.11 and its pip. Every package comes from requirements.lock, whose hashes pip and uv check.
uv installs in seconds; it does not read pip's configuration (index, links, certificate), so that is handed over; where
uv fails nevertheless, pip installs the same lock, slower. Runs once for each version of the lock and of pyproject.toml.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
VENV = TOP / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
LOCK = TOP / "requirements.lock"
STAMP = VENV / ".concord-setup"
OLDEST = (3, 11)


def main() -> int:
    if sys.version_info < OLDEST:
        return refuse(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}")
    wanted = fingerprint()
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return 0
    begun = time.monotonic()
    say(f"Setting up {VENV.name}/ once (about 700 MB, a minute or two at most on a fast line)")
    if not PYTHON.exists():
        say(f"  creating it with Python {sys.version.split()[0]}")
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    if not (install_with_uv() or install_with_pip()):
        return refuse("the packages could not be installed; what pip said stands above")
    STAMP.write_text(wanted)
    say(f"  ready after {time.monotonic() - begun:.0f} s")
    return 0


def fingerprint() -> str:
    """What the environment was made from: the interpreter, the lock, the packaging."""
    parts = [sys.version.encode(), LOCK.read_bytes(), (TOP / "pyproject.toml").read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install_with_uv() -> bool:
    """uv, at the version that the lock pins, then everything else through it."""
    say("  fetching uv")
    pinned = VENV / "uv.lock.txt"
    pinned.write_text(locked("uv"))
    if not pip("install", "--require-hashes", "-r", str(pinned)):
        return False
    environment = os.environ | {"VIRTUAL_ENV": str(VENV)} | pip_configuration_for_uv()
    count = len(re.findall(r"^[a-z0-9].*==", LOCK.read_text(), re.MULTILINE))
    say(f"  installing {count} locked packages with uv")
    uv = [str(PYTHON), "-m", "uv", "--no-progress", "pip"]
    synced = quiet([*uv, "sync", "--require-hashes", str(LOCK)], environment)
    return synced and quiet([*uv, "install", "--no-deps", "--no-build-isolation", "-e", str(TOP)], environment)


def install_with_pip() -> bool:
    """The same lock through pip: a few minutes."""
    say("  uv could not do it here; installing with pip (some minutes)")
    # The lock is complete: without --no-deps pip would resolve extras anew and refuse what it does not find there.
    return pip("install", "--no-deps", "--require-hashes", "-r", str(LOCK)) and pip(
        "install", "--no-deps", "--no-build-isolation", "-e", str(TOP)
    )


def pip_configuration_for_uv() -> dict[str, str]:
    """pip's configured index, further indexes, links and certificate as uv's variables; what is set for uv stays."""
    listed = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], check=False, capture_output=True, text=True)
    settings = dict(re.findall(r"^(?:global|install|site|user|:env:)\.([a-z-]+)='(.*)'$", listed.stdout, re.MULTILINE))
    translated = {
        "UV_DEFAULT_INDEX": settings.get("index-url"),
        "UV_INDEX": " ".join(settings.get("extra-index-url", "").replace("\\n", " ").split()),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").replace("\\n", " ").split()),
        "SSL_CERT_FILE": settings.get("cert"),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # pip's: every index is asked. The lock's hashes make it safe.
        "UV_LINK_MODE": "copy" if os.environ.get("CI") else None,
        "UV_HTTP_TIMEOUT": settings.get("default-timeout") or settings.get("timeout"),
    }
    return {name: value for name, value in translated.items() if value and name not in os.environ}


def locked(package: str) -> str:
    """One package's lines of the lock."""
    found = re.search(rf"^{re.escape(package)}==[^\n]*\n(?:[ \t]+[^\n]*\n)*", LOCK.read_text(), re.MULTILINE)
    if not found:
        raise SystemExit(f"requirements.lock names no {package}: run `make lock`")
    return found.group(0)


def pip(*arguments: str) -> bool:
    return quiet([str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", *arguments], dict(os.environ))


def quiet(command: list[str], environment: dict[str, str]) -> bool:
    """Run a command; show what it said only if it failed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=TOP)
    if done.returncode:
        sys.stderr.write(f"  {' '.join(command[1:4])} … failed:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def say(line: str) -> None:
    print(line, flush=True)


def refuse(reason: str) -> int:
    print(f"setup: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
