"""Reading a landscape from its folder, and secrets from where it says they are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from canonical.declarations.connectors import ConnectorDefaults, read_defaults
from canonical.declarations.landscape import read_landscape
from canonical.declarations.oauth import OAuth2
from canonical.landscape import Landscape, SecretRef
from canonical.problems import Problem, Refused
from connectors import registry
from connectors.protocol import Misdeclared, Secret

DEFAULT_FOLDER = Path("deployments/demo")
MAX_FILES = 2_000
_READ = (".yaml", ".yml", ".csv")
_SHEETS = "mappings/"
"""Where a workbook would be taken for a sheet: one that lies there is named, so that it can be refused."""
BLOCK_SECONDS = 30.0
"""How long a Prefect block's value is used before the block is loaded again: loading is a request of its own. After a
refusal it is loaded at once."""
_blocks: dict[str, tuple[str, float]] = {}
_blocks_lock = threading.Lock()


def folder_of(named: str | Path | None = None) -> Path:
    """The landscape's folder: the one named, else CONCORD_LANDSCAPE, else the demo's."""
    return Path(named or os.environ.get("CONCORD_LANDSCAPE") or DEFAULT_FOLDER)


@cache
def connector_defaults() -> Mapping[str, ConnectorDefaults]:
    """What every connector ships: streams, standard sheet, settings."""
    return {name: read_defaults(name, kind.defaults, kind.sheet) for name, kind in registry.kinds().items()}


def load(named: str | Path | None = None) -> Landscape:
    """The landscape of a folder. Raises Refused with every problem of every file."""
    folder = folder_of(named)
    return read_landscape(declared_files(folder), connector_defaults(), folder.name)


def declared_files(folder: Path) -> dict[str, bytes]:
    """Every declaration below a landscape's folder: path inside it → bytes. Raises Refused where there is none."""
    if not folder.is_dir():
        raise Refused([Problem(str(folder), None, "the landscape's folder", "a folder", "nothing there")])
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and not any(s.startswith(".") for s in p.parts[-3:])]
    if len(paths) > MAX_FILES:
        raise Refused([Problem(str(folder), None, "the folder", f"at most {MAX_FILES} files", f"{len(paths)}")])
    files = {p.relative_to(folder).as_posix(): p for p in paths}
    found = {name: p.read_bytes() for name, p in files.items() if p.suffix in _READ}
    books = [name for name, p in files.items() if p.suffix == ".xlsx" and name.startswith(_SHEETS)]
    return {**found, **dict.fromkeys(books, b"")}


def resolved(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings with every secret's place turned into a `Secret`, which reads it anew each time it is asked."""
    return {name: _resolve(value, f"{where}.{name}") for name, value in settings.items()}


def _resolve(value: Any, where: str) -> Any:
    if isinstance(value, SecretRef):
        return Secret(lambda: read_secret(value, where), lambda: read_secret(value, where, is_anew=True))
    if isinstance(value, OAuth2):
        ours = {name: _resolve(getattr(value, name), f"{where}.{name}") for name in ("client_id", "client_secret")}
        return replace(value, **ours)
    if isinstance(value, Mapping):
        return {k: _resolve(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(v, where) for v in value]
    return value


def read_secret(ref: SecretRef, where: str, *, is_anew: bool = False) -> str:
    """The secret itself; `is_anew`: past the little cache that blocks have. Raises Misdeclared naming its place,
    never its value."""
    if ref.kind == "env":
        found = os.environ.get(ref.name)
        if not found:
            raise Misdeclared(f"expected a secret in the environment variable {ref.name}, found nothing", where=where)
        return found
    if ref.kind == "file":
        try:
            return Path(ref.name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Misdeclared(f"expected a secret in the file {ref.name}: {error.strerror}", where=where) from None
        except UnicodeDecodeError:
            raise Misdeclared(f"expected a secret as text in the file {ref.name}", where=where) from None
    return _from_block(ref.name, where, is_anew)


def _from_block(name: str, where: str, is_anew: bool) -> str:
    """A block's value. Where Prefect does not answer, the one from before stays in use until a system refuses it."""
    with _blocks_lock:
        known, until = _blocks.get(name, ("", 0.0))
        if known and not is_anew and time.monotonic() < until:
            return known
        try:
            value = _loaded_block(name, where)
        except Misdeclared:
            if not known or is_anew:
                raise
            value = known
        _blocks[name] = value, time.monotonic() + BLOCK_SECONDS
        return value


def _loaded_block(name: str, where: str) -> str:
    from prefect.blocks.system import Secret as SecretBlock  # Prefect is only loaded by those who keep secrets in it

    try:
        block: Any = SecretBlock.load(name)
        return str(block.get())
    except Exception as error:
        raise Misdeclared(
            f"expected a Prefect Secret block named {name}: {type(error).__name__}", where=where
        ) from None
