"""What the documentation says exists, and what exists is documented."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docs._build import reference
from tests.docs.walk import blocks

TOP = Path(__file__).resolve().parent.parent.parent
DOCS = TOP / "docs"
PAGES = [TOP / "README.md", TOP / "sandbox" / "README.md", *sorted(DOCS.rglob("*.md"))]
_INLINE = re.compile(r"`concord ([^`\n]+)`")
_WORD = re.compile(r"[a-z][a-z-]*\Z")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
_CODE = re.compile(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|yaml|sql))`")


def _id(page: Path) -> str:
    return page.relative_to(TOP).as_posix()


def _said(page: Path) -> Iterator[str]:
    """Every call of `concord` on a page, without the word itself."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(text):
        if block.language in ("console", "sh", "bash", ""):
            for line in block.text.splitlines():
                bare = line.removeprefix("$ ").split("#")[0]
                if bare.startswith(("concord ", ".venv/bin/concord ")):
                    yield bare.partition("concord ")[2]
    for found in _INLINE.finditer(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        yield found[1]


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    known = {command.path.removeprefix("concord "): command for command in reference.commands()}
    groups = {path.rpartition(" ")[0] for path in known}
    for said in _said(page):
        words = shlex.split(said.replace("…", "X"))
        names = [w for w in words[:2] if _WORD.match(w)]
        path = next((p for p in (" ".join(names), *names[:1]) if p in known), None)
        options = [w.partition("=")[0] for w in words if w.startswith("-")]
        if path is None:
            is_spoken_of = " ".join(names) in groups or words[0] in ("COMMAND", "--help", "[--landscape")
            assert is_spoken_of, f"{_id(page)}: there is no `concord {said}`"
            continue
        for option in options:
            assert known[path].spells(option.rstrip("…,")), f"{_id(page)}: `concord {path}` has no {option}"


def test_the_guide_comes_to_every_command() -> None:
    """Somebody who reads the guide meets each of them at work, not in a list."""
    guide = [TOP / "README.md", *sorted((DOCS / "guide").glob("*.md"))]
    said = [shlex.split(each.replace("…", "X")) for page in guide for each in _said(page)]
    for command in reference.commands():
        words = command.path.removeprefix("concord ").split()
        assert any(each[: len(words)] == words for each in said), f"no page of the guide uses `{command.path}`"


def test_every_command_and_option_is_documented() -> None:
    text = (reference.REFERENCE / "commands.md").read_text(encoding="utf-8")
    for command in reference.commands():
        assert f"### `{command.usage}`" in text, f"run docs/_build/reference.py: {command.path} is new"
        section = text.partition(f"### `{command.usage}`")[2].partition("\n## ")[0]
        for option in command.options:
            for spelling in (*option.opts, *option.secondary_opts):
                assert f"`{spelling}`" in section, f"run docs/_build/reference.py: {command.path} {spelling} is new"


@pytest.mark.parametrize("name", ["commands.md", "mapping-rules.md"])
def test_pages_that_are_made_are_as_they_would_be_made_now(name: str) -> None:
    assert (reference.REFERENCE / name).read_text(encoding="utf-8") == reference.pages()[name], (
        "run: python docs/_build/reference.py"
    )


def test_every_command_that_prints_json_has_its_keys_documented() -> None:
    keys = yaml.safe_load((DOCS / "_build" / "json_keys.yaml").read_text(encoding="utf-8"))
    printing = {
        command.path.removeprefix("concord ")
        for command in reference.commands()
        if any("--json" in option.opts for option in command.options)
    }
    assert set(keys) == printing


def test_the_landscape_of_the_declarations_page_is_read_as_it_stands() -> None:
    from canonical.declarations.landscape import read_landscape
    from tasks.landscape import connector_defaults

    page = (reference.REFERENCE / "declarations.md").read_text(encoding="utf-8")
    files = {b.options["file"]: b.text.encode() for b in blocks(page) if "file" in b.options}
    landscape = read_landscape(files, connector_defaults(), "example")
    assert set(landscape.systems) == {"shop", "orders", "prices", "alerts", "mailbox"}


def test_every_setting_and_stream_of_every_connector_is_documented() -> None:
    from tasks.landscape import connector_defaults

    page = (reference.REFERENCE / "connectors.md").read_text(encoding="utf-8")
    for name, shipped in connector_defaults().items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, f"connectors.md has no section {name}"
        for word in (*shipped.settings_schema, *shipped.streams):
            assert f"`{word}`" in section, f"connectors.md: {name}: `{word}` is not explained"


def test_every_table_and_state_is_documented() -> None:
    from staging.tables import metadata

    page = (reference.REFERENCE / "database.md").read_text(encoding="utf-8")
    states = page.partition("## States")[2].partition("## What adds up")[0]
    for table in metadata.tables.values():
        assert f"`{table.fullname}`" in page, f"database.md: {table.fullname} is not explained"
        if f"`{table.fullname}`" in page and table.fullname in states:
            for state in _states(table):
                assert re.search(rf"\b{state}\b", states), f"database.md: {table.fullname}: {state} is not shown"


def _states(table: object) -> list[str]:
    for constraint in table.constraints:  # type: ignore[attr-defined]
        text = str(getattr(constraint, "sqltext", ""))
        if text.startswith("state in "):
            return re.findall(r"'(\w+)'", text)
    return []


DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_says_what_was_met_what_was_chosen_and_what_it_costs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = page.stem.partition("-")[0]
    assert text.startswith(f"# {number}: ")
    assert all(f"**{word}.**" in text for word in ("Met", "Chose", "Costs"))
    assert len(text.splitlines()) <= 20
    assert f"[{number}]({page.name})" in (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_links_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in _LINK.findall(text):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{_id(page)}: {target} is not there"
        if anchor and file.suffix == ".md":
            assert anchor[1:] in _anchors(file), f"{_id(page)}: {target}{anchor} is not there"
    for file_name in _CODE.findall(text):
        roots = (TOP, DOCS / "reference", DOCS)
        is_there = any((root / file_name).exists() for root in roots) or file_name.startswith(
            ("docs/fallback", "model/")
        )
        assert is_there, f"{_id(page)}: {file_name} is not there"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for the web."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
