"""How the seeded world looks in Asana: custom fields, people, projects and tasks of the organisation as documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sandbox.asana_values import custom_value
from sandbox.asana_work import TEAM, project_defaults, task_defaults
from sandbox.store import Doc

_FIELD = 1_207_000_000_000_100
_USER = 1_207_000_000_001_000
_PROJECT = 1_207_000_001_000_000
_TASK = 1_207_000_002_000_000
OPTIONS = {"Customer": "1207000000000201", "Order": "1207000000000202", "Internal": "1207000000000203"}


def _custom_field(number: int, name: str, kind: str, options: Mapping[str, str] | None = None) -> Doc:
    doc: Doc = {"gid": str(_FIELD + number), "resource_type": "custom_field", "name": name, "type": kind}
    if options:
        doc["enum_options"] = [
            {"gid": gid, "resource_type": "enum_option", "name": option, "enabled": True, "color": "none"}
            for option, gid in options.items()
        ]
    return doc


CUSTOM_FIELDS = (
    _custom_field(1, "Concord ID", "text"),
    _custom_field(2, "Number", "text"),
    _custom_field(3, "Customer", "text"),
    _custom_field(4, "Kind", "enum", OPTIONS),
    _custom_field(5, "Budget", "number"),
    _custom_field(6, "Hand-over", "date"),
)
"""Marker, number (of the project or its order), customer, kind, budget, hand-over day."""
FIELD_GID = {str(one["name"]): str(one["gid"]) for one in CUSTOM_FIELDS}


@dataclass(frozen=True)
class AsanaUser:
    """A person of the organisation."""

    number: int
    name: str
    email: str


@dataclass(frozen=True)
class AsanaProject:
    """A project. `owner` is the number of an `AsanaUser`; `custom` by the field's name, options by theirs.

    `colour` is that of its latest status: green, yellow, red, blue (on hold) or complete.
    """

    number: int
    name: str
    changed: datetime
    owner: int | None = None
    notes: str = ""
    start_on: date | None = None
    due_on: date | None = None
    colour: str | None = None
    is_archived: bool = False
    custom: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AsanaTask:
    """A task of a project, by the project's number."""

    number: int
    project: int
    name: str
    changed: datetime
    assignee: int | None = None
    notes: str = ""
    due_on: date | None = None
    is_completed: bool = False


def user_gid(number: int) -> str:
    """The gid of the n-th seeded person."""
    return str(_USER + number)


def project_gid(number: int) -> str:
    """The gid of the n-th seeded project."""
    return str(_PROJECT + number)


def task_gid(number: int) -> str:
    """The gid of the n-th seeded task."""
    return str(_TASK + number)


def asana_docs(
    users: Sequence[AsanaUser], projects: Sequence[AsanaProject] = (), tasks: Sequence[AsanaTask] = ()
) -> dict[str, list[Doc]]:
    """All documents of the organisation by stream. The first person is whose token is used: there must be one."""
    return {
        "custom_fields": [dict(one) for one in CUSTOM_FIELDS],
        "users": [user_doc(one) for one in users],
        "projects": [project_doc(one) for one in projects],
        "tasks": [task_doc(one) for one in tasks],
    }


def user_doc(user: AsanaUser) -> Doc:
    """A person as kept."""
    return {"gid": user_gid(user.number), "resource_type": "user", "name": user.name, "email": user.email}


def project_doc(project: AsanaProject) -> Doc:
    """A project as kept."""
    gid = project_gid(project.number)
    owner = user_gid(project.owner) if project.owner is not None else None
    at = _moment(project.changed)
    doc = project_defaults(gid) | {
        "name": project.name,
        "notes": project.notes,
        "archived": project.is_archived,
        "owner": owner,
        "team": TEAM["gid"],
        "start_on": project.start_on.isoformat() if project.start_on else None,
        "due_on": project.due_on.isoformat() if project.due_on else None,
        "created_at": at,
        "modified_at": at,
        "custom_fields": {FIELD_GID[name]: _custom(name, value) for name, value in project.custom.items()},
    }
    if project.colour:
        doc["current_status"] = {
            "gid": f"{gid}7",
            "resource_type": "project_status",
            "title": "Status",
            "text": "",
            "color": project.colour,
            "author": owner or user_gid(1),
            "created_at": at,
            "modified_at": at,
        }
    if project.colour == "complete":
        doc |= {"completed": True, "completed_at": at, "completed_by": owner or user_gid(1)}
    return doc


def task_doc(task: AsanaTask) -> Doc:
    """A task as kept."""
    at = _moment(task.changed)
    doc = task_defaults(task_gid(task.number)) | {
        "name": task.name,
        "notes": task.notes,
        "assignee": user_gid(task.assignee) if task.assignee is not None else None,
        "due_on": task.due_on.isoformat() if task.due_on else None,
        "projects": [project_gid(task.project)],
        "created_at": at,
        "modified_at": at,
    }
    if task.is_completed:
        doc |= {"completed": True, "completed_at": at, "completed_by": doc["assignee"]}
    return doc


def _custom(name: str, value: Any) -> Any:
    known = {str(one["name"]): one for one in CUSTOM_FIELDS}[name]
    return custom_value(known, OPTIONS.get(value, value) if known["type"] == "enum" else value)


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


PEOPLE = (
    AsanaUser(1, "Data Team", "data@wholesale.example"),
    AsanaUser(2, "Priya Raman", "priya@wholesale.example"),
    AsanaUser(3, "Tom Okafor", "tom@wholesale.example"),
    AsanaUser(4, "Ellen Moss", "ellen@wholesale.example"),
    AsanaUser(5, "Jonas Beck", "jonas@wholesale.example"),
)
"""The demo's people, as its landscape names them; the first is whose token is used."""
INTERNAL_PROJECTS = (
    AsanaProject(
        1,
        "Autumn catalogue",
        datetime(2025, 6, 2, 9, 30),
        owner=5,
        notes="Prices are fixed in August.",
        start_on=date(2025, 6, 2),
        due_on=date(2025, 9, 12),
        colour="green",
        custom={"Kind": "Internal", "Number": "P-0001"},
    ),
    AsanaProject(
        2,
        "Warehouse move",
        datetime(2025, 3, 14, 16, 5),
        owner=4,
        start_on=date(2025, 1, 13),
        due_on=date(2025, 3, 14),
        colour="complete",
        is_archived=True,
        custom={"Kind": "Internal", "Number": "P-0002"},
    ),
)
TASKS = (
    AsanaTask(1, 1, "Collect new articles", datetime(2025, 6, 20, 11, 0), assignee=5, is_completed=True),
    AsanaTask(2, 1, "Photographs", datetime(2025, 6, 24, 15, 20), assignee=4, due_on=date(2025, 7, 18)),
)
