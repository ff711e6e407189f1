"""`oauth2:` of a system and of a manifest: what one may say, what a connector ships, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from canonical.declarations.connectors import read_defaults, read_settings
from canonical.declarations.manifest import read_manifest
from canonical.declarations.oauth import REDIRECT_URI, OAuth2
from canonical.declarations.shapes import Notes, Section
from canonical.declarations.urls import Network
from canonical.declarations.yaml import load_yaml
from canonical.landscape import SecretRef
from connectors import registry

SCHEMA = read_defaults(
    "vendor",
    b"""
settings:
  token: {secret: true}
  oauth2:
    type: oauth2
    default:
      authorize_url: "https://vendor.example/authorize"
      token_url: "https://id.vendor.example/token"
      client_auth: body
      scopes: {authorization_code: [offline, read], client_credentials: [read]}
""",
).settings_schema
ID, SECRET = "client_id: {env: ID}", "client_secret: {file: /run/secrets/crm}"


def read(text: str, network: Network = "public") -> tuple[dict[str, Any], list[str]]:
    notes = Notes()
    section = Section(notes, load_yaml("landscape.yaml", text.encode()), "systems.crm")
    found = read_settings(section, SCHEMA, network)
    section.done()
    return found, [str(p) for p in notes.problems]


def test_a_connector_ships_what_is_the_vendors() -> None:
    found, problems = read(f"oauth2: {{{ID}, {SECRET}}}")
    assert problems == []
    assert found == {
        "oauth2": OAuth2(
            grant="authorization_code",
            token_url="https://id.vendor.example/token",
            client_id=SecretRef("env", "ID"),
            client_secret=SecretRef("file", "/run/secrets/crm"),
            authorize_url="https://vendor.example/authorize",
            scopes=("offline", "read"),
            client_auth="body",
            redirect_uri=REDIRECT_URI,
        )
    }


def test_the_landscape_goes_before() -> None:
    more = 'token_url: "http://127.0.0.1:1/t", scopes: [all], client_auth: basic, params: {audience: x}'
    found, problems = read(f"oauth2: {{grant: client_credentials, {ID}, {SECRET}, {more}}}", "loopback")
    assert problems == []
    assert found["oauth2"].token_url == "http://127.0.0.1:1/t"
    assert (found["oauth2"].scopes, found["oauth2"].params) == (("all",), {"audience": "x"})


def test_scopes_may_depend_on_the_grant() -> None:
    found, _ = read(f"oauth2: {{grant: client_credentials, {ID}, {SECRET}}}")
    assert found["oauth2"].scopes == ("read",)


def test_a_client_id_is_no_secret_and_a_public_client_has_none() -> None:
    found, problems = read("oauth2: {client_id: my-app}")
    assert problems == []
    assert (found["oauth2"].client_id, found["oauth2"].client_secret) == ("my-app", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "either token: or oauth2:, found neither"),
        (f"{{token: {{env: T}}, oauth2: {{{ID}}}}}", "either token: or oauth2:, found both"),
        ("oauth2: {client_secret: {env: S}}", "client_id"),
        (f"oauth2: {{{ID}, client_secret: hunter2}}", "a reference such as {env: NAME}"),
        (f"oauth2: {{grant: client_credentials, {ID}}}", "client_secret"),
        (f"oauth2: {{grant: password, {ID}}}", "one of authorization_code, client_credentials"),
        (f"oauth2: {{{ID}, redirect_url: x}}", "the unknown key 'redirect_url'"),
        (f'oauth2: {{{ID}, redirect_uri: "http://elsewhere.example/cb"}}', "http://localhost:PORT"),
        (f'oauth2: {{{ID}, token_url: "http://id.vendor.example/t"}}', "https"),
        (f'oauth2: {{{ID}, token_url: "https://169.254.169.254/t"}}', "host of a business system"),
        (f'oauth2: {{{ID}, scopes: ["two words"]}}', "a name like"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    _, problems = read(text)
    assert any(said in problem for problem in problems), problems
    assert not any("hunter2" in problem for problem in problems)


def test_a_manifest_says_what_its_systems_have_in_common() -> None:
    notes = Notes()
    text = """
auth: {kind: oauth2, authorize_url: "https://a.example/a", token_url: "https://a.example/t", scopes: [x]}
streams: {customers: {path: /customers, key: id}}
"""
    manifest = read_manifest(notes, load_yaml("connectors/shop.yaml", text.encode()), "shop")
    assert notes.problems == []
    assert set(manifest.settings) == {"url", "oauth2"}
    system = Section(
        notes, load_yaml("l.yaml", f'{{url: "https://shop.example", oauth2: {{{ID}, {SECRET}}}}}'.encode())
    )
    found = read_settings(system, manifest.settings, "public")
    assert notes.problems == []
    assert (found["oauth2"].token_url, found["oauth2"].scopes) == ("https://a.example/t", ("x",))
    assert set(found) == {"url", "oauth2"}


def test_a_system_of_such_a_manifest_must_say_who_we_are() -> None:
    notes = Notes()
    text = "auth: {kind: oauth2}\nstreams: {customers: {path: /customers, key: id}}"
    manifest = read_manifest(notes, load_yaml("connectors/shop.yaml", text.encode()), "shop")
    read_settings(Section(notes, load_yaml("l.yaml", b"url: https://shop.example")), manifest.settings, "public")
    assert [p.where for p in notes.problems] == ["oauth2"]
    other = Section(notes, load_yaml("l.yaml", f"{{url: https://shop.example, oauth2: {{{ID}}}}}".encode()))
    read_settings(other, manifest.settings, "public")
    assert {p.where for p in notes.problems} == {"oauth2", "oauth2.token_url", "oauth2.authorize_url"}


@pytest.mark.parametrize("name", ["hubspot", "xero"])
def test_the_shipped_vendors_need_only_the_app(name: str) -> None:
    schema = read_defaults(name, *registry.defaults(name)).settings_schema
    notes = Notes()
    found = read_settings(Section(notes, load_yaml("l.yaml", f"oauth2: {{{ID}, {SECRET}}}".encode())), schema, "public")
    assert notes.problems == []
    assert found["oauth2"].token_url.startswith("https://")
    assert found["oauth2"].scopes
