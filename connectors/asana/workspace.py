"""The workspace that is spoken of, and its custom fields by name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from connectors.asana.kinds import BASE, PAGE_SIZE
from connectors.http import HttpClient
from connectors.http.outcome import segment
from connectors.protocol import Misdeclared, SystemFault

_RELOAD_SECONDS = 60.0
"""A name that is not known may have been added meanwhile: the list is read again, at most so often."""


class _Option(msgspec.Struct):
    gid: str
    name: str = ""


class _Field(msgspec.Struct):
    gid: str
    name: str = ""
    enum_options: list[_Option] | None = None


class _Next(msgspec.Struct):
    offset: str


class _List(msgspec.Struct):
    data: list[_Field]
    next_page: _Next | None = None


@dataclass(frozen=True)
class CustomField:
    """A custom field of the workspace; `options`: name → gid."""

    gid: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)


class Workspace:
    """One workspace (or organisation). What it does not know yet is asked for when needed. Thread-safe."""

    def __init__(self, client: HttpClient, gid: str | None, team: str | None) -> None:
        self._client = client
        self._gid = gid
        self.team = team
        """Whom new projects are shared with: an organisation asks for one."""
        self._lock = threading.Lock()
        self._fields: tuple[CustomField, ...] = ()
        self._loaded_at: float | None = None

    @property
    def gid(self) -> str:
        """The declared workspace, or the only one that our credentials see. Raises Misdeclared where there are more."""
        with self._lock:
            if self._gid is None:
                found = self._list(f"{BASE}/workspaces", "name")
                if len(found) != 1:
                    names = ", ".join(f"{one.name} ({one.gid})" for one in found[:10])
                    raise Misdeclared(f"workspace: expected the gid of one of: {names}", where=self._client.system)
                self._gid = found[0].gid
            return self._gid

    def check(self) -> None:
        """Raises Misdeclared where the workspace cannot be seen."""
        answer = self._client.get(f"{BASE}/workspaces/{segment(self.gid)}", accept=frozenset({404}))
        if answer.status == 404:
            raise Misdeclared(f"workspace: expected one that can be seen, found {self.gid}", where=self._client.system)

    def field_named(self, name: str) -> CustomField | None:
        """The workspace's custom field of that name: names are unique within a workspace."""
        return self._look(lambda one: one.name == name)

    def option_gid(self, field_gid: str, name: str) -> str | None:
        """The gid of a custom field's option of that name."""
        found = self._look(lambda one: one.gid == field_gid and name in one.options)
        return found.options[name] if found else None

    def _look(self, fits: Callable[[CustomField], bool]) -> CustomField | None:
        """The first custom field that fits, among the known ones, else (now and then) among those read anew."""
        path = f"{BASE}/workspaces/{segment(self.gid)}/custom_fields"
        with self._lock:
            found = next(filter(fits, self._fields), None)
            if found is None and self._is_due():
                listed = self._list(path, "name,enum_options.name")
                self._fields = tuple(
                    CustomField(one.gid, one.name, {o.name: o.gid for o in one.enum_options or ()}) for one in listed
                )
                self._loaded_at = time.monotonic()
                found = next(filter(fits, self._fields), None)
            return found

    def _is_due(self) -> bool:
        return self._loaded_at is None or time.monotonic() > self._loaded_at + _RELOAD_SECONDS

    def _list(self, path: str, fields: str) -> list[_Field]:
        query = {"opt_fields": fields, "limit": str(PAGE_SIZE)}
        found: list[_Field] = []
        while True:
            answer = self._client.get(path, query)
            try:
                page = msgspec.json.decode(answer.json_body(), type=_List)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
                raise SystemFault(f"expected a list at data, found: {wrong}", where=answer.where) from None
            found += page.data
            if page.next_page is None or page.next_page.offset == query.get("offset"):
                return found
            query = {**query, "offset": page.next_page.offset}
