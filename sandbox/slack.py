"""An inbox shaped like Slack: takes incoming webhooks and chat.postMessage, and shows what arrived on a plain page."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.plane import Json, Plane, RollingLimit, SystemParts
from sandbox.store import Doc, Store, now_ms, utc_text

MOST_TEXT = 40_000  # characters of a message that Slack keeps
DEFAULT_LIMIT = 100  # messages a second; Slack says one a second for a webhook

_LINK = re.compile(r"&lt;(https?://[^|&\s]+)(?:\|((?:(?!&gt;).)*))?&gt;")
_STYLE = """
:root{color-scheme:light dark;--line:#8883;--soft:#8881;--accent:#4a154b}
body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
header{display:flex;justify-content:space-between;align-items:baseline;border-bottom:3px solid var(--accent)}
h1{font-size:1.25rem;margin:.3rem 0}.count{opacity:.7}
article{border:1px solid var(--line);border-left:4px solid var(--accent);border-radius:6px;margin:1rem 0;
padding:.6rem 1rem}
article .who{display:flex;justify-content:space-between;font-size:.85rem;opacity:.75}
.text{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0}code,pre{background:var(--soft);border-radius:3px}
.fields{display:grid;grid-template-columns:1fr 1fr;gap:.2rem 1rem}.header{font-weight:700;font-size:1.05rem}
.context{font-size:.85rem;opacity:.75}hr{border:0;border-top:1px solid var(--line)}.empty{opacity:.6;text-align:center}
"""


class Api:
    """What arrives is kept; what is wrong is refused in Slack's words."""

    def __init__(self, store: Store, secret: str, token: str, limit: int) -> None:
        self.store = store
        self.secret = secret
        self.token = token
        self.limit = RollingLimit(limit, 1.0)

    def guard(self, request: Request) -> Response | None:
        """The limit on posts; each door checks its own secret."""
        if request.method == "POST" and not self.limit.admit():
            body = "rate_limited" if request.url.path.startswith("/services/") else '{"ok":false,"error":"ratelimited"}'
            return PlainTextResponse(body, 429, {"Retry-After": "1"})
        return None

    async def webhook(self, request: Request) -> Response:
        """POST on /services/T000/B000/{secret}."""
        if request.path_params["secret"] != self.secret:
            return PlainTextResponse("no_service", 404)
        raw = await request.body()
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raw = parse_qs(raw.decode("utf-8", "replace")).get("payload", [""])[0].encode()
        message = _parsed(raw)
        if message is None:
            return PlainTextResponse("invalid_payload", 400)
        if not (message.get("text") or message.get("blocks") or message.get("attachments")):
            return PlainTextResponse("no_text", 400)
        self._keep(message, "webhook")
        return PlainTextResponse("ok")

    async def post_message(self, request: Request) -> Response:
        """POST on /api/chat.postMessage."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Json({"ok": False, "error": "invalid_auth" if "authorization" in request.headers else "not_authed"})
        message = _parsed(await request.body())
        if message is None:
            return Json({"ok": False, "error": "invalid_json"})
        if not message.get("channel"):
            return Json({"ok": False, "error": "channel_not_found"})
        if not (message.get("text") or message.get("blocks") or message.get("attachments")):
            return Json({"ok": False, "error": "no_text"})
        kept = self._keep(message, str(message["channel"]))
        return Json({"ok": True, "channel": message["channel"], "ts": kept["ts"], "message": message})

    def _keep(self, message: Doc, channel: str) -> Doc:
        number = len(self.store.stream("messages")) + 1
        at = now_ms()
        text = str(message.get("text") or "")[:MOST_TEXT]
        kept = {"id": number, "at": utc_text(at), "ts": f"{at // 1000}.{number:06d}", "channel": channel, "text": text}
        kept |= {name: message[name] for name in ("blocks", "attachments", "username") if message.get(name)}
        self.store.put("messages", str(number), kept)
        return kept

    async def messages(self, _: Request) -> Response:
        """GET /messages.json: all messages, oldest first."""
        return Json({"messages": list(self.store.stream("messages").values())})

    async def page(self, _: Request) -> Response:
        """GET /: the inbox for a person, newest first."""
        found = list(self.store.stream("messages").values())[::-1]
        shown = "".join(_article(one) for one in found) or '<p class="empty">No messages yet.</p>'
        count = f"{len(found)} message{'' if len(found) == 1 else 's'}"
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Alert inbox ({count})</title>'
        body = f'<header><h1>Alert inbox</h1><span class="count">{count}</span></header>{shown}'
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(f"{head}<style>{_STYLE}</style><body>{body}</body></html>", headers=headers)


def create_app(store: Store, secret: str, token: str, limit: int = DEFAULT_LIMIT) -> Plane:
    """The inbox as an ASGI application."""
    api = Api(store, secret, token, limit)

    def edit(stream: str, record_id: str, fields: dict[str, Any]) -> Doc:
        doc = {**store.stream(stream)[record_id], **fields}
        store.put(stream, record_id, doc)
        return doc

    routes = [
        Route("/services/T000/B000/{secret:path}", api.webhook, methods=["POST"]),
        Route("/api/chat.postMessage", api.post_message, methods=["POST"]),
        Route("/messages.json", api.messages),
        Route("/", api.page),
    ]
    return Plane(
        SystemParts(
            name="slack",
            app=Starlette(routes=routes),
            store=store,
            guard=api.guard,
            edit=edit,
            counts=lambda: {"messages": len(store.stream("messages"))},
            is_write=lambda method, _: method == "POST",
        )
    )


def _parsed(raw: bytes) -> Doc | None:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


def _article(message: Doc) -> str:
    blocks = message.get("blocks") or []
    for attachment in message.get("attachments") or []:
        if isinstance(attachment, dict):
            blocks = [*blocks, *(attachment.get("blocks") or [{"type": "section", "text": attachment}])]
    shown = "".join(_block(block) for block in blocks if isinstance(block, dict))
    shown = shown or f'<div class="text">{_marked(message["text"])}</div>'
    who = html.escape(f"{message.get('username') or 'Concord'} in {message['channel']}")
    return f'<article><div class="who"><span>{who}</span><time>{message["at"]}</time></div>{shown}</article>'


def _block(block: Doc) -> str:
    match block.get("type"):
        case "divider":
            return "<hr>"
        case "header":
            return f'<div class="text header">{_marked(_text(block.get("text")))}</div>'
        case "context":
            inside = " · ".join(_marked(_text(one)) for one in block.get("elements") or [])
            return f'<div class="text context">{inside}</div>'
    fields = "".join(f'<div class="text">{_marked(_text(one))}</div>' for one in block.get("fields") or [])
    text = f'<div class="text">{_marked(_text(block.get("text")))}</div>' if block.get("text") else ""
    return text + (f'<div class="fields">{fields}</div>' if fields else "")


def _text(part: Any) -> str:
    return str(part.get("text") or part.get("fallback") or "") if isinstance(part, dict) else str(part or "")


def _marked(text: str) -> str:
    """Slack's marks as HTML. Everything is escaped first, so that nothing a message says becomes markup of its own."""
    safe = html.escape(html.unescape(text), quote=True)
    safe = _LINK.sub(lambda found: f'<a href="{found[1]}" rel="noreferrer">{found[2] or found[1]}</a>', safe)
    safe = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<strong>\1</strong>", safe)
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", safe)
