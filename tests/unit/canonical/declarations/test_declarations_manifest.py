"""REST manifests: what one may say, what the `rest` engine is given, what is refused."""

from __future__ import annotations

import inspect
from textwrap import dedent

import pytest

from canonical.declarations import manifest as module
from canonical.declarations.manifest import (
    Auth,
    Find,
    Get,
    Manifest,
    Operation,
    Paging,
    Since,
    read_manifest,
)
from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import load_yaml
from canonical.landscape import Makes
from canonical.problems import Problem


def read(text: str) -> tuple[Manifest, list[Problem]]:
    notes = Notes()
    return read_manifest(notes, load_yaml("connectors/x.yaml", text.encode()), "x"), notes.problems


def test_the_example_in_the_docstring_is_one() -> None:
    lines = (inspect.getdoc(module) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    auth:"))
    end = next(i for i, line in enumerate(lines) if line.startswith("Paging kinds"))
    found, problems = read(dedent("\n".join(lines[start:end])))
    assert problems == []
    assert found.auth == Auth("bearer", "token")
    assert (found.check, found.limits, found.concurrency) == ("/v1/me", ((100, 10.0),), 4)
    customers = found.streams["customers"]
    assert customers.stream.makes == (Makes("customer"),)
    assert (customers.stream.key, customers.stream.changed) == (("id",), "updated_at")
    assert customers.since == Since(param="updated_since")
    assert customers.paging == Paging("cursor", "after", None, "limit", 100, 1, "paging.next.after", "total")
    assert customers.get == Get("/v1/customers/{id}", "data")
    assert customers.find == Find("/v1/customers", {"tax_number": "tax_no"}, "data.items")
    assert customers.create == Operation("POST", "/v1/customers", "wrapped", "data", id="data.id", record="data")
    assert customers.update == Operation("PATCH", "/v1/customers/{id}", record="data")
    assert customers.archive == Operation("PATCH", "/v1/customers/{id}", fields={"status": "archived"})
    assert (customers.write_class, customers.index_lag_seconds, customers.deletes) == ("B", 90.0, "flag")


@pytest.mark.parametrize(
    ("auth", "expected", "settings"),
    [
        ("{kind: none}", Auth("none"), {"url"}),
        ("{kind: bearer}", Auth("bearer", "token"), {"url", "token"}),
        ("{kind: basic, from: pin}", Auth("basic", "pin", "user"), {"url", "user", "pin"}),
        ("{kind: api_key}", Auth("api_key", "key", header="X-Api-Key"), {"url", "key"}),
        ("{kind: api_key, query: k}", Auth("api_key", "key", header="X-Api-Key", query="k"), {"url", "key"}),
        (
            "{kind: api_key, header: Authorization, prefix: 'Token '}",
            Auth("api_key", "key", prefix="Token "),
            {"url", "key"},
        ),
    ],
)
def test_auth_says_which_settings_the_system_needs(auth: str, expected: Auth, settings: set[str]) -> None:
    found, problems = read(f"auth: {auth}\nstreams: {{a: {{path: /a}}}}\n")
    assert problems == []
    assert found.auth == expected
    assert set(found.settings) == settings


STREAM = "streams:\n  a:\n    path: /a\n    {}\n"


@pytest.mark.parametrize(
    ("line", "where", "expected"),
    [
        ("path: a", "streams.a.path", "each key once"),
        ("method: PUT", "streams.a.method", "one of GET, POST"),
        ("since: {param: s}", "streams.a.since", "changed: the field"),
        ("since: {format: iso}", "streams.a.since", "either param: or header:"),
        ("since: {param: s, header: t}", "streams.a.since", "either param: or header:"),
        ("since: {param: s, template: x}", "streams.a.since.template", "{since} within it"),
        ("since: {param: s, format: julian}", "streams.a.since.format", "one of iso"),
        ("paging: {kind: pages}", "streams.a.paging.kind", "one of none"),
        ("paging: {kind: page}", "streams.a.paging.param", "text"),
        ("paging: {kind: cursor, param: c}", "streams.a.paging.next", "text"),
        ("paging: {kind: keyset, param: c}", "streams.a.paging.after_param", "text"),
        ("paging: {kind: offset, param: o, size: 0}", "streams.a.paging.size", "a whole number from 1"),
        ("paging: {kind: page, param: p, first: 2}", "streams.a.paging.first", "a whole number from 0 to 1"),
        ("get: {path: /a}", "streams.a.get.path", "{id} within it"),
        ("find: {path: /a}", "streams.a.find.params", "field: query parameter"),
        ("update: {path: /a}", "streams.a.update", "{id} in its path"),
        ("create: {path: /a, body: wrapped}", "streams.a.create.wrap", "the key that the fields stand under"),
        ("create: {path: /a, batch: 10}", "streams.a.create.body", "array or wrapped"),
        ("create: {path: 'http://x/a'}", "streams.a.create.path", "a name like"),
        ("create: {path: /a, idempotency_header: 'X Y'}", "streams.a.create.idempotency_header", "a name like"),
        ("{create: x}", "streams.a", "a mapping"),
        ("index_lag: 90", "streams.a.index_lag", "a duration"),
        ("deletes: gone", "streams.a.deletes", "one of flag"),
        ("deleted_when: 'gone == true'", "streams.a.deleted_when", "deletes: flag beside it"),
        ("makes: [{when: 'a == 1'}]", "streams.a.makes[0].entity", "text"),
        ("key: {a: b}", "streams.a.key", "a list"),
    ],
)
def test_refused(line: str, where: str, expected: str) -> None:
    text = STREAM.format(line) if not line.startswith("{") else "streams: {a: 7}\n"
    notes = Notes()
    from canonical.declarations.yaml import read_yaml

    node, notes.problems = read_yaml("connectors/x.yaml", text.encode())
    read_manifest(notes, node, "x")
    found = [problem for problem in notes.problems if problem.where == where]
    assert found, notes.problems
    assert found[0].expected.startswith(expected)
    assert found[0].line is not None


@pytest.mark.parametrize(
    ("write_class", "rest", "is_true"),
    [
        ("A", "create: {path: /a}", False),
        ("A", "create: {path: /a, idempotency_header: Idempotency-Key}", True),
        ("B", "create: {path: /a}", False),
        ("B", "create: {path: /a}\n    find: {path: /a, params: {n: n}}", True),
        ("C", "create: {path: /a}", True),
    ],
)
def test_a_write_class_needs_what_makes_it_true(write_class: str, rest: str, is_true: bool) -> None:
    _, problems = read(STREAM.format(f"write_class: {write_class}\n    {rest}"))
    assert [problem.where for problem in problems] == ([] if is_true else ["streams.a.write_class"])


def test_a_manifest_without_streams_is_refused() -> None:
    _, problems = read("auth: {from: token}\n")
    assert {problem.where for problem in problems} == {"auth.kind", "streams"}
