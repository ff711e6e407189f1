"""Crash points: they do nothing unless asked to, and every place that commits, sends or acknowledges has one."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from staging.crash import POINTS, VARIABLE, crash_point

TOP = Path(__file__).resolve().parents[3]

COMMITS = {"transaction", "unit", "repeat", "all_or_nothing", "commit"}
"""Calls that commit, wherever they stand in tasks/ or staging/."""
SENDS = {"tasks": {"write", "send"}, "staging": {"begin"}}
"""Calls on an object that send to a system, in tasks/; that open a transaction, in staging/."""

WITHOUT_A_POINT: dict[str, set[str]] = {
    "it is the machinery that others commit by": {
        "staging/engine.py:transaction",
        "staging/units.py:_is_done",
        "staging/units.py:_once",
        "staging/units.py:repeat",
        "staging/units.py:repeat.begun",
        "tasks/world.py:World.all_or_nothing",
        "tasks/world.py:World.transaction",
        "tasks/world.py:World.unit",
    },
    "it only reads": {
        "staging/health.py:Healths.of",
        "staging/migrate.py:ensure_current",
        "staging/rates.py:Rates.pause_left",
        "staging/rates.py:Rates.quotas",
        "staging/tokens.py:Tokens.load",
        "tasks/agenda.py:_is_closed",
        "tasks/agenda.py:_replayed",
        "tasks/agenda.py:judge",
        "tasks/alerts.py:_Sender.send",
        "tasks/apply.py:_check",
        "tasks/apply.py:_standing",
        "tasks/backup.py:_copy_aside",
        "tasks/backup.py:_erase_again",
        "tasks/doubtful.py:causes",
        "tasks/extract.py:_Reading._land_all",
        "tasks/extract.py:_Reading._look_ahead",
        "tasks/extract.py:_patience",
        "tasks/extract.py:_resting",
        "tasks/flood.py:_tried",
        "tasks/flood.py:judge",
        "tasks/gather.py:ways",
        "tasks/golive.py:first_plan",
        "tasks/incidents.py:is_told",
        "tasks/look.py:_may_settle",
        "tasks/merging.py:preview",
        "tasks/one_record.py:_Work._unknown_parents",
        "tasks/one_record.py:_Work.resolve",
        "tasks/one_record.py:sync_record",
        "tasks/relearn.py:count_strangers",
        "tasks/report.py:_holds",
        "tasks/retention.py:_count",
        "tasks/settle.py:_doubts",
        "tasks/part.py:Part._lines",
        "tasks/part.py:Part.candidates",
        "tasks/sync.py:_busy",
        "tasks/sync.py:_count_observed",
        "tasks/sync.py:_count_queues",
        "tasks/undo.py:_plan_place",
        "tasks/undo.py:plan_undo",
        "tasks/versions.py:check",
        "tasks/versions.py:last_good",
        "tasks/watch.py:_dead",
    },
    "it stores within the transaction of whoever calls it, who has a point": {
        "tasks/resolve.py:_survive",
        "tasks/part.py:Part.judge",
        "tasks/part.py:Part.store",
    },
    "one person's decision in one transaction: killed before it was never made, after it it stands": {
        "tasks/agenda.py:_one",
        "tasks/decide.py:ask_anew",
        "tasks/decide.py:decide",
        "tasks/decide.py:lift_brake",
        "tasks/golive.py:go_live",
        "tasks/golive.py:take_back",
        "tasks/merging.py:merge_records",
        "tasks/merging.py:unmerge",
        "tasks/rehearse.py:save",
        "tasks/undo.py:undo",
        "tasks/versions.py:put_back",
    },
    "records are marked to be worked through again: whoever comes next does that, or the person asks again": {
        "tasks/plan.py:note_declarations",
        "tasks/replay.py:_judge",
        "tasks/replay.py:replay_letters",
        "tasks/replay.py:replay_records",
        "tasks/stage.py:stage",
    },
    "what a dead process left open is closed, which whoever comes next does again": {
        "tasks/deliver.py:deliver",
        "tasks/stage.py:_clear_leftovers",
        "tasks/part.py:Part.stop",
        "tasks/stage.py:_rewrites_too_much",
        "tasks/sync.py:at_work",
        "tasks/watch.py:watch",
    },
    "a row that says that work began; work without an end is taken for abandoned": {
        "tasks/extract.py:extract",
        "tasks/sync.py:begin",
    },
    "the sender commits its own note before and after; see deliver.sending and deliver.sent": {
        "tasks/deliver.py:_work_off",
        "tasks/lease.py:Lease.send",
        "tasks/lease.py:Lease._beat",
        "tasks/look.py:_resend",
    },
    "the state of writes that were not sent, or are looked up: killed before, they are looked at again": {
        "tasks/flood.py:_stop",
        "tasks/look.py:_ask",
        "tasks/look.py:_link_twin",
        "tasks/look.py:look_first",
        "tasks/send.py:_tell_unasked",
        "tasks/wake.py:wake",
    },
    "one record's reading, planned and sent like any other: its points are those of a sync": {
        "tasks/one_record.py:_store",
        "tasks/one_record.py:_Work.plan",
    },
    "alerts are told at least once: one whose note is missing is told again": {
        "tasks/alerts.py:_Sender._deliver",
        "tasks/alerts.py:_Sender._not_accepted",
        "tasks/alerts.py:_Sender._one",
        "tasks/alerts.py:send_alerts",
        "tasks/incidents.py:report",
        "tasks/incidents.py:report_over",
        "tasks/incidents.py:report_trouble",
        "tasks/incidents.py:tell_untold",
    },
    "a count that may be a moment old: a breaker, a rate, a walk that becomes a sweep": {
        "staging/health.py:Healths._noted",
        "staging/health.py:Healths.try_it",
        "staging/health.py:Healths.worked",
        "staging/rates.py:Rates.pause",
        "staging/rates.py:Rates.take",
        "tasks/extract.py:_Reading.walk",
    },
    "what crashed a batch, or is old, is put aside one batch at a time: killed before, the next run does it": {
        "tasks/poison.py:to_try_again",
        "tasks/retention.py:_apply",
        "tasks/retention.py:retain",
    },
    "what a target holds after a restore is learnt in one transaction: killed before, it is learnt again": {
        "tasks/relearn.py:adopt",
        "tasks/relearn.py:link",
    },
    "a copy or a whole database set back; a person repeats a command that did not end": {
        "tasks/backup.py:backup",
        "tasks/backup.py:restore",
    },
    "all of a schema's change in one transaction": {
        "staging/migrate.py:upgrade",
    },
}
"""Why a site has no point → the sites, as file:function."""


def test_every_site_that_commits_sends_or_acknowledges_has_a_point_or_a_reason() -> None:
    marked = {site for site, name in _calls(TOP) if name == "crash_point"}
    excused = {site for sites in WITHOUT_A_POINT.values() for site in sites}
    bare = {site for site, name in _calls(TOP) if name != "crash_point"} - marked
    assert sorted(bare - excused) == [], "name a crash point there, or say above why it needs none"
    assert sorted(excused - bare) == [], "these are excused above and do not commit, or have a point"


def test_every_named_point_stands_in_the_code_once_or_more_and_no_other_does() -> None:
    named = set()
    for path in _files(TOP):
        named |= set(re.findall(r'crash_point\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    assert named == set(POINTS)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(world):\n    with world.transaction() as conn:\n        pass", True),
        ("def f(target, rows):\n    target.write('s', rows)", True),
        ("def f(world):\n    world.unit('x', print)", True),
        ("def f(world):\n    with world.transaction() as conn:\n        pass\n    crash_point('a')", False),
        ("def f(conn):\n    conn.execute('select 1')", False),
    ],
    ids=["a commit", "a send", "a unit", "with a point", "none"],
)
def test_the_search_finds_sites(tmp_path: Path, source: str, found: bool) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "new.py").write_text(source)
    calls = list(_calls(tmp_path))
    sites = {site for site, name in calls if name != "crash_point"} - {s for s, name in calls if name == "crash_point"}
    assert sites == ({"tasks/new.py:f"} if found else set())


def _files(top: Path) -> Iterator[Path]:
    for folder in ("tasks", "staging"):
        yield from (f for f in sorted((top / folder).rglob("*.py")) if "migrations" not in f.parts)


def _calls(top: Path) -> Iterator[tuple[str, str]]:
    """(file:function, called name) of every call that commits, sends or is a crash point."""
    for path in _files(top):
        where = path.relative_to(top)
        folder = where.parts[0]
        for function, node in _functions(ast.parse(path.read_text(encoding="utf-8")), ""):
            for call in _own_calls(node):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                is_send = isinstance(call.func, ast.Attribute) and name in SENDS.get(folder, ())
                is_send = is_send or (folder == "tasks" and name == "send")
                if name in COMMITS or name == "crash_point" or is_send:
                    yield f"{where.as_posix()}:{function}", name


def _functions(node: ast.AST, within: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}".lstrip(".")
            if isinstance(child, ast.FunctionDef):
                yield name, child
            yield from _functions(child, name)
        else:
            yield from _functions(child, within)


def _own_calls(function: ast.FunctionDef) -> Iterator[ast.Call]:
    """The calls of a function, also of functions within it that are named in no other way."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            yield node


def test_a_point_does_nothing_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    crash_point("deliver.sent")
    monkeypatch.setenv(VARIABLE, "deliver.claimed:1")
    crash_point("deliver.sent")


def test_an_unknown_point_is_refused_once_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "deliver.sent:99")
    with pytest.raises(KeyError):
        crash_point("deliver.snet")


_COMES_BY = (
    "from staging.crash import crash_point\nfor n in range(3): print(n, flush=True); crash_point('deliver.sent')"
)


def test_a_point_kills_at_the_hit_that_was_asked_for() -> None:
    environment = {**os.environ, VARIABLE: "deliver.sent:2", "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-c", _COMES_BY], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["0", "1"])


def test_a_point_puts_to_sleep_and_the_process_goes_on_when_it_is_woken() -> None:
    environment = {**os.environ, VARIABLE: "deliver.sent:2:stop", "PYTHONPATH": str(TOP)}
    process = subprocess.Popen([sys.executable, "-c", _COMES_BY], env=environment, stdout=subprocess.PIPE, text=True)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out.split()) == (0, ["0", "1", "2"])
