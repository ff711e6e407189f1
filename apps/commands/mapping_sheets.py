"""`concord mapping export`, `import` and `diff`: sheets that people keep in a spreadsheet, and what a change means.

Nothing is written before the whole landscape was read with the new sheets in place, and a person (or `--yes`) agreed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.exits import REFUSED, Stop
from apps.options import Json, Yes
from apps.screen import count, emit, err, heading, is_interactive, say, show, then

if TYPE_CHECKING:
    from canonical.mapping.incoming import Incoming
    from canonical.mapping.sheet import SheetRow
    from canonical.mapping.sheet_diff import SheetDiff

BOOK = ".xlsx"
MAX_BYTES = 30_000_000


def register(app: typer.Typer) -> None:
    app.command("export")(export)
    app.command("import")(import_sheets)
    app.command("diff")(diff)


def export(
    context: typer.Context,
    to: Annotated[Path, typer.Option("--to", metavar="FILE.xlsx", help="The workbook to write.")],
    name: Annotated[str | None, typer.Option("--system", help="Only the sheets that speak of this system.")] = None,
    seen: Annotated[
        bool, typer.Option("--seen", help="Offer also the fields that were seen in what is landed.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Write the landscape's mapping sheets as one workbook, with drop-downs and the connectors' standard rows."""
    from canonical.declarations.offers import offered
    from canonical.mapping.book_made import make_book
    from canonical.mapping.functions import RULES
    from tasks.landscape import connector_defaults, declared_files, folder_of

    here = session.of(context)
    if to.suffix.lower() != BOOK:
        raise Stop(REFUSED, f"--to: expected a name that ends in {BOOK}, found {to.name!r}")
    if not to.parent.is_dir():
        raise Stop(REFUSED, f"--to: there is no folder {to.parent}")
    landscape = here.landscape()
    wanted = session.system(landscape, name) if name else None
    files = declared_files(folder_of(here.folder))
    more = _seen_fields(here, wanted) if seen else {}
    sheets, standards = offered(landscape, connector_defaults(), files, wanted, more)
    if not sheets:
        raise Stop(REFUSED, f"no sheet of {landscape.name} speaks of {wanted}" if wanted else "there is no sheet")
    made = make_book(sheets, standards, (*landscape.systems, "canonical"), RULES)
    if to.exists():
        session.confirmed(f"{to} exists: replace it?", yes=yes)
    write_whole(to, made)
    show(f"{to}: {count(len(sheets), 'sheet')}, {count(len(standards), 'standard mapping')} to be read")
    then(f"bring it back when it is edited: concord mapping import {to}")


def import_sheets(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.xlsx", help="A workbook, or a CSV named as its sheet.")],
    yes: Yes = False,
    remove_many: Annotated[
        bool, typer.Option("--remove-many", help="Also where a system loses half of its mappings or more.")
    ] = False,
    over_newer: Annotated[
        bool, typer.Option("--over-newer", help="Also over sheets that were changed since the workbook was made.")
    ] = False,
) -> None:
    """Show what a workbook changes, check the whole landscape with it, ask, and write the sheets as CSV."""
    from canonical.mapping.incoming import take_in
    from tasks.landscape import declared_files, folder_of

    folder = folder_of(session.of(context).folder)
    existing = {name: data for name, data in declared_files(folder).items() if not name.endswith(BOOK)}
    incoming = take_in(file.name, _bytes_of(file), existing)
    changed = [one for one in incoming if existing.get(one.file) != one.data]
    if not changed:
        show(f"{file}: {_names(incoming) or 'every sheet'} as it stands; nothing to write")
        return
    found, standard = _checked(folder, existing, changed)
    _print_import(found, standard, changed, existing)
    newer = [one for one in changed if _is_newer(one, existing)]
    if newer and not over_newer:
        raise Stop(
            REFUSED,
            f"{_names(newer)} changed since {file.name} was made: what was changed there would be undone",
            "export again and repeat the edits, or look at the differences above and add --over-newer",
        )
    _agreed(found, yes=yes, remove_many=remove_many)
    _write_all(folder, {one.file: one.data for one in changed}, existing)
    show(f"written: {_names(changed)}", style="green")
    then("see what it does to the records: concord plan")


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A sheet (CSV or XLSX), or a folder of sheets.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same, as it is to be.")],
    as_json: Json = False,
) -> None:
    """Compare two sheets, workbooks or folders of them by what their rows mean, wherever the rows stand."""
    from canonical.mapping.sheet_diff import compare

    found = compare(rows_of(a), rows_of(b))
    if as_json:
        emit(found.as_dict())
        return
    _print_rows(found)
    for loss in found.losses:
        show(f"{loss.system} loses {loss.removed} of {count(loss.before, 'mapping')}", style="yellow")


# ---- reading


def _seen_fields(here: session.Session, name: str | None) -> dict[str, list[str]]:
    """System → every field that was seen in its landed records, as a sheet writes it."""
    from apps.commands.mapping import SAMPLE, seen_paths
    from staging import reports

    found: dict[str, list[str]] = {}
    with here.reading() as (world, conn):
        for system, declared in world.landscape.active_systems.items():
            for stream in declared.streams if name in (None, system) else ():
                paths = seen_paths(reports.sample_payloads(conn, system, stream, SAMPLE))
                found.setdefault(system, []).extend(f"{stream}.{path}" for path in paths)
    return found


def _bytes_of(file: Path) -> bytes:
    """A file's bytes, within bounds."""
    if file.suffix.lower() not in (BOOK, ".csv"):
        raise Stop(REFUSED, f"expected an .xlsx or .csv, found {file.name!r}")
    if file.is_file() and file.stat().st_size > MAX_BYTES:
        raise Stop(REFUSED, f"{file}: expected at most {MAX_BYTES // 1_000_000} MB, found {file.stat().st_size} bytes")
    return file.read_bytes()


def rows_of(path: Path) -> list[SheetRow]:
    """The rows of a CSV, of a workbook, of a landscape's `mappings/`, or of any folder of sheets. Raises Refused."""
    if not path.is_dir():
        return _rows_of_file(path)
    folder = path / "mappings" if (path / "mappings").is_dir() else path
    files = sorted(
        f for f in folder.iterdir() if f.suffix.lower() in (BOOK, ".csv") and not f.name.startswith((".", "~"))
    )
    if not files:
        raise Stop(REFUSED, f"{folder}: expected sheets (CSV or XLSX), found none")
    return [row for file in files for row in _rows_of_file(file)]


def _rows_of_file(file: Path) -> list[SheetRow]:
    from dataclasses import replace

    from canonical.mapping.incoming import relocated, take_in
    from canonical.mapping.sheet import parse_sheet, read_sheet
    from canonical.problems import Refused

    data = _bytes_of(file)
    if file.suffix.lower() == ".csv":
        return parse_sheet(str(file), data)
    found: list[SheetRow] = []
    for one in take_in(str(file), data, {}):
        rows, problems = read_sheet(one.file, one.data)
        if problems:
            raise Refused(relocated(problems, [one]))
        place = f"{file} {one.worksheet}"
        found += [replace(row, file=place, line=one.rows.get(row.line, row.line)) for row in rows]
    return found


def _checked(
    folder: Path, existing: Mapping[str, bytes], changed: Sequence[Incoming]
) -> tuple[SheetDiff, tuple[list[SheetRow], list[SheetRow]]]:
    """What the new sheets change, after the whole landscape was read with them: (their own rows, the standard rows that
    run again and those that run no more). Raises Refused naming cells."""
    from canonical.declarations.landscape import read_landscape
    from canonical.declarations.offers import standard_changes
    from canonical.mapping.incoming import relocated
    from canonical.mapping.sheet import read_sheet
    from canonical.mapping.sheet_diff import compare
    from canonical.problems import Refused
    from tasks.landscape import connector_defaults

    after = {**existing, **{one.file: one.data for one in changed}}
    try:
        landscape = read_landscape(after, connector_defaults(), folder.name)
    except Refused as refused:
        raise Refused(relocated(refused.problems, changed)) from None
    sheets = [file for file in after if file.startswith("mappings/") and file.endswith(".csv")]
    before = [row for file in sheets if file in existing for row in read_sheet(file, existing[file])[0]]
    now = [row for file in sheets for row in read_sheet(file, after[file])[0]]
    return compare(before, now), standard_changes(landscape, connector_defaults(), before, now)


def _is_newer(one: Incoming, existing: Mapping[str, bytes]) -> bool:
    """Whether the sheet is another one than that which the workbook was made from."""
    from canonical.mapping.incoming import digest_of

    before = existing.get(one.file)
    return before is not None and one.digest is not None and digest_of(before) != one.digest


# ---- showing and asking


def _print_import(
    found: SheetDiff,
    standard: tuple[Sequence[SheetRow], Sequence[SheetRow]],
    changed: Sequence[Incoming],
    existing: Mapping[str, bytes],
) -> None:
    """What a reviewer reads before anything is written."""
    for one in changed:
        if one.file not in existing:
            show(f"new sheet: {one.file}")
    _print_rows(found)
    told = (("run again, because no row of yours replaces them now", "+"), ("run no more: yours replace them", "-"))
    for (what, sign), rows in zip(told, standard, strict=True):
        if rows:
            heading(f"standard rows of connectors that {what}: {len(rows)}")
            for row in rows:
                show(f"{sign} {_said(row)}  ({row.file}:{row.line})", style="yellow")
    if found.is_empty:
        show(f"only order, comments or notation differ in {_names(changed)}")


def _print_rows(found: SheetDiff) -> None:
    for title, sign, style, rows in (("removed", "-", "red", found.removed), ("added", "+", "green", found.added)):
        if rows:
            heading(f"{title}: {count(len(rows), 'row')}")
            for row in rows:
                show(f"{sign} {_said(row)}  ({row.file}:{row.line})", style=style)
    if found.changed:
        heading(f"changed: {count(len(found.changed), 'row')}")
        for change in found.changed:
            after = change.after
            show(f"~ {_said(change.before)}  ({after.file}:{after.line})", style="yellow")
            for name, (old, new) in change.fields.items():
                show(f"    {name}: {_shown(old)} → {_shown(new)}")
    if found.is_empty:
        show(f"no difference in meaning ({count(found.unchanged, 'row')})")
    else:
        show(f"\n{count(found.unchanged, 'row')} unchanged")


def _said(row: SheetRow) -> str:
    """A row in one line."""
    rule = f"  [{row.rule}]" if row.rule else ""
    source = row.source_field or "(constant)"
    if row.direction == "ignored":
        return f"{row.source_system} {source} ignored"
    return f"{row.source_system} {source} → {row.target_system} {row.target_field}{rule}"


def _shown(text: str) -> str:
    return f"“{text}”" if text else "(nothing)"


def _names(incoming: Iterable[Incoming]) -> str:
    return ", ".join(one.file for one in incoming)


def _agreed(found: SheetDiff, *, yes: bool, remove_many: bool) -> None:
    """A person agrees; where half of a system's mappings would go, to that number by itself (RELIABILITY 64)."""
    for loss in found.many if not remove_many else ():
        told = f"{loss.system} would lose {loss.removed} of {count(loss.before, 'mapping')}"
        if not is_interactive():
            raise Stop(REFUSED, f"{told}: that needs a confirmation of its own", "if that is meant: add --remove-many")
        answer = err().input(f"{told}. Type {loss.removed} if that is meant: ", markup=False)
        if answer.strip() != str(loss.removed):
            raise Stop(REFUSED, "nothing was done")
    session.confirmed("write these sheets?", yes=yes)


# ---- writing


def _write_all(folder: Path, files: Mapping[str, bytes], existing: Mapping[str, bytes]) -> None:
    """Each sheet whole or not at all, and none over what somebody wrote meanwhile."""
    for name in files:
        path = folder / name
        if (path.read_bytes() if path.exists() else None) != existing.get(name):
            raise Stop(REFUSED, f"{name} was changed while this was shown: nothing was done", "start again")
    made: list[tuple[Path, str]] = []
    replaced: list[str] = []
    try:
        for name, data in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            made.append((_beside(folder / name, data), name))
        for temporary, name in made:
            os.replace(temporary, folder / name)
            replaced.append(name)
    except BaseException:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)
        for name in replaced:  # all of the sheets or none: together they were checked
            _put_back(folder / name, existing.get(name))
        raise
    say(f"{count(len(made), 'file')} replaced", style="dim")


def _put_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, before)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is never seen half-written."""
    temporary = _beside(path, data)
    try:
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path, data: bytes) -> Path:
    """The bytes, on disk, in a hidden file beside the one that they are to become; with its permissions."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def _umask() -> int:
    current: Any = os.umask(0)
    os.umask(current)
    return int(current)
