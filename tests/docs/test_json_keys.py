"""The keys that docs/_build/json_keys.yaml promises are the keys that the commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.mainjob import MainJob

KEYS = Path(__file__).resolve().parent.parent.parent / "docs" / "_build" / "json_keys.yaml"
CALLS = {
    "check": "check --offline",
    "model show": "model show customer",
    "model apply": "model apply --yes",
    "mapping show": "mapping show legacy",
    "mapping rules": "mapping rules",
    "systems list": "systems list",
    "systems check": "systems check",
    "plan": "plan --without-reading",
    "status": "status",
    "explain": "explain customer {golden}",
    "ledger verify": "ledger verify",
    "audit search": "audit search",
    "audit verify": "audit verify",
    "reviews list": "reviews list",
    "holds list": "holds list",
    "quarantine list": "quarantine list",
    "dead-letters list": "dead-letters list --all",
    "findings list": "findings list",
    "queues list": "queues list",
    "db status": "db status",
}
"""Command → the call that is made; commands that write, wait or need an entry are left out."""
DATA = {"values", "asked", "mapped", "before", "changes", "tries", "detail"}
"""Keys below which names come from the data, or are explained elsewhere."""


@pytest.mark.parametrize("command", CALLS)
def test_a_command_prints_the_keys_that_are_documented(
    command: str, shared_job: MainJob, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.cli import run

    monkeypatch.setenv("CONCORD_LANDSCAPE", str(shared_job.folder))
    golden = shared_job.value("select min(id) from golden.customer")
    run([*CALLS[command].format(golden=golden).split(), "--json"])
    printed = json.loads(capsys.readouterr().out)
    documented = set(re.findall(r"\w+", yaml.safe_load(KEYS.read_text(encoding="utf-8"))[command]))
    assert keys_of(printed) <= documented


def keys_of(value: Any, depth: int = 0) -> set[str]:
    """The keys of a document, of the items of its lists, and of what these hold."""
    if isinstance(value, list):
        return keys_of(value[0], depth) if value else set()
    if not isinstance(value, dict) or depth > 2:
        return set()
    inner = (keys_of(v, depth + 1) for key, v in value.items() if key not in DATA)
    return set(value).union(*inner)
