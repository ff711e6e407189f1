"""The answer of a person's browser after a yes: caught on loopback, or pasted where the browser is elsewhere."""

from __future__ import annotations

import getpass
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from apps.exits import REFUSED, SYSTEM, Stop

_LOOPBACK = ("localhost", "127.0.0.1")
_PAGE = """<!doctype html><meta charset="utf-8"><title>Concord</title>
<body style="font: 1.1rem/1.5 system-ui; margin: 4rem auto; max-width: 32rem">
<h1>Concord has the answer</h1>
<p>You can close this window and go back to the terminal: it says whether all is well.</p>
"""
_OR_PASTE = "paste the answer instead: add --paste"


def answer_of(redirect_uri: str, state: str, seconds: float) -> dict[str, str]:
    """The query that the browser brings to the redirect URI. Raises Stop when none comes in time, or it cannot be
    waited for here."""
    place = urlsplit(redirect_uri)
    if place.hostname not in _LOOPBACK or place.scheme != "http":
        raise Stop(
            REFUSED, f"nothing can be caught at {redirect_uri} from here", "paste the answer instead: add --paste"
        )
    found: dict[str, str] = {}

    class Catcher(BaseHTTPRequestHandler):
        timeout = 2.0  # browsers open connections ahead and say nothing on them

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            query = dict(parse_qsl(asked.query))
            is_ours = asked.path == (place.path or "/") and query.get("state") == state
            if is_ours:
                found.update(query)
            body = _PAGE.encode() if is_ours else b"this is not the answer that Concord waits for"
            self.send_response(200 if is_ours else 404)
            self.send_header("content-type", "text/html; charset=utf-8" if is_ours else "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the code stands in the address."""

    try:
        server = HTTPServer(("127.0.0.1", place.port or 80), Catcher)
    except OSError as error:
        raise Stop(
            REFUSED,
            f"port {place.port or 80} is not free here: {error.strerror}",
            "paste the answer instead: add --paste",
        ) from None
    with server:
        until = time.monotonic() + seconds
        while not found:
            server.timeout = until - time.monotonic()
            if server.timeout <= 0:
                raise Stop(SYSTEM, "nobody has answered in time; nothing was stored", "ask again, or add --paste")
            server.handle_request()
    return found


def pasted(state: str) -> dict[str, str]:
    """The answer from standard input: the whole address that the browser ended at, or the code alone.

    It is not echoed and never an argument: others can read a command line."""
    if sys.stdin.isatty():
        line = getpass.getpass("paste the address that the browser ended at (it is not shown): ", sys.stderr)
    else:
        line = sys.stdin.readline()
    line = line.strip()
    if not line:
        raise Stop(REFUSED, "expected the address that the browser ended at, found nothing")
    if "code=" not in line and "error=" not in line:
        return {"code": line, "state": state}  # by hand and from this very screen: nobody else's answer
    return dict(parse_qsl(urlsplit(line).query or line.lstrip("?")))
