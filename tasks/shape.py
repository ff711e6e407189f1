"""Shape: whether what was read still looks as it did, before anything of it is landed (RELIABILITY P19).

What differs at a mapped place is set aside, or ends the reading with its cursor where it was; a field that is new is
kept in the payload and reported. What a person accepts, and what a changed mapping reads, is learned anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from canonical import fingerprint
from canonical.fingerprint import Drift, Known, Place
from canonical.landscape import Stream
from canonical.mapping.report import mapping_report
from connectors.protocol import Misdeclared
from staging import doubts, queues, shapes, sweeps
from staging.engine import Connection
from tasks.world import World

NAMED_OF = 200
"""Of so many records of a group the names of all fields are looked at."""
SET_ASIDE = "not as before: "
"""How the reason begins of a record that was set aside because it differs."""


class SchemaDrift(Misdeclared):
    """A stream whose records no longer look as they did: nothing more of it is read until a person has looked."""

    def __init__(self, message: str, places: Sequence[tuple[str, str, str]], *, where: str) -> None:
        super().__init__(message, where=where)
        self.places = places
        """(place, expected, found)"""


class Looks:
    """What one stream's records look like, and whether those of this reading do."""

    def __init__(self, world: World, system: str, stream: Stream) -> None:
        self.world, self.system, self.stream = world, system, stream
        # a child stream is read by its parent's mapping
        self.declared = world.declared(system, stream.child_of.stream if stream.child_of else stream.name)
        self.places = _places(world, system, stream)
        self.hit = self.of = 0
        self.drifted: dict[str, tuple[str, str]] = {}

    def open(self, conn: Connection) -> None:
        """Reads what is known, after forgetting what a person has accepted to be otherwise."""
        name = self.stream.name
        accepted = doubts.accepted_shapes(conn, self.system, name)
        shapes.forget(conn, self.system, name, accepted)
        self.known: dict[str, Known] = shapes.known(conn, self.system, name, self.declared)
        self.names = shapes.names(conn, self.system, name)
        self.is_settled = bool(self.known) and sweeps.is_swept(conn, self.system, name)
        self.hit = queues.set_aside(conn, self.system, name, SET_ASIDE)
        if accepted or (self.hit and not self.known):  # what was set aside is to be read again
            sweeps.sweep_again(conn, self.system, name)

    def fork(self) -> Looks:
        """The same again, for a transaction that may have to be begun anew."""
        other = copy(self)
        other.known, other.names, other.drifted = dict(self.known), set(self.names), dict(self.drifted)
        return other

    def examine(self, conn: Connection, ids: Sequence[str], payloads: Sequence[bytes]) -> dict[int, str]:
        """The rows to be set aside, each with its reason. SchemaDrift where they are too many.

        A record that we made and read for the first time is as we made it: what it lacks we did not write, and from
        then on it is known that a record may lack it."""
        found = self._found(ids, payloads)
        self.of += len(ids)
        drifts = fingerprint.find(self.known, found) if self.is_settled else []
        if lacking := {ids[d.row] for d in drifts if d.found == fingerprint.ABSENT}:
            ours = shapes.made_by_us(conn, self.system, self.stream.name, sorted(lacking))
            drifts = [d for d in drifts if d.found != fingerprint.ABSENT or ids[d.row] not in ours]
        aside: dict[int, list[Drift]] = {}
        for drift in drifts:
            aside.setdefault(drift.row, []).append(drift)
        self.hit += len(aside)
        verdict = fingerprint.judge(drifts, self.hit, self.of + self.hit - len(aside))
        if verdict.action == "stop":
            places = list(dict.fromkeys((d.place, d.expected, d.found) for d in drifts))
            raise SchemaDrift(verdict.because, places, where=f"{self.system}/{self.stream.name}")
        self.drifted |= {d.place: (d.expected, d.found) for d in drifts}
        good = [row for row in range(len(ids)) if row not in aside]
        self._learn(found, good)
        return {row: SET_ASIDE + "; ".join(map(str, each)) for row, each in aside.items()}

    def _found(self, ids: Sequence[str], payloads: Sequence[bytes]) -> dict[str, list[str]]:
        kinds = fingerprint.kinds_at(payloads, self.places.values())
        found = {path: kinds[place] for path, place in self.places.items()}
        return found | ({fingerprint.ID: fingerprint.id_kinds(ids)} if len(self.stream.key) == 1 else {})

    def _learn(self, found: dict[str, list[str]], good: Sequence[int]) -> None:
        for path, kinds in found.items():
            shown = [kinds[row] for row in good] if len(good) < len(kinds) else kinds
            present = len(shown) - shown.count(fingerprint.ABSENT)
            seen = set(shown) - {fingerprint.ABSENT, fingerprint.NULL}
            self.known[path] = self.known.get(path, Known(frozenset(), 0, 0)).plus(seen, len(shown), present)

    def store(self, conn: Connection, payloads: Sequence[bytes]) -> None:
        """Keeps what was learned of a group that is landed in this transaction, and reports the fields new in it."""
        name = self.stream.name
        shapes.store(conn, self.system, name, self.declared, self.known)
        containers = {place[:-1] for place in self.places.values()}
        seen = fingerprint.names_at(payloads[:NAMED_OF], containers)
        if not seen.difference(self.names):
            return
        new = shapes.note_names(conn, self.system, name, seen.difference(self.names))
        self.names |= seen
        if not self.is_settled or not new or max(k.records for k in self.known.values()) < fingerprint.ENOUGH:
            return
        system = self.world.landscape.systems[self.system]
        unmapped = mapping_report(self.world.landscape.sheet, system, self.stream, new).unmapped
        self._report(conn, "new_field", [(path, None, None) for path in unmapped], "records have a field that is new")

    def stopped(self, conn: Connection, error: SchemaDrift) -> None:
        """Says why the reading ended: one finding a place."""
        self._report(conn, "schema_drift", error.places, "nothing more is read until this is accepted or mapped anew")

    def finished(self, conn: Connection) -> None:
        """Closes what an undisturbed reading does not show any more."""
        if self.of and not self.drifted:
            doubts.close(conn, "schema_drift", self.system, self.stream.name, "the records look as before again")

    def _report(
        self, conn: Connection, kind: str, places: Sequence[tuple[str, str | None, str | None]], because: str
    ) -> None:
        told = [
            {
                "kind": kind,
                "entity": self.stream.subject,
                "system": self.system,
                "stream": self.stream.name,
                "field": place,
                "ours": expected,
                "theirs": found,
                "because": because,
            }
            for place, expected, found in places
        ]
        doubts.report(conn, self.world.owner_of_system(self.system), told)


def _places(world: World, system: str, stream: Stream) -> dict[str, Place]:
    """The mapped places of a stream's records: dotted name → members. A child stream is read by its parent's maps."""
    paths: set[str] = set()
    for makes in stream.makes:
        program = world.inbound(system, stream.name, makes.entity)
        paths.update(program.paths)
        if program.child is not None and program.child.list_path is not None:
            paths.add(program.child.list_path)
    if stream.child_of is not None:
        parent = world.landscape.systems[system].streams[stream.child_of.stream]
        for makes in parent.makes:
            child = world.inbound(system, parent.name, makes.entity).child
            if child is not None and child.stream == stream.name:
                paths.update(child.paths)
    places = {fingerprint.place_of(path) for path in paths}
    return {".".join(place): place for place in sorted(places) if place}
