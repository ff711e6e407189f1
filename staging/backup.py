"""Backup and restore of our database, by PostgreSQL's own `pg_dump`, `pg_restore` and `psql`.

The embedded server's wheel brings them (version 18); where there is none, those on PATH are used. A backup is one file
in pg_dump's custom format, taken from one snapshot beside running work, and one line after it by which a file that was
cut or changed is told (pg_restore does not read it, and takes some cut files for whole ones). A restore replaces every
schema of ours in one transaction: it is done as a whole, or nothing is changed. Passwords go through the environment,
never the command line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from staging.errors import DatabaseTrouble, DatabaseUnavailable
from staging.postgres_account import locate_programs
from staging.tables import SCHEMAS

CHUNK = 1 << 20
_SEAL = re.compile(rb"\nconcord-backup sha256=([0-9a-f]{64})\n\Z")
_SEAL_BYTES = len("\nconcord-backup sha256=\n") + 64
LOCK_SECONDS = 30


class BackupTrouble(DatabaseTrouble):
    """The file is no backup of ours, or cannot be written or read."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup file."""

    file: Path
    bytes: int
    sha256: str
    schema: str
    """The version of the schema in it."""


def dump(url: URL, file: Path) -> Backup:
    """Copies the database into a file that only its owner can read; what stood there is replaced when it is whole.
    Raises BackupTrouble, DatabaseUnavailable."""
    half = file.with_name(f"{file.name}.part")
    try:
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise BackupTrouble(f"{file}: {error.strerror}") from None
    wanted = [argument for schema in SCHEMAS for argument in ("--schema", schema)]
    try:
        with os.fdopen(handle, "wb") as out:
            done = subprocess.run(
                [_program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", *wanted, *_where(url)],
                stdout=out, stderr=subprocess.PIPE, env=_environment(url), check=False,
            )  # fmt: skip
        if done.returncode:
            raise _trouble("pg_dump", done.stderr)
        with half.open("ab") as out:
            out.write(f"\nconcord-backup sha256={_digest(half, half.stat().st_size)}\n".encode())
            out.flush()
            os.fsync(out.fileno())
        half.rename(file)
    except OSError as error:
        raise BackupTrouble(f"{file}: {error.strerror}") from None
    finally:
        half.unlink(missing_ok=True)
    return about(file)


def about(file: Path) -> Backup:
    """What a backup file is. Raises BackupTrouble where it is none."""
    _check_seal(file)
    listed = _run("pg_restore", "--list", str(file))
    if " TABLE ops audit " not in listed or " TABLE ops schema_version " not in listed:
        raise BackupTrouble(f"{file} is no backup of Concord's database")
    data = _run("pg_restore", "--data-only", "--schema=ops", "--table=schema_version", "--file=-", str(file))
    found = re.search(r"^COPY ops\.schema_version .*\n(\w+)$", data, re.MULTILINE)
    if not found:
        raise BackupTrouble(f"{file} does not say which version of the schema it holds")
    size = file.stat().st_size
    return Backup(file, size, _digest(file, size), found[1])


def _check_seal(file: Path) -> None:
    """Raises BackupTrouble where the file's last line is not what was written when it was whole."""
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            content.seek(max(0, size - _SEAL_BYTES))
            sealed = _SEAL.search(content.read())
    except OSError as error:
        raise BackupTrouble(f"{file}: {error.strerror}") from None
    if sealed is None or sealed[1].decode() != _digest(file, size - _SEAL_BYTES):
        raise BackupTrouble(f"{file} is no backup of Concord's, or it was cut or changed")


def _digest(file: Path, size: int) -> str:
    """SHA-256 of a file's first bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while size > 0 and (chunk := content.read(min(CHUNK, size))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def restore(url: URL, file: Path) -> None:
    """Replaces everything of ours in the database by what the file holds, as the owner role, in one transaction.

    Whoever works on the tables is waited for. Raises BackupTrouble, DatabaseUnavailable; then nothing is changed."""
    begin = (
        f"begin; set local lock_timeout = '{LOCK_SECONDS}s'; set client_min_messages = error;"
        f" drop schema if exists {', '.join(SCHEMAS)} cascade;\n"
    )
    with (
        subprocess.Popen(
            [_program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-", *_where(url)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment(url),
        ) as into,
        subprocess.Popen(
            [_program("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(file)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(None),
        ) as out,
    ):  # fmt: skip
        assert into.stdin is not None
        assert out.stdout is not None
        assert out.stderr is not None
        assert into.stderr is not None
        try:
            into.stdin.write(begin.encode())
            shutil.copyfileobj(out.stdout, into.stdin, CHUNK)
            said = out.stderr.read()
            # without a commit psql ends, and the server rolls everything back
            into.stdin.write(b"commit;\n" if out.wait() == 0 else b"rollback;\n")
            into.stdin.close()
        except BrokenPipeError:
            said = b""
            out.kill()
        refused = into.stderr.read()
        if into.wait():
            raise _trouble("psql", refused)
        if out.wait():
            raise _trouble("pg_restore", said)


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run([_program(program), *arguments], capture_output=True, env=_environment(None), check=False)
    if done.returncode:
        raise _trouble(program, done.stderr)
    return done.stdout.decode(errors="replace")


def _trouble(program: str, said: bytes) -> DatabaseTrouble:
    """What one of PostgreSQL's programs said, as a reason: its last line tells it."""
    lines = [line for line in said.decode(errors="replace").strip().splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no reason given")
    told = re.sub(r"^(?:psql:<stdin>:\d+: |pg_\w+: error: )", "", told)
    kind = DatabaseUnavailable if "connection to server" in told else BackupTrouble
    return kind(f"{program}: {told[:400]}")


def _program(name: str) -> str:
    """PostgreSQL's program, from the embedded server's wheel or from PATH. Raises BackupTrouble."""
    try:
        return locate_programs().path(name)
    except DatabaseUnavailable:
        found = shutil.which(name)
        if found is None:
            raise BackupTrouble(f"{name} is not installed: it comes with PostgreSQL's client programs") from None
        return found


def _where(url: URL) -> list[str]:
    """The connection as options; neither password nor user are among them."""
    return [f"--dbname={url.database or ''}"]


def _environment(url: URL | None) -> Mapping[str, str]:
    """The caller's environment without its PG* variables, with the connection's own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
    if url is None:
        return clean
    known = {
        "PGHOST": url.host or "127.0.0.1", "PGPORT": str(url.port or 5432), "PGUSER": url.username or "",
        "PGPASSWORD": str(url.password or ""), "PGCONNECT_TIMEOUT": "10",
    }  # fmt: skip
    if isinstance(mode := url.query.get("sslmode"), str):
        known["PGSSLMODE"] = mode
    return clean | known
