"""The work of one Asana organisation: projects, tasks, people, statuses, and the rules of writing them. No HTTP here.

Documents are kept with plain gids where the API shows objects (owner, assignee, custom fields by gid); `show_…` gives
them as the API does.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from sandbox.asana_values import (
    MOST_EXTERNAL_DATA,
    MOST_EXTERNAL_GID,
    Refusal,
    compact,
    custom_value,
    day,
    flag,
    moment_ms,
    shown_custom,
    text,
)
from sandbox.store import Doc, Store, now_ms, utc_text

WORKSPACE = {"gid": "1207000000000001", "resource_type": "workspace", "name": "Wholesale", "is_organization": True}
TEAM = {"gid": "1207000000000002", "resource_type": "team", "name": "Delivery"}
FIRST_FREE_GID = 1_209_000_000_000_001
STREAMS = ("projects", "tasks", "users")
COLOURS = {"on_track": "green", "at_risk": "yellow", "off_track": "red", "on_hold": "blue", "complete": "complete"}
"""What a project shows for the status type of its latest status update."""
_PROJECT = {
    "name", "notes", "archived", "color", "due_on", "due_date", "start_on", "owner", "team", "workspace",
    "custom_fields", "followers", "public", "privacy_setting", "default_view",
}  # fmt: skip
_TASK = {
    "name", "notes", "completed", "due_on", "start_on", "assignee", "custom_fields", "external", "projects", "parent",
    "workspace", "resource_subtype",
}  # fmt: skip
_CREATE_ONLY = {"workspace", "projects", "followers"}


class Work:
    """Everything kept, and what may be done with it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # finding

    def project(self, gid: str) -> Doc:
        """A project by gid."""
        return self._found("projects", gid, "project")

    def task(self, gid: str, *, sees_external: bool = False) -> Doc:
        """A task by gid, or by `external:GID` for an app that set it."""
        if gid.startswith("external:") and sees_external:
            for doc in self.store.stream("tasks").values():
                if (doc.get("external") or {}).get("gid") == gid.removeprefix("external:"):
                    return doc
        return self._found("tasks", gid, "task")

    def user(self, wanted: Any, name: str = "user") -> Doc:
        """A person by gid, `me` or mail address."""
        users = self.store.stream("users")
        if wanted == "me" and users:
            return next(iter(users.values()))
        found = users.get(str(wanted)) or next((one for one in users.values() if one["email"] == wanted), None)
        if found is None:
            raise Refusal(400, f"{name}: Not a user in Organization: {str(wanted)[:40]}")
        return found

    def custom_field(self, gid: str) -> Doc:
        """A custom field's definition."""
        return self._found("custom_fields", gid, "custom_field")

    def _found(self, stream: str, gid: str, name: str) -> Doc:
        doc = self.store.get(stream, gid)
        if doc is None:
            raise Refusal(404, f"{name}: Unknown object: {gid[:40]}")
        return doc

    # showing

    def show_project(self, doc: Doc) -> Doc:
        """A project with the objects it mentions."""
        status = doc["current_status"]
        update = status and {
            "gid": status["gid"],
            "resource_type": "status_update",
            "title": status["title"],
            "resource_subtype": "project_status_update",
        }
        return {
            **doc,
            "due_date": doc["due_on"],
            "owner": self._person(doc["owner"]),
            "completed_by": self._person(doc["completed_by"]),
            "team": compact(TEAM) if doc["team"] else None,
            "workspace": compact(WORKSPACE),
            "members": [self._person(doc["owner"])] if doc["owner"] else [],
            "followers": [self._person(doc["owner"])] if doc["owner"] else [],
            "current_status": status and {**status, "author": self._person(status["author"])},
            "current_status_update": update,
            "custom_fields": self._customs(doc, is_sparse=False),
            "custom_field_settings": [],
            "permalink_url": f"https://app.asana.com/1/{WORKSPACE['gid']}/project/{doc['gid']}",
        }

    def show_task(self, doc: Doc, *, sees_external: bool = False) -> Doc:
        """A task with the objects it mentions."""
        projects = [compact(self.store.get("projects", gid)) for gid in doc["projects"]]
        shown = {
            **doc,
            "assignee": self._person(doc["assignee"]),
            "completed_by": self._person(doc["completed_by"]),
            "projects": projects,
            "memberships": [{"project": project} for project in projects],
            "parent": compact(self.store.get("tasks", doc["parent"])) if doc["parent"] else None,
            "workspace": compact(WORKSPACE),
            "custom_fields": self._customs(doc, is_sparse=True),
            "followers": [],
            "tags": [],
            "permalink_url": f"https://app.asana.com/1/{WORKSPACE['gid']}/task/{doc['gid']}",
        }
        if not (sees_external and shown["external"]):
            del shown["external"]
        return shown

    def show_user(self, doc: Doc) -> Doc:
        """A person with the workspaces he is in."""
        return {**doc, "photo": None, "workspaces": [compact(WORKSPACE)]}

    def _person(self, gid: str | None) -> Doc | None:
        return compact(self.store.get("users", gid)) if gid else None

    def _customs(self, doc: Doc, *, is_sparse: bool) -> list[Doc]:
        """Projects show every field of the organisation, tasks those that have a value."""
        held = doc["custom_fields"]
        fields = self.store.stream("custom_fields").items()
        return [shown_custom(field, held.get(gid)) for gid, field in fields if gid in held or not is_sparse]

    # writing

    def create_project(self, wanted: Doc) -> Doc:
        """A new project. In an organisation it belongs to a team."""
        _check_names(wanted, _PROJECT)
        if wanted.get("workspace") != WORKSPACE["gid"]:
            raise Refusal(*_unknown_or_missing(wanted, "workspace"))
        if wanted.get("team") != TEAM["gid"]:
            raise Refusal(*_unknown_or_missing(wanted, "team"))
        doc = {**project_defaults(self._next_gid()), "team": TEAM["gid"], "owner": self.user("me")["gid"]}
        doc |= self._project_values(wanted, doc)
        if not doc["name"].strip():
            raise Refusal(400, "name: Missing input")
        return self._keep("projects", doc, {"created_at"})

    def update_project(self, doc: Doc, wanted: Doc) -> Doc:
        """Change only what is mentioned; a write that changes nothing leaves the change mark alone."""
        _check_names(wanted, _PROJECT - _CREATE_ONLY)
        new = {**doc, **self._project_values(wanted, doc)}
        return doc if new == doc else self._keep("projects", new)

    def _project_values(self, wanted: Doc, old: Doc) -> Doc:
        values = self._common(wanted, old)
        if "archived" in wanted:
            values["archived"] = flag(wanted["archived"], "archived")
        if "owner" in wanted:
            values["owner"] = self.user(wanted["owner"], "owner")["gid"] if wanted["owner"] else None
        for name in ("color", "privacy_setting", "default_view", "public"):
            if name in wanted:
                values[name] = wanted[name]
        return values

    def create_task(self, wanted: Doc, *, sees_external: bool) -> Doc:
        """A new task, in a project, below a task, or in the workspace alone."""
        _check_names(wanted, _TASK)
        if not {"workspace", "projects", "parent"} & wanted.keys():
            raise Refusal(400, "workspace: Missing input")
        doc = task_defaults(self._next_gid())
        doc |= self._task_values(wanted, doc, sees_external=sees_external)
        doc["projects"] = [self.project(str(gid))["gid"] for gid in wanted.get("projects") or ()]
        if wanted.get("parent"):
            doc["parent"] = self.task(str(wanted["parent"]))["gid"]
        return self._keep("tasks", doc, {"created_at"})

    def update_task(self, doc: Doc, wanted: Doc, *, sees_external: bool) -> Doc:
        """Change only what is mentioned."""
        _check_names(wanted, _TASK - _CREATE_ONLY - {"parent"})
        new = {**doc, **self._task_values(wanted, doc, sees_external=sees_external)}
        return doc if new == doc else self._keep("tasks", new)

    def _task_values(self, wanted: Doc, old: Doc, *, sees_external: bool) -> Doc:
        values = self._common(wanted, old)
        if "completed" in wanted and flag(wanted["completed"], "completed") != old["completed"]:
            is_done = wanted["completed"]
            values |= {"completed": is_done, "completed_at": utc_text(now_ms()) if is_done else None}
            values["completed_by"] = self.user("me")["gid"] if is_done else None
        if "assignee" in wanted:
            values["assignee"] = self.user(wanted["assignee"], "assignee")["gid"] if wanted["assignee"] else None
        if "external" in wanted:
            if not sees_external:
                raise Refusal(403, "external: Not authorized to write external data without an OAuth app")
            values["external"] = self._external(wanted["external"], old)
        return values

    def _external(self, wanted: Doc, old: Doc) -> Doc:
        gid, data = wanted.get("gid"), wanted.get("data")
        if gid is not None:
            text(gid, "external.gid", MOST_EXTERNAL_GID)
            for other in self.store.stream("tasks").values():
                if other["gid"] != old["gid"] and (other.get("external") or {}).get("gid") == gid:
                    raise Refusal(400, f"external: Another object has the external gid {gid[:40]}")
        if data is not None:
            text(data, "external.data", MOST_EXTERNAL_DATA)
        given = {name: value for name, value in (("gid", gid), ("data", data)) if value is not None}
        return {**(old.get("external") or {}), **given}

    def _common(self, wanted: Doc, old: Doc) -> Doc:
        values: Doc = {name: text(wanted[name], name) for name in ("name", "notes") if name in wanted}
        for name in ("due_on", "start_on"):
            if name in wanted:
                values[name] = day(wanted[name], name)
        if "due_date" in wanted:
            values["due_on"] = day(wanted["due_date"], "due_date")
        if "start_on" in wanted:
            if not {"due_on", "due_date"} & wanted.keys():
                raise Refusal(400, "start_on: due_on or due_at must be present when setting or unsetting start_on")
            start, due = values["start_on"], values["due_on"]
            if start is not None and (due is None or start >= due):
                raise Refusal(400, "start_on: Must be before the due date")
        elif values.get("due_on", "") is None and old["start_on"]:
            values["start_on"] = None
        customs = wanted.get("custom_fields") or {}
        if not isinstance(customs, dict):
            raise Refusal(400, "custom_fields: Value is not an object")
        kept = dict(old["custom_fields"])
        for gid, value in customs.items():
            field = self.store.get("custom_fields", str(gid))
            if field is None:
                raise Refusal(400, f"custom_fields: Custom field with ID {str(gid)[:40]} is not on given object")
            kept[gid] = custom_value(field, value)
        values["custom_fields"] = {gid: value for gid, value in kept.items() if value is not None}
        return values

    def post_status(self, wanted: Doc) -> Doc:
        """A status update: the project shows its colour from then on; `complete` completes it."""
        project = self.project(str(wanted.get("parent", "")))
        kind = wanted.get("status_type")
        if kind not in COLOURS:
            raise Refusal(400, f"status_type: Not a recognized status type: {str(kind)[:40]}")
        if "text" not in wanted:
            raise Refusal(400, "text: Missing input")
        at = utc_text(self.store.next_mark())
        title = text(wanted.get("title", ""), "title", 1_024)
        status = {
            "gid": self._next_gid(),
            "resource_type": "project_status",
            "title": title,
            "text": text(wanted["text"], "text"),
            "color": COLOURS[kind],
            "author": self.user("me")["gid"],
            "created_at": at,
            "modified_at": at,
        }
        is_done = kind == "complete"
        done = {"completed": is_done, "completed_at": at if is_done else None}
        done["completed_by"] = status["author"] if is_done else None
        self._keep("projects", {**project, **done, "current_status": status})
        return {
            "gid": status["gid"],
            "resource_type": "status_update",
            "resource_subtype": "project_status_update",
            "title": title,
            "text": status["text"],
            "status_type": kind,
            "author": self._person(status["author"]),
            "created_at": at,
            "created_by": self._person(status["author"]),
            "modified_at": at,
            "parent": compact(project),
        }

    def move_task(self, doc: Doc, project_gid: str, *, is_added: bool) -> None:
        """Put a task into a project, or take it out."""
        project = self.project(project_gid)["gid"]
        others = [gid for gid in doc["projects"] if gid != project]
        new = [*others, project] if is_added else others
        if new != doc["projects"]:
            self._keep("tasks", {**doc, "projects": new})

    def delete(self, stream: str, gid: str) -> None:
        """Forget a record; a project's tasks are in it no more."""
        self.store.remove(stream, gid)
        if stream == "projects":
            for task in [one for one in self.store.stream("tasks").values() if gid in one["projects"]]:
                self._keep("tasks", {**task, "projects": [one for one in task["projects"] if one != gid]})

    def keep_user(self, doc: Doc) -> Doc:
        """Store a person as changed."""
        self.store.put("users", doc["gid"], doc)
        return doc

    def modified_since(self, docs: list[Doc], since: str) -> list[Doc]:
        """Those modified at that moment or later."""
        since_ms = moment_ms(since, "modified_since")
        return [doc for doc in docs if moment_ms(doc["modified_at"], "modified_at") >= since_ms]

    def _keep(self, stream: str, doc: Doc, also: AbstractSet[str] = frozenset()) -> Doc:
        at = utc_text(self.store.next_mark())
        doc = {**doc, **dict.fromkeys(also, at), "modified_at": at}
        self.store.put(stream, doc["gid"], doc)
        return doc

    def _next_gid(self) -> str:
        number = int(self.store.meta("next:gid") or FIRST_FREE_GID)
        self.store.set_meta("next:gid", str(number + 1))
        return str(number)


def project_defaults(gid: str) -> Doc:
    """A project about which nothing was said."""
    return {
        "gid": gid,
        "resource_type": "project",
        "name": "",
        "notes": "",
        "archived": False,
        "color": None,
        "icon": "list",
        "completed": False,
        "completed_at": None,
        "completed_by": None,
        "created_at": utc_text(0),
        "modified_at": utc_text(0),
        "current_status": None,
        "custom_fields": {},
        "default_view": "list",
        "due_on": None,
        "start_on": None,
        "owner": None,
        "privacy_setting": "public_to_workspace",
        "public": True,
        "team": TEAM["gid"],
    }


def task_defaults(gid: str) -> Doc:
    """A task about which nothing was said."""
    return {
        "gid": gid,
        "resource_type": "task",
        "resource_subtype": "default_task",
        "name": "",
        "notes": "",
        "assignee": None,
        "completed": False,
        "completed_at": None,
        "completed_by": None,
        "created_at": utc_text(0),
        "modified_at": utc_text(0),
        "custom_fields": {},
        "due_at": None,
        "due_on": None,
        "start_on": None,
        "external": None,
        "parent": None,
        "projects": [],
    }


def _check_names(wanted: Doc, known: set[str]) -> None:
    if unknown := sorted(set(wanted) - known):
        raise Refusal(400, f"{unknown[0]}: Cannot write this property")


def _unknown_or_missing(wanted: Doc, name: str) -> tuple[int, str]:
    if not wanted.get(name):
        return 400, f"{name}: Missing input"
    return 404, f"{name}: Unknown object: {str(wanted[name])[:40]}"
