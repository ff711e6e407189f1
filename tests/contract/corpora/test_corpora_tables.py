"""The same texts in folders and databases: CSV files, workbooks and tables; as values, keys and names of columns."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from canonical.landscape import Stream
from connectors import registry
from connectors.files.table import column_name
from connectors.files.text import ERROR_WORDS
from connectors.protocol import Context, Misdeclared, Secret, SystemFault, Write
from staging.embedded import EmbeddedServer
from tests.contract.corpora.shore import Landed, Shore
from tests.fixtures.corpora.naughty_strings import BROKEN, STRINGS
from tests.fixtures.database import TestDatabase

pytestmark = pytest.mark.slow
"""Every text and document through every connector: minutes, and in `make test-all`."""

LONG_AGO = 1_700_000_000
TEXTS = list(STRINGS.values())


def books(folder: Path, name: str, **options: Any) -> Context:
    stream = Stream("people", key=("Ref",), options={"path": name, **options})
    return Context("peer", {"path": str(folder)}, {"people": stream})


def save_csv(folder: Path, rows: Sequence[Sequence[str]], encoding: str = "utf-8", separator: str = ",") -> str:
    told = io.StringIO(newline="")
    csv.writer(told, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(rows)
    (folder / "people.csv").write_bytes(told.getvalue().encode(encoding, "surrogatepass"))
    os.utime(folder / "people.csv", (LONG_AGO, LONG_AGO))
    return "people.csv"


def save_book(folder: Path, rows: Sequence[Sequence[str]]) -> str:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
        for cell in sheet[sheet.max_row]:
            cell.data_type = "s"  # text as it stands, also where it begins like a formula
    book.save(folder / "people.xlsx")
    os.utime(folder / "people.xlsx", (LONG_AGO, LONG_AGO))
    return "people.xlsx"


@contextmanager
def shore(database: TestDatabase, kind: str, context: Context) -> Iterator[Shore]:
    made = Shore(database, kind, context)
    try:
        yield made.emptied()
    finally:
        made.connector.close()


def accounted(landed: Landed, sent: int) -> None:
    counts = landed.read.counts
    assert (counts.received, counts.new + counts.refused) == (sent, sent)
    assert len(landed.payloads) == counts.new
    assert all(r.reason and "Traceback" not in r.reason for r in landed.refused)


def blank(text: str) -> bool:
    """A cell of nothing but blanks is an empty cell."""
    return not text.strip()


def check_values(landed: Landed, texts: Mapping[str, str], may_be_refused: frozenset[str] = ERROR_WORDS) -> None:
    accounted(landed, len(texts))
    for key, text in texts.items():
        if key in landed.payloads:
            found = json.loads(landed.payloads[key])["Name"]
            assert found == (None if blank(text) else text), repr(text[:40])
        else:
            assert text in may_be_refused, repr(text[:40])


CSV_FORMS = {"utf-8": ",", "utf-8-sig": ";", "utf-16": "\t", "utf-8 with bars": "|"}


@pytest.mark.parametrize("form", CSV_FORMS)
def test_cells_of_a_csv_file(tmp_path: Path, module_database: TestDatabase, form: str) -> None:
    texts = {f"R{n}": text for n, text in enumerate(TEXTS)}
    encoding, separator = form.split()[0], CSV_FORMS[form]
    name = save_csv(tmp_path, [("Ref", "Name"), *texts.items()], encoding, separator)
    context = books(tmp_path, name, encoding="utf-8" if encoding == "utf-8-sig" else encoding, delimiter=separator)
    with shore(module_database, "files", context) as ground:
        check_values(ground.land(), texts)


@pytest.mark.parametrize("name", BROKEN)
def test_a_csv_file_of_bytes_that_are_no_text(tmp_path: Path, module_database: TestDatabase, name: str) -> None:
    """A file is one text: half a character anywhere in it means that it is not what it is said to be."""
    file = save_csv(tmp_path, [("Ref", "Name"), ("R1", "Acme"), ("R2", BROKEN[name])])
    with shore(module_database, "files", books(tmp_path, file)) as ground:
        if "\x00" in BROKEN[name]:
            landed = ground.land()
            accounted(landed, 2)
            assert set(landed.payloads) == {"R1"}
        else:
            with pytest.raises(SystemFault, match="line 3 is not utf-8"):
                ground.land()


def as_excel(text: str) -> str:
    """A text as spreadsheet programs write it: what XML cannot hold, and what looks like their escape, is escaped."""
    typed = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", text)
    return re.sub("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", lambda c: f"_x{ord(c[0]):04X}_", typed)


def test_cells_of_a_workbook(tmp_path: Path, module_database: TestDatabase) -> None:
    texts = {f"R{n}": text for n, text in enumerate([*TEXTS, "_x000D_", "a_x005F_b", "_x0041_x0042_"])}
    texts = {key: text for key, text in texts.items() if len(as_excel(text)) <= 32_767}
    name = save_book(tmp_path, [("Ref", "Name"), *((key, as_excel(text)) for key, text in texts.items())])
    with shore(module_database, "files", books(tmp_path, name)) as ground:
        check_values(ground.land(), texts)


@pytest.mark.parametrize("name", BROKEN)
def test_a_cell_that_is_no_text(tmp_path: Path, module_database: TestDatabase, name: str) -> None:
    file = save_book(tmp_path, [("Ref", "Name"), ("R1", "Acme"), ("R2", as_excel(BROKEN[name]))])
    with shore(module_database, "files", books(tmp_path, file)) as ground:
        landed = ground.land()
    accounted(landed, 2)
    assert set(landed.payloads) == {"R1"}
    assert "people!" in landed.refused[0].reason or "Sheet!" in landed.refused[0].reason


@pytest.mark.parametrize("save", [save_csv, save_book], ids=["csv", "xlsx"])
def test_keys_of_a_file(tmp_path: Path, module_database: TestDatabase, save: Any) -> None:
    keys = [t for t in TEXTS if not (ILLEGAL_CHARACTERS_RE.search(t) or "\r" in t or len(t) > 32_767)]
    keys = [t for t in keys if not set(t) & {"\ufffe", "\uffff"}] if save is save_book else TEXTS
    name = save(tmp_path, [("Ref", "Name"), *((key, "Acme") for key in keys)])
    with shore(module_database, "files", books(tmp_path, name)) as ground:
        landed = ground.land()
    accounted(landed, len(keys))
    assert set(landed.payloads) <= set(keys)
    for key, payload in landed.payloads.items():
        assert json.loads(payload) == {"Ref": key, "Name": "Acme"}
    assert len(landed.payloads) > len(keys) // 2


def test_column_names_of_a_csv_file(tmp_path: Path) -> None:
    """A name arrives as the mapping sheet writes it: blanks are one blank, the signs of paths are `_`."""
    for text in TEXTS:
        name = save_csv(tmp_path, [("Ref", text), ("R1", "here")])
        connector: Any = registry.build("files", books(tmp_path, name, delimiter=","))
        wanted = column_name(text)
        try:
            [page] = connector.read("people", None)
        except Misdeclared:
            assert wanted == "Ref", repr(text[:40])
            continue
        if wanted is None or text in ERROR_WORDS:
            assert (page.payloads, len(page.refused)) == ([], 1), repr(text[:40])
        else:
            assert json.loads(page.payloads[0]) == {"Ref": "R1", wanted: "here"}, repr(text[:40])
        connector.close()


FILE_NAMES = [
    t for t in TEXTS if t.strip(". ") and len(t.encode()) <= 200 and "/" not in t and not t.startswith((".", "~$"))
]


@pytest.mark.parametrize("save", [save_csv, save_book], ids=["csv", "xlsx"])
def test_names_of_files(tmp_path: Path, module_database: TestDatabase, save: Any) -> None:
    """Files of any name are read, and told apart when one of them changes."""
    folder = tmp_path / "in"
    folder.mkdir()
    names = [*FILE_NAMES[:: 1 if save is save_csv else 12], "x" * 200 + "1", "x" * 200 + "2"]
    suffix = save(tmp_path, [("Ref", "Name")]).rpartition(".")[2]
    for n, name in enumerate(names):
        (tmp_path / save(tmp_path, [("Ref", "Name"), (f"R{n}", "Acme")])).rename(folder / f"{name}.{suffix}")
    odd = os.fsdecode(b"caf\xe9." + suffix.encode())
    (tmp_path / save(tmp_path, [("Ref", "Name"), ("bytes", "Acme")])).rename(folder / odd)
    stream = Stream("people", key=("Ref",), options={"glob": f"*.{suffix}"})
    with shore(module_database, "files", Context("peer", {"path": str(folder)}, {"people": stream})) as ground:
        landed = ground.land()
        accounted(landed, len(names) + 1)
        assert landed.refused == ()
        with ground.world.transaction() as conn:
            cursor = conn.execute(sa.text("select value from landing.cursor")).scalar_one()
        assert len(cursor["files"]) == len(names) + 1
        assert list(ground.connector.read("people", cursor)) == []
        (tmp_path / save(tmp_path, [("Ref", "Name"), (f"R{len(names) - 2}", "Newer")])).rename(
            folder / f"{names[-2]}.{suffix}"
        )
        assert list(ground.connector.read("people", cursor)), "the change of one of two long names goes unseen"


# ---- tables


@pytest.fixture(scope="module")
def urls(embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A database of each dialect that is here."""
    admin = sa.create_engine(embedded_server.url("admin", "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("drop database if exists corpora")
        connection.exec_driver_sql("create database corpora")
    admin.dispose()
    file = tmp_path_factory.mktemp("tables") / "corpora.sqlite"
    postgres = embedded_server.url("admin", "corpora").render_as_string(hide_password=False)
    return {"postgresql": postgres, "sqlite": f"sqlite:///{file}"}


DIALECTS = pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
"""PostgreSQL and SQLite: what the connector's own tests run on."""


def table(url: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of text columns; the first is its key."""
    made = sa.Table(name, sa.MetaData(), *(sa.Column(c, sa.Text, primary_key=n == 0) for n, c in enumerate(columns)))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        made.drop(connection, checkfirst=True)
        made.create(connection)
        if rows:
            connection.execute(made.insert(), [dict(zip(columns, row, strict=True)) for row in rows])
    engine.dispose()


def tables(url: str, stream: Stream) -> Context:
    return Context("peer", {"url": Secret(lambda: url)}, {stream.name: stream}, network="loopback")


@DIALECTS
def test_rows_of_a_table(urls: dict[str, str], module_database: TestDatabase, dialect: str) -> None:
    texts = {f"R{n}": text for n, text in enumerate(TEXTS)}
    table(urls[dialect], "people", ("ref", "name"), list(texts.items()))
    stream = Stream("people", key=("ref",), options={"page_size": 100})
    with shore(module_database, "sql", tables(urls[dialect], stream)) as ground:
        landed = ground.land()
    accounted(landed, len(texts))
    assert landed.refused == ()
    assert {key: json.loads(p)["name"] for key, p in landed.payloads.items()} == texts


@DIALECTS
def test_keys_of_a_table(urls: dict[str, str], module_database: TestDatabase, dialect: str) -> None:
    keys = [text for text in TEXTS if len(text.encode()) < 2_000]
    table(urls[dialect], "keys", ("ref", "name"), [(key, "Acme") for key in keys])
    stream = Stream("keys", key=("ref",), options={"page_size": 50})
    with shore(module_database, "sql", tables(urls[dialect], stream)) as ground:
        landed = ground.land()
    accounted(landed, len(keys))
    assert {json.loads(payload)["ref"] for payload in landed.payloads.values()} == set(landed.payloads)
    assert set(landed.payloads) <= set(keys)
    assert len(landed.payloads) > len(keys) // 2


@DIALECTS
def test_column_names_of_a_table(urls: dict[str, str], dialect: str) -> None:
    """An SQL identifier holds at most 63 bytes in PostgreSQL; what it holds is the member's name."""
    names = [t for t in TEXTS if 0 < len(t.encode()) <= 63 and t != "ref"]
    folded: dict[str, str] = {}
    for text in names:
        folded.setdefault(text.lower(), text)
    for start in range(0, len(folded), 40):
        part = list(folded.values())[start : start + 40]
        engine = sa.create_engine(urls[dialect])
        quoted = [engine.dialect.identifier_preparer.quote_identifier(text) for text in part]
        with engine.begin() as connection:
            connection.exec_driver_sql("drop table if exists odd")
            listed = ", ".join(f"{name} text default 'here'" for name in quoted)
            connection.exec_driver_sql(f"create table odd (ref text primary key, {listed})")
            connection.exec_driver_sql("insert into odd (ref) values ('R1')")
        engine.dispose()
        connector: Any = registry.build("sql", tables(urls[dialect], Stream("odd", key=("ref",))))
        [page] = connector.read("odd", None)
        assert json.loads(page.payloads[0]) == {"ref": "R1", **dict.fromkeys(part, "here")}
        connector.close()


@DIALECTS
def test_values_written_to_a_table(urls: dict[str, str], dialect: str) -> None:
    """Each text goes into a text column and comes back; found again by exactly itself."""
    table(urls[dialect], "written", ("ref", "name", "concord_key"), [])
    engine = sa.create_engine(urls[dialect])
    with engine.begin() as connection:
        connection.exec_driver_sql("create unique index on_key on written (concord_key)")
    engine.dispose()
    stream = Stream("written", key=("ref",), options={"write": True, "marker": "concord_key"})
    connector: Any = registry.build("sql", tables(urls[dialect], stream))
    for name, text in STRINGS.items():
        [receipt] = connector.write("written", [Write(name, "create", None, {"ref": name, "name": text}, name)])
        assert (receipt.outcome, receipt.source_id) == ("done", name), receipt.reason
        assert json.loads(receipt.record)["name"] == text
    for name in list(STRINGS)[::7]:
        found = connector.find("written", {"name": STRINGS[name]})
        assert [record.id for record in found] == [name]
    for name, text in BROKEN.items():
        [receipt] = connector.write("written", [Write(name, "create", None, {"ref": name, "name": text}, name)])
        if receipt.outcome == "done":
            assert json.loads(receipt.record)["name"] == text
        else:
            assert (receipt.outcome, bool(receipt.reason)) == ("rejected", True)
    connector.close()
