"""`oauth2:` of a system: who we are there, and where its tokens come from.

    oauth2:
      grant: authorization_code            # or client_credentials, where nobody has to log in
      client_id: {env: CRM_CLIENT_ID}
      client_secret: {env: CRM_CLIENT_SECRET}
      authorize_url: "https://app.example.com/oauth/authorize"
      token_url: "https://api.example.com/oauth/token"
      scopes: [contacts.read, contacts.write]

A connector ships its vendor's URLs and scopes; what the landscape declares goes before. No token stands here: the
first one comes with `concord systems authorize`, and all of them live in the database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from canonical.declarations.secrets import ASK_FOR_REFERENCE
from canonical.declarations.shapes import Section, secret_ref
from canonical.declarations.urls import Network, url_problem
from canonical.tokens import GrantKind

ClientAuth = Literal["basic", "body"]
_GRANTS: tuple[GrantKind, ...] = ("authorization_code", "client_credentials")
_CLIENT_AUTHS: tuple[ClientAuth, ...] = ("basic", "body")
REDIRECT_URI = "http://localhost:9419/authorized"
"""Where the browser is sent after a yes; to be registered with the vendor's app."""
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")
"""RFC 6749, 3.3."""


@dataclass(frozen=True, slots=True)
class OAuth2:
    """How a system gives us tokens. `client_id` and `client_secret`: a text, a SecretRef, or later what it leads to."""

    grant: GrantKind
    token_url: str
    client_id: Any
    client_secret: Any = None
    """None: a public client, which proves itself by PKCE alone."""
    authorize_url: str = ""
    scopes: tuple[str, ...] = ()
    client_auth: ClientAuth = "basic"
    """Whether the client shows its secret in a header or in the form (RFC 6749, 2.3.1)."""
    redirect_uri: str = REDIRECT_URI
    params: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the authorise URL (`audience`, `access_type` …)."""


def read_oauth2(section: Section, shipped: Mapping[str, Any], network: Network) -> OAuth2:
    """A system's `oauth2:` over what its connector ships. What is wrong goes to the section's notes."""
    grant = section.choice("grant", _GRANTS, shipped.get("grant", "authorization_code"))
    is_personal = grant == "authorization_code"
    client_id = _secret(section, "client_id", required=True, is_public=True)
    found = OAuth2(
        grant=grant,
        token_url=_url(section, "token_url", shipped, (network,)),
        client_id=client_id,
        client_secret=_secret(section, "client_secret", required=not is_personal),
        # a person's browser goes there, from wherever it is
        authorize_url=_url(section, "authorize_url", shipped, (network, "public"), required=is_personal),
        scopes=_scopes(section, shipped, grant),
        client_auth=section.choice("client_auth", _CLIENT_AUTHS, shipped.get("client_auth", "basic")),
        redirect_uri=_redirect(section),
        params=section.text_map("params") or dict(shipped.get("params", {})),
    )
    section.done()
    return found


def read_shipped(section: Section) -> dict[str, Any]:
    """What a manifest says of OAuth 2 for every system of its kind: no client, and URLs that a system may replace."""
    found: dict[str, Any] = {}
    for key in ("authorize_url", "token_url"):
        if (url := section.text(key)) is not None:
            found[key] = url
    if section.has("grant"):
        found["grant"] = section.choice("grant", _GRANTS, "authorization_code")
    if section.has("client_auth"):
        found["client_auth"] = section.choice("client_auth", _CLIENT_AUTHS, "basic")
    if section.has("params"):
        found["params"] = section.text_map("params")
    if section.has("scopes"):
        found["scopes"] = section.texts("scopes", pattern=_SCOPE)
    return found


def _secret(section: Section, key: str, *, required: bool, is_public: bool = False) -> Any:
    """A reference to a secret; an id, which is none, may be written out."""
    shape: Literal["secret", "secret or text"] = "secret or text" if is_public else "secret"
    node = section.get(key, required=required, expected=ASK_FOR_REFERENCE, shape=shape)
    if node is None:
        return None
    ref = secret_ref(node)
    if ref is not None:
        return ref
    if is_public and node.kind == "text":
        return node.text
    section.wrong(key, ASK_FOR_REFERENCE, "a value written out" if node.kind != "mapping" else "another mapping")
    return None


def _url(
    section: Section, key: str, shipped: Mapping[str, Any], networks: Sequence[Network], *, required: bool = True
) -> str:
    """A URL that any of the networks allows, encrypted unless it stays within them."""
    text = section.text(key, required=required and not shipped.get(key)) or str(shipped.get(key, ""))
    if not text:
        return ""
    schemes = {network: ("https",) if network == "public" else ("http", "https") for network in networks}
    problems = [url_problem(text, network, allowed) for network, allowed in schemes.items()]
    if all(problems) and problems[0]:
        section.wrong(key, *problems[0])
    return text


def _scopes(section: Section, shipped: Mapping[str, Any], grant: GrantKind) -> tuple[str, ...]:
    if section.has("scopes"):
        return section.texts("scopes", pattern=_SCOPE)
    scopes = shipped.get("scopes", ())
    if isinstance(scopes, Mapping):  # a vendor may want other scopes for another grant
        scopes = scopes.get(grant, ())
    return tuple(str(scope) for scope in scopes)


def _redirect(section: Section) -> str:
    text = section.text("redirect_uri")
    if text is None:
        return REDIRECT_URI
    parts = urlsplit(text)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or parts.fragment or parts.scheme not in (("http", "https") if is_local else ("https",)):
        section.wrong("redirect_uri", "https://…, or http://localhost:PORT/…, without #")
    return text
