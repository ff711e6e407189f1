"""Work management shaped like Asana's API 1.0: envelopes, chosen fields, offset paging, change marks, batches, limits.

One table of operations serves both plain requests and the actions of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.asana_values import Refusal, after_token, chosen, compact, flag, token
from sandbox.asana_work import COLOURS, STREAMS, TEAM, WORKSPACE, Work
from sandbox.oauth import ASANA, Authority
from sandbox.plane import Json, Plane, RollingLimit, SystemParts
from sandbox.store import Doc, Store

BASE = "/api/1.0"
MOST_PAGE_SIZE = 100
MOST_UNPAGED = 1_000
MOST_ACTIONS = 10
MINUTE_LIMIT = 15_000  # requests a minute; ten times the vendor's 1,500 for paid plans, so that a demo is quick
_TOO_MANY = "You have made too many requests recently. Please, be chill."


@dataclass(frozen=True)
class Ask:
    """One operation asked for, plainly or inside a batch. `data` is what stood in the envelope."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    data: Doc
    sees_external: bool

    @property
    def fields(self) -> list[str] | None:
        """The fields asked for, or None for the usual ones."""
        wanted = [one.strip() for one in self.query.get("opt_fields", "").split(",") if one.strip()]
        return wanted or None


Answer = tuple[int, Doc]
Operation = Callable[[Ask], Answer]


class Api:
    """Asana's shapes over the work."""

    def __init__(self, work: Work, token: str, app_token: str, minute_limit: int) -> None:
        self.work = work
        self.token = token
        self.app_token = app_token
        self.minute = RollingLimit(minute_limit, 60.0)
        self.oauth = Authority(work.store, ASANA)
        self._operations = [(method, _pattern(path), operation) for method, path, operation in self._table()]

    def guard(self, request: Request) -> Response | None:
        """Authorisation and the limit."""
        if self.oauth.owns(request.url.path):
            return None
        if request.headers.get("authorization") not in (f"Bearer {self.token}", f"Bearer {self.app_token}"):
            verdict = self.oauth.verdict(request)
            if verdict == "unknown":
                return Json(Refusal(401, "Not Authorized").body, 401)
            if verdict == "forbidden":
                return Json(Refusal(403, "Forbidden").body, 403)
        if not self.minute.admit():
            return Json(Refusal(429, _TOO_MANY).body, 429, {"Retry-After": str(int(self.minute.wait_seconds) + 1)})
        return None

    async def serve(self, request: Request) -> Response:
        """Any request below the base path."""
        body = await request.body()
        sees_external = request.headers.get("authorization") != f"Bearer {self.token}"  # else it is an app's
        path = request.scope["raw_path"].decode().partition("?")[0].removeprefix(BASE)
        try:
            data = _data(body)
            if (request.method, path) == ("POST", "/batch"):
                return Json({"data": self._batch(data, sees_external)})
            status, content = self._run(request.method, path, dict(request.query_params), data, sees_external)
        except Refusal as refused:
            return Json(refused.body, refused.status)
        headers = {"Location": f"{BASE}{path}/{content['data']['gid']}"} if status == 201 else {}
        return Json(content, status, headers)

    def _run(self, method: str, path: str, query: Mapping[str, str], data: Doc, sees_external: bool) -> Answer:
        for wanted, pattern, operation in self._operations:
            if wanted == method and (found := pattern.fullmatch(path)):
                names = {name: unquote(value) for name, value in found.groupdict().items()}
                return operation(Ask(names, query, data, sees_external))
        raise Refusal(404, f"No matching route for request: {method} {path[:80]}")

    def _batch(self, data: Doc, sees_external: bool) -> list[Doc]:
        """Up to ten actions, each with an answer of its own, in the order of the actions."""
        actions = data.get("actions")
        if not isinstance(actions, list) or not 1 <= len(actions) <= MOST_ACTIONS:
            raise Refusal(400, f"actions: expected 1 to {MOST_ACTIONS} actions")
        return [self._action(one, sees_external) for one in actions]

    def _action(self, action: Any, sees_external: bool) -> Doc:
        try:
            if not isinstance(action, dict) or not isinstance(action.get("relative_path"), str):
                raise Refusal(400, "relative_path: Missing input")
            if "?" in action["relative_path"]:
                raise Refusal(400, "relative_path: Query parameters are not accepted here")
            method, given = str(action.get("method", "")).upper(), action.get("data") or {}
            options = action.get("options") or {}
            query = {name: str(options[name]) for name in ("limit", "offset") if name in options}
            query |= {"opt_fields": ",".join(options["fields"])} if "fields" in options else {}
            if method == "GET":
                query |= {name: str(value) for name, value in given.items()}
            status, body = self._run(method, action["relative_path"], query, given, sees_external)
        except Refusal as refused:
            return {"status_code": refused.status, "headers": {}, "body": refused.body}
        where = {"location": f"{action['relative_path']}/{body['data']['gid']}"} if status == 201 else {}
        return {"status_code": status, "headers": where, "body": body}

    # lists

    def _page(self, ask: Ask, docs: list[Doc], show: Callable[[Doc], Doc]) -> Answer:
        """A list in the order of gids, a page of it where `limit` asks for one."""
        docs = sorted(docs, key=lambda doc: int(doc["gid"]))
        if "limit" not in ask.query:
            if "offset" in ask.query:
                raise Refusal(400, "offset: A limit is needed with an offset")
            if len(docs) > MOST_UNPAGED:
                raise Refusal(400, "The result is too large. You should use pagination (may require specifying limit)!")
            return 200, {"data": [self._listed(ask, show(doc)) for doc in docs]}
        limit = ask.query["limit"]
        if not limit.isdigit() or not 1 <= int(limit) <= MOST_PAGE_SIZE:
            raise Refusal(400, f"limit: Must be between 1 and {MOST_PAGE_SIZE}")
        asked = "&".join(f"{name}={ask.query[name]}" for name in sorted(ask.query) if name not in ("offset", "limit"))
        asked += "".join(ask.path.values())
        if "offset" in ask.query:
            after = int(after_token(ask.query["offset"], asked))
            docs = [doc for doc in docs if int(doc["gid"]) > after]
        page = docs[: int(limit)]
        following = None
        if len(docs) > len(page):
            offset = token(page[-1]["gid"], asked)
            following = {
                "offset": offset,
                "path": f"/?offset={offset}",
                "uri": f"https://app.asana.com{BASE}/?offset={offset}",
            }
        return 200, {"data": [self._listed(ask, show(doc)) for doc in page], "next_page": following}

    def _listed(self, ask: Ask, doc: Doc) -> Doc:
        return (compact(doc) or {}) if ask.fields is None else chosen(doc, ask.fields)

    def _one(self, ask: Ask, doc: Doc, status: int = 200) -> Answer:
        return status, {"data": doc if ask.fields is None else chosen(doc, ask.fields)}

    def projects(self, ask: Ask) -> Answer:
        """GET /projects, /workspaces/{gid}/projects."""
        self._in_workspace(ask)
        docs = list(self.work.store.stream("projects").values())
        if "archived" in ask.query:
            wanted = _boolean(ask.query["archived"], "archived")
            docs = [doc for doc in docs if doc["archived"] == wanted]
        return self._page(ask, docs, self.work.show_project)

    def tasks(self, ask: Ask) -> Answer:
        """GET /tasks, /projects/{gid}/tasks."""
        gid = ask.path.get("project") or ask.query.get("project")
        docs = list(self.work.store.stream("tasks").values())
        if gid:
            project = self.work.project(gid)["gid"]
            docs = [doc for doc in docs if project in doc["projects"]]
        elif {"assignee", "workspace"} <= ask.query.keys():
            self._in_workspace(ask)
            person = self.work.user(ask.query["assignee"], "assignee")["gid"]
            docs = [doc for doc in docs if doc["assignee"] == person]
        else:
            raise Refusal(400, "You should specify one of workspace, project, tag, section, user_task_list")
        if "modified_since" in ask.query:
            docs = self.work.modified_since(docs, ask.query["modified_since"])
        return self._page(ask, docs, lambda doc: self.work.show_task(doc, sees_external=ask.sees_external))

    def users(self, ask: Ask) -> Answer:
        """GET /users, /workspaces/{gid}/users."""
        self._in_workspace(ask, is_needed=False)
        return self._page(ask, list(self.work.store.stream("users").values()), self.work.show_user)

    def custom_fields(self, ask: Ask) -> Answer:
        """GET /workspaces/{gid}/custom_fields."""
        self._in_workspace(ask)
        return self._page(ask, list(self.work.store.stream("custom_fields").values()), dict)

    def _in_workspace(self, ask: Ask, *, is_needed: bool = True) -> None:
        gid = ask.path.get("workspace") or ask.query.get("workspace")
        if gid is None and is_needed:
            raise Refusal(400, "workspace: Missing input")
        if gid is not None and gid != WORKSPACE["gid"]:
            raise Refusal(404, f"workspace: Unknown object: {gid[:40]}")

    # single records

    def create_project(self, ask: Ask) -> Answer:
        """POST /projects."""
        data = {**({"workspace": ask.path["workspace"]} if "workspace" in ask.path else {}), **ask.data}
        return self._one(ask, self.work.show_project(self.work.create_project(data)), 201)

    def get_project(self, ask: Ask) -> Answer:
        """GET /projects/{gid}."""
        return self._one(ask, self.work.show_project(self.work.project(ask.path["project"])))

    def put_project(self, ask: Ask) -> Answer:
        """PUT /projects/{gid}."""
        doc = self.work.update_project(self.work.project(ask.path["project"]), ask.data)
        return self._one(ask, self.work.show_project(doc))

    def delete_project(self, ask: Ask) -> Answer:
        """DELETE /projects/{gid}."""
        self.work.delete("projects", self.work.project(ask.path["project"])["gid"])
        return 200, {"data": {}}

    def _task(self, ask: Ask) -> Doc:
        return self.work.task(ask.path["task"], sees_external=ask.sees_external)

    def _show_task(self, ask: Ask, doc: Doc, status: int = 200) -> Answer:
        return self._one(ask, self.work.show_task(doc, sees_external=ask.sees_external), status)

    def create_task(self, ask: Ask) -> Answer:
        """POST /tasks."""
        return self._show_task(ask, self.work.create_task(ask.data, sees_external=ask.sees_external), 201)

    def get_task(self, ask: Ask) -> Answer:
        """GET /tasks/{gid}."""
        return self._show_task(ask, self._task(ask))

    def put_task(self, ask: Ask) -> Answer:
        """PUT /tasks/{gid}."""
        doc = self.work.update_task(self._task(ask), ask.data, sees_external=ask.sees_external)
        return self._show_task(ask, doc)

    def delete_task(self, ask: Ask) -> Answer:
        """DELETE /tasks/{gid}."""
        self.work.delete("tasks", self._task(ask)["gid"])
        return 200, {"data": {}}

    def add_project(self, ask: Ask) -> Answer:
        """POST /tasks/{gid}/addProject."""
        self.work.move_task(self._task(ask), str(ask.data.get("project", "")), is_added=True)
        return 200, {"data": {}}

    def remove_project(self, ask: Ask) -> Answer:
        """POST /tasks/{gid}/removeProject."""
        self.work.move_task(self._task(ask), str(ask.data.get("project", "")), is_added=False)
        return 200, {"data": {}}

    def get_user(self, ask: Ask) -> Answer:
        """GET /users/{gid}; `me` is whose token it is."""
        try:
            doc = self.work.user(ask.path["user"])
        except Refusal as refused:
            raise Refusal(404, f"user: Unknown object: {ask.path['user'][:40]}") from refused
        return self._one(ask, self.work.show_user(doc))

    def post_status(self, ask: Ask) -> Answer:
        """POST /status_updates."""
        return self._one(ask, self.work.post_status(ask.data), 201)

    def workspaces(self, ask: Ask) -> Answer:
        """GET /workspaces."""
        return self._page(ask, [dict(WORKSPACE)], dict)

    def workspace(self, ask: Ask) -> Answer:
        """GET /workspaces/{gid}."""
        self._in_workspace(ask)
        return self._one(ask, dict(WORKSPACE))

    def teams(self, ask: Ask) -> Answer:
        """GET /workspaces/{gid}/teams."""
        self._in_workspace(ask)
        return self._page(ask, [dict(TEAM)], dict)

    def custom_field(self, ask: Ask) -> Answer:
        """GET /custom_fields/{gid}."""
        return self._one(ask, dict(self.work.custom_field(ask.path["field"])))

    def _table(self) -> list[tuple[str, str, Operation]]:
        return [
            ("GET", "/projects", self.projects),
            ("POST", "/projects", self.create_project),
            ("GET", "/workspaces/{workspace}/projects", self.projects),
            ("POST", "/workspaces/{workspace}/projects", self.create_project),
            ("GET", "/projects/{project}", self.get_project),
            ("PUT", "/projects/{project}", self.put_project),
            ("DELETE", "/projects/{project}", self.delete_project),
            ("GET", "/projects/{project}/tasks", self.tasks),
            ("GET", "/tasks", self.tasks),
            ("POST", "/tasks", self.create_task),
            ("GET", "/tasks/{task}", self.get_task),
            ("PUT", "/tasks/{task}", self.put_task),
            ("DELETE", "/tasks/{task}", self.delete_task),
            ("POST", "/tasks/{task}/addProject", self.add_project),
            ("POST", "/tasks/{task}/removeProject", self.remove_project),
            ("POST", "/status_updates", self.post_status),
            ("GET", "/users", self.users),
            ("GET", "/workspaces/{workspace}/users", self.users),
            ("GET", "/users/{user}", self.get_user),
            ("GET", "/workspaces", self.workspaces),
            ("GET", "/workspaces/{workspace}", self.workspace),
            ("GET", "/workspaces/{workspace}/teams", self.teams),
            ("GET", "/workspaces/{workspace}/custom_fields", self.custom_fields),
            ("GET", "/custom_fields/{field}", self.custom_field),
        ]

    def edit(self, stream: str, record_id: str, fields: Doc) -> Doc:
        """A person's change in Asana itself: fields as the API writes them, `status` as a colour, `deleted`.

        People are changed by name and email; `deleted` takes them out of the organisation.
        """
        doc = self.work.store.stream(stream)[record_id]
        given = dict(fields)
        if given.pop("deleted", False):
            self.work.delete(stream, record_id)
            return {"gid": record_id}
        try:
            if colour := given.pop("status", None):
                kinds = {shown: kind for kind, shown in COLOURS.items()}
                self.work.post_status({"parent": record_id, "status_type": kinds.get(colour, colour), "text": ""})
                doc = self.work.project(record_id)
            if stream == "projects":
                return self.work.update_project(doc, given)
            if stream == "tasks":
                return self.work.update_task(doc, given, sees_external=True)
        except Refusal as refused:
            raise ValueError(str(refused)) from refused
        return self.work.keep_user({**doc, **given})


def create_app(store: Store, token: str, app_token: str = "", minute_limit: int = MINUTE_LIMIT) -> Plane:
    """The work management as an ASGI application. `app_token` is that of an OAuth app: it sees `external` data."""
    work = Work(store)
    api = Api(work, token, app_token or f"{token}-app", minute_limit)
    methods = ["GET", "POST", "PUT", "DELETE"]
    routes = [*api.oauth.routes(), Route(BASE + "/{path:path}", api.serve, methods=methods)]
    parts = SystemParts(
        name="asana",
        app=Starlette(routes=routes),
        store=store,
        guard=api.guard,
        edit=api.edit,
        counts=lambda: {stream: len(store.stream(stream)) for stream in STREAMS},
        is_write=lambda method, path: method != "GET" and not api.oauth.owns(path),
        oauth=api.oauth,
    )
    return Plane(parts)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def _data(body: bytes) -> Doc:
    """What stands in a request's envelope; nothing for a request without a body."""
    if not body:
        return {}
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "Could not parse request data, invalid JSON") from None
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        raise Refusal(400, "Request body must have a data envelope")
    return data


def _boolean(text: str, name: str) -> bool:
    return flag({"true": True, "false": False}.get(text.lower(), text), name)
