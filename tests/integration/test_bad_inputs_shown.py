"""RELIABILITY section 3, 15 and 31-36: what stands in a record is kept as it came, and harms nobody who looks at it.

One record whose texts are everything that a terminal, a browser, a chat or a log would obey; each place that shows it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.cli import run
from canonical.shown import shown
from connectors.slack.message import message
from tasks.stage import stage
from tests.fixtures.badsource import BadSource, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.corpora.naughty_strings import STRINGS
from tests.fixtures.database import TestDatabase

HARM = {
    "15-direction": "Acme \u202eevil\u202c\u200b Ltd",
    "31-formula": '=HYPERLINK("http://x.example","pay")',
    "32-sql": "'; DROP TABLE staging.booking; --",
    "33-template": "{{7*7}} {0.__class__} %s%n %(name)s",
    "34-script": "<script>alert(1)</script>",
    "35-mention": "<!channel> <@U1>",
    "36-log-line": "Acme\r\n2026-01-01 00:00:00 INFO all is well",
    "terminal": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "markup": "[red]alarm[/red] [link=http://x.example]x[/link]",
}
OBEYED = ("\x1b", "\u202e", "\u200b", "\r", "\x07")
WORLD = ("bookings-to-books",)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase) -> Iterator[Bench]:
    """Every harmful text as a name that arrives, and as a name of a record that is quarantined for its state."""
    with BadSource() as source:
        made = Bench(source, tmp_path_factory.mktemp("shown"), module_database)
        good = [record(id=f"good-{n}", name=name, note=f"n{n}") for n, name in enumerate(HARM.values())]
        bad = [record(id=f"bad-{n}", name="Acme", state=text) for n, text in enumerate(HARM.values())]
        source.pages = [page(*good, *bad)]
        made.sync()
        yield made
        made.world.close()


def told(bench: Bench, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    capsys.readouterr()
    assert run([*command, "--landscape", str(bench.folder)]) == 0
    return capsys.readouterr().out


def harmless(out: str) -> None:
    for char in OBEYED:
        assert char not in out, f"{char!r} reached the terminal"


@pytest.mark.parametrize("name", HARM)
def test_it_is_kept_as_it_came(bench: Bench, name: str) -> None:
    text, n = HARM[name], list(HARM).index(name)
    assert bench.staged()[f"good-{n}"]["name"] == text
    assert {r["name"] for r in bench.rows("select name from golden.booking")} == set(HARM.values())
    assert text in {entry["name"] for entry in bench.source.ledger.values()}
    assert len(bench.rows("select from staging.booking")) >= len(HARM), "the table is still there"


@pytest.mark.parametrize("name", HARM)
def test_explain_shows_it_written_out(bench: Bench, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (found,) = bench.rows("select id from golden.booking where name = :name", name=HARM[name])
    out = told(bench, capsys, "explain", "booking", found["id"])
    harmless(out)
    assert "".join(shown(HARM[name]).split()) in "".join(out.split())


@pytest.mark.parametrize("name", HARM)
def test_json_means_it_and_does_nothing(bench: Bench, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (found,) = bench.rows("select id from golden.booking where name = :name", name=HARM[name])
    out = told(bench, capsys, "explain", "booking", found["id"], "--json")
    harmless(out)
    assert HARM[name] in set(_texts(json.loads(out)))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def test_quarantine_shows_it_written_out(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    harmless(told(bench, capsys, "quarantine", "list"))
    entries = bench.rows("select id, source_id from ops.quarantine where state = 'open'")
    assert len(entries) == len(HARM)
    for entry in entries:
        out = told(bench, capsys, "quarantine", "show", str(entry["id"]))
        harmless(out)
        assert "bad-" in out


@pytest.mark.parametrize("command", [("status",), ("findings", "list"), ("reviews", "list"), ("dead-letters", "list")])
def test_lists_are_harmless(bench: Bench, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    harmless(told(bench, capsys, *command))


@pytest.mark.parametrize("name", HARM)
def test_slack_calls_nobody(name: str) -> None:
    sent = json.dumps(message(HARM[name], [f"booking: {HARM[name]}"]), ensure_ascii=False)
    harmless(sent)
    assert "<" not in json.dumps(message("title", [HARM[name]]), ensure_ascii=False)


def test_a_browser_runs_nothing_of_it(bench: Bench, tmp_path: Path) -> None:
    """Data Docs show examples of what fails: as text."""
    texts = list(HARM.values())
    bad = [record(id=f"{text}-{n}", name=text, state=text, quantity=b"-1") for n, text in enumerate(texts)]
    bench.source.pages = [page(*bad, *(record(id=f"more-{n}") for n in range(40)))]
    from tasks.extract import extract

    extract(bench.world, "shop", "bookings", mode="full", sync_id=None)
    done = stage(bench.world, "shop", "bookings", sync_id=None, docs_dir=tmp_path / "docs")
    assert done.docs is not None
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "docs").rglob("*.html")]
    assert pages
    for text in pages:
        assert "<script>alert(1)" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text


@pytest.mark.slow
def test_logs_have_no_lines_that_nobody_wrote(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bench.source.pages = [page(record(id="late", name=HARM["36-log-line"], note="late"))]
        bench.sync()
    for entry in caplog.records:
        assert "all is well" not in entry.getMessage()


@pytest.mark.parametrize("group", ["bidi", "invisible", "controls", "terminal", "lines", "spaces"])
def test_whatever_is_unseen_is_written_out(group: str) -> None:
    for name, text in STRINGS.items():
        if name.startswith(group):
            out = shown(text)
            assert not [c for c in out if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0]
            assert not set(out) & set(
                "\u200b\u200e\u200f\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff\u2028"
            )
            assert shown(out) == out
