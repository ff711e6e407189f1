"""The schemas that editors use say what the strict readers take: good landscapes are valid, typing errors are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from apps.cli import run
from canonical.declarations.landscape import read_landscape
from canonical.declarations.schemas import FILES, schemas
from canonical.declarations.shapes import parse_duration, parse_limit, parse_share
from canonical.declarations.yaml import load_yaml
from canonical.problems import Refused
from tasks.landscape import connector_defaults
from tests.docs.walk import blocks

jsonschema = pytest.importorskip("jsonschema")
TOP = Path(__file__).resolve().parents[4]
LANDSCAPES = [
    TOP / "deployments" / "demo",
    *(TOP / "tests" / "fixtures" / "landscapes" / n for n in ("shop", "crm_erp")),
]
PAGE = TOP / "docs" / "reference" / "declarations.md"


@cache
def _made() -> dict[str, Any]:
    return {name.partition(".")[0]: json.loads(text) for name, text in schemas(connector_defaults()).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def _errors(kind: str, data: bytes) -> list[str]:
    """What an editor would underline."""
    validator = jsonschema.Draft7Validator(_made()[kind])
    found = validator.iter_errors(_plain(load_yaml("f.yaml", data).plain))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


def _kind(file: str) -> str:
    return "landscape" if file == "landscape.yaml" else file.partition("/")[0]


def _files() -> Iterator[Any]:
    for folder in LANDSCAPES:
        for path in sorted(folder.rglob("*.yaml")):
            file = path.relative_to(folder).as_posix()
            if file == "landscape.yaml" or file.partition("/")[0] in FILES:
                yield pytest.param(file, path.read_bytes(), id=f"{folder.name}/{file}")
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.options.get("file", "").endswith(".yaml"):
            yield pytest.param(block.options["file"], block.text.encode(), id=f"docs/{block.options['file']}")
    for path in sorted((TOP / "canonical" / "standard").glob("*.yaml")):
        yield pytest.param("model/x.yaml", path.read_bytes(), id=f"standard/{path.stem}")


@pytest.mark.parametrize(("file", "data"), list(_files()))
def test_every_good_declaration_is_valid(file: str, data: bytes) -> None:
    assert _errors(_kind(file), data) == []


def test_the_schemas_are_good_schemas() -> None:
    for schema in _made().values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_the_copies_of_the_repository_are_current() -> None:
    folder = TOP / "docs" / "schemas"
    made = schemas(connector_defaults())
    assert {path.name for path in folder.iterdir()} == set(made)
    for name, text in made.items():
        assert (folder / name).read_text(encoding="utf-8") == text, "run: concord check --schemas docs/schemas"


def test_they_are_written_where_one_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--schemas", str(tmp_path / "a" / "b")]) == 0
    assert len(list((tmp_path / "a" / "b").iterdir())) == len(FILES)
    assert "landscape.schema.json: for landscape.yaml" in capsys.readouterr().out


@cache
def _page() -> dict[str, str]:
    return {b.options["file"]: b.text for b in blocks(PAGE.read_text(encoding="utf-8")) if "file" in b.options}


TYPOS = [
    ("landscape.yaml", "timezone:", "timezon:", "timezon"),
    ("landscape.yaml", "timezone: Europe/London", "timezone: 5", "timezone"),
    ("landscape.yaml", "integrations:", "integration:", "integration"),
    ("landscape.yaml", "    entity: customer\n", "    entty: customer\n", "entty"),
    ("landscape.yaml", "mode: ask", "mode: aks", "aks"),
    ("landscape.yaml", "create: true", 'create: "yes"', "create"),
    ("landscape.yaml", "on_delete: archive", "on_delete: remove", "remove"),
    ("landscape.yaml", "level: 1", "level: 5", "level"),
    ("landscape.yaml", "hold: 0s", "hold: 5 minutes", "hold"),
    ("landscape.yaml", "timeliness: 45m", "timeliness: 0m", "timeliness"),
    ("landscape.yaml", 'money: "10%"', 'money: "110%"', "money"),
    ("landscape.yaml", 'money: "10%"', 'money: "0%"', "money"),
    ("landscape.yaml", '"max(5, 2%)"', '"max(5, 200%)"', "deletes"),
    ("landscape.yaml", '"max(5, 2%)"', '"max(0, 0%)"', "deletes"),
    ("landscape.yaml", '"max(5, 2%)"', "0", "deletes"),
    ("landscape.yaml", "code: {env: PRIYA_CODE}", "code: 1234", "code"),
    ("landscape.yaml", "code: {env: PRIYA_CODE}", "code: {envv: PRIYA_CODE}", "code"),
    ("landscape.yaml", "        key: client_no", "        kye: client_no", "kye"),
    ("landscape.yaml", "ids: distinct", "ids: unique", "ids"),
    ("landscape.yaml", "{stream: orders, by: order_no,", "{stream: orders,", "by"),
    ("landscape.yaml", "    connector: files\n", "", "connector"),
    ("landscape.yaml", "connector: none                # inventory only", "connector: none\n    url: x", "url"),
    ("landscape.yaml", "webhook_url:", "webhook:", "webhook"),
    ("landscape.yaml", "  slack: alerts", "  slak: alerts", "slak"),
    ("model/customer.yaml", "extends: standard/customer", "extends: standard/costumer", "costumer"),
    ("model/customer.yaml", "record: shop", "records: shop", "records"),
    ("model/customer.yaml", "type: choice", "type: chioce", "chioce"),
    ("model/customer.yaml", "values: [retail, trade]", "values: retail", "values"),
    ("model/customer.yaml", "on_bad: field", "on_bad: fields", "on_bad"),
    ("model/customer.yaml", "region: GB", "region: Britain", "region"),
    ("model/customer.yaml", "scale: 2", "scale: 2.5", "scale"),
    ("model/customer.yaml", "link_above: 0.99", "link_above: 99", "link_above"),
    ("model/customer.yaml", "  unique: [tax_id]", "  uniqe: [tax_id]", "uniqe"),
    ("model/order.yaml", "entity: order\n", "", "entity"),
    ("model/order.yaml", "fields:", "feilds:", "feilds"),
    ("model/order.yaml", "{type: reference, entity: customer, required: true}", "{type: reference}", "entity"),
    ("model/order.yaml", "    key: line\n", "", "key"),
    ("expectations/order.yaml", "tolerance:", "tolerence:", "tolerence"),
    ("expectations/order.yaml", "on_fail: quarantine", "on_fail: ignore", "on_fail"),
    ("expectations/order.yaml", "    predicate:", "    predicat:", "predicat"),
    ("expectations/order.yaml", 'at_least: "50%"', "at_least: 50", "at_least"),
    ("connectors/shopapi.yaml", "kind: bearer", "kind: barer", "barer"),
    ("connectors/shopapi.yaml", "{kind: cursor, param: after, next: paging.next,", "{kind: cursor,", "next"),
    ("connectors/shopapi.yaml", "path: /v1/customers\n", "path: v1/customers\n", "path"),
    ("connectors/shopapi.yaml", "write_class: B", "write_class: D", "write_class"),
    ("connectors/shopapi.yaml", "streams:\n", "stream:\n", "stream"),
    ("connectors/shopapi.yaml", "concurrency: 4", "concurrency: 400", "concurrency"),
    ("connectors/shopapi.yaml", "method: PATCH, path", "methd: PATCH, path", "methd"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "named"), TYPOS, ids=[f"{t[0]}-{t[2].strip()[:30]}" for t in TYPOS])
def test_typing_errors_are_underlined_and_refused_alike(file: str, old: str, new: str, named: str) -> None:
    text = _page()[file]
    assert old in text
    errors = _errors(_kind(file), text.replace(old, new, 1).encode())
    assert any(named in error for error in errors), errors
    files = {name: content.encode() for name, content in _page().items()}
    files[file] = text.replace(old, new, 1).encode()
    with pytest.raises(Refused):
        read_landscape(files, connector_defaults(), "example")


@pytest.mark.parametrize(
    "text",
    ["0", "00", "5", "007", "0%", "0.0 %", "00.5%", "2%", "100%", "100.0%", "100.5%", "101%", "1000%", "-2%", "2.5 %",
     "%", "max(5, 2%)", "max(0,0%)", "max(0, 0.5%)", "max( 5 ,2 % )", "max(5,101%)", "max(-1,2%)", "5m", "0s", "00d",
     "5 m", "-5m"],
)  # fmt: skip
def test_forms_are_the_reader_s_own(text: str) -> None:
    definitions = _made()["landscape"]["definitions"]

    def fits(name: str) -> bool:
        return bool(jsonschema.Draft7Validator(definitions[name]).is_valid(text))

    assert fits("limit") == (parse_limit(text) is not None)
    assert fits("share") == bool(parse_share(text))
    seconds = parse_duration(text)
    assert fits("duration") == (seconds is not None)
    assert fits("duration_above_zero") == bool(seconds)
