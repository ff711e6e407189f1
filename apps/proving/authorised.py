"""Lets Concord in at the ledger's twin by OAuth 2, as a person does who says yes in a browser."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from apps.proving.ground import ANSWER_SECONDS, Copy
from connectors.oauth import OAuth2
from tasks.world import World


def let_in(copy: Copy) -> None:
    """The first tokens of the ledger's twin, kept in the copy's database."""
    system = next(name for name, twin in copy.twins.http.items() if twin == "accounting")
    world = World.of(copy.declarations)
    auth = OAuth2.of(world.context(system, authorised_by="concord prove"))
    try:
        asked = auth.begin()
        back = dict(parse_qsl(urlsplit(_says_yes(asked.url)).query))
        auth.finish(asked, back["code"], back["state"])
    finally:
        auth.close()
        world.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _says_yes(url: str) -> str:
    """Where the twin sends the browser of a person who says yes."""
    try:
        urllib.request.build_opener(_NoRedirect).open(url, timeout=ANSWER_SECONDS)
    except urllib.error.HTTPError as answer:
        with answer:
            return str(answer.headers["location"])
    raise RuntimeError("the twin did not send the browser back")
