"""Whatever a hand does to a good landscape, the answer is a landscape or a refusal that names a file; never a crash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from canonical.declarations.connectors import ConnectorDefaults
from canonical.declarations.landscape import read_landscape
from canonical.declarations.secrets import is_secret_key, looks_secret
from canonical.declarations.urls import Network, host_problem, url_problem
from canonical.problems import Problem, Refused

KEYS = (
    "people", "systems", "integrations", "timezone", "notify", "fields", "match", "without", "extends", "rules",
    "volume", "streams", "auth", "limits",
)  # fmt: skip
VALUES = ("[]", "{}", "7", "x", "{a: {b: [1]}}")


def mutilated(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Each file without every third of its lines, and cut off after some of them."""
    for name, data in files.items():
        lines = data.split(b"\n")
        for index in range(0, len(lines), 3):
            yield name, b"\n".join(lines[:index] + lines[index + 1 :])
        for index in range(0, len(lines), 10):
            yield name, b"\n".join(lines[:index])


def reshaped(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Each file with one of its own top keys turned into something else."""
    for name, data in files.items():
        for key in KEYS:
            start = data.find(f"\n{key}:".encode())
            if name.endswith(".yaml") and start >= 0:
                following = re.search(rb"\n[a-z]", data[start + 1 :])
                end = start + 1 + following.start() if following else len(data)
                for value in VALUES:
                    yield name, data[:start] + f"\n{key}: {value}".encode() + data[end:]


def refusal_of(files: dict[str, bytes], connectors: dict[str, ConnectorDefaults]) -> tuple[Problem, ...]:
    try:
        read_landscape(files, connectors, "mini")
    except Refused as refused:
        return refused.problems
    return ()


@pytest.mark.parametrize("harm", [mutilated, reshaped])
def test_a_harmed_landscape_is_read_or_refused(
    files: dict[str, bytes],
    connectors: dict[str, ConnectorDefaults],
    harm: Callable[[dict[str, bytes]], Iterator[tuple[str, bytes]]],
) -> None:
    for name, data in harm(files):
        problems = refusal_of({**files, name: data}, connectors)
        assert all(problem.file and problem.expected and problem.found for problem in problems)


@pytest.mark.parametrize(
    ("host", "network", "is_good"),
    [
        ("api.example.com", "public", True),
        ("api.example.com", "private", True),
        ("8.8.8.8", "public", True),
        ("8.8.8.8", "private", False),
        ("10.1.2.3", "private", True),
        ("10.1.2.3", "public", False),
        ("192.168.1.1", "public", False),
        ("100.64.0.1", "public", False),
        ("erp.local", "private", True),
        ("erp.local", "public", False),
        ("localhost", "loopback", True),
        ("localhost.", "public", False),
        ("a.localhost", "private", False),
        ("127.0.0.9", "loopback", True),
        ("127.0.0.9", "private", False),
        ("::1", "loopback", True),
        ("::1", "public", False),
        ("::ffff:127.0.0.1", "public", False),
        ("::ffff:169.254.169.254", "private", False),
        ("fd00::1", "private", True),
        ("2606:4700::1111", "public", True),
        ("169.254.169.254", "private", False),
        ("0177.0.0.1", "loopback", False),
        ("metadata.google.internal", "private", False),
        ("224.0.0.1", "public", False),
        ("255.255.255.255", "public", False),
    ],
)
def test_hosts_by_network(host: str, network: Network, is_good: bool) -> None:
    assert (host_problem(host, network) is None) is is_good


@pytest.mark.parametrize(
    "url", ["http://", "//x", "x", "http://[::1", "http://a\\b", "http://a:b", "javascript:alert(1)", "http://a b/"]
)
def test_what_is_no_url(url: str) -> None:
    assert url_problem(url, "public") is not None


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN PRIVATE KEY-----",
        "pat-na1-12345678-1234-1234-1234-123456789012",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "https://hooks.slack.com/services/T000/B000/x",
        "mysql://erp:pw@db/erp",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "use q8Zr2LpX0vB7nT4kYw9sHd3F as key",
    ],
)
def test_forms_of_secrets(text: str) -> None:
    assert looks_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "Invoices go to the old address because only the CRM hears of the move.",
        "docs/fallback/customer-details.md",
        "contacts.properties.lastmodifieddate",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "https://api.example.com/v1",
        "postgresql+psycopg://erp@127.0.0.1:5432/erp",
        "accounting.transactions accounting.contacts",
        "map 0=immediate 7=net7 14=net14 30=net30 60=net60 *=flag",
        "CRM_TOKEN",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert not looks_secret(text)


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [("token", True), ("client_secret", True), ("apiKey", True), ("API-KEY", True), ("password", True),
     ("token_url", False), ("key", False), ("keys", False), ("tokenizer", False), ("secret_name", False)],
)  # fmt: skip
def test_names_of_secrets(key: str, is_secret: bool) -> None:
    assert is_secret_key(key) is is_secret
