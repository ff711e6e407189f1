"""The way back from what a run wrote: what is set back, what is archived, what is left alone and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canonical.undo import Back, Left, Written, same, way_back

PATHS = frozenset({"phone", "mail"})
UPDATED = Written(
    ops=("update",),
    changes=([{"field": "phone", "old": "1", "new": "2"}],),
    asked={"phone": "2"},
    read={"phone": "2", "mail": "m"},
)
CREATED = Written(ops=("create",), changes=([],), asked={"phone": "2", "mail": "m"}, read={"phone": "2", "mail": "m"})


def test_a_field_that_still_holds_what_we_wrote_is_set_back() -> None:
    back = way_back(UPDATED, {"phone": "2", "mail": "m"}, PATHS, can_archive=True)
    assert (back.op, back.fields, back.left) == ("update", (Back("phone", "2", "1"),), ())


def test_an_empty_field_becomes_empty_again() -> None:
    written = replace(UPDATED, changes=([{"field": "phone", "old": None, "new": "2"}],))
    assert way_back(written, {"phone": "2"}, PATHS, can_archive=True).fields == (Back("phone", "2", None),)


def test_a_target_that_spells_a_value_its_own_way_still_holds_it() -> None:
    written = replace(UPDATED, read={"phone": "0020"})
    assert way_back(written, {"phone": "20.0"}, PATHS, can_archive=True).op == "update"


def test_the_first_value_is_set_back_after_several_writes() -> None:
    written = replace(
        UPDATED,
        ops=("update", "update"),
        changes=([{"field": "phone", "old": "1", "new": "2"}], [{"field": "phone", "old": "2", "new": "3"}]),
        asked={"phone": "3"},
        read={"phone": "3"},
    )
    assert way_back(written, {"phone": "3"}, PATHS, can_archive=True).fields == (Back("phone", "3", "1"),)


@pytest.mark.parametrize(
    ("written", "live", "because"),
    [
        (UPDATED, {"phone": "7"}, "moved on: somebody has changed it there since"),
        (replace(UPDATED, later=frozenset({"phone"})), {"phone": "2"}, "moved on: a later run wrote it"),
        (
            replace(UPDATED, changes=([{"field": "fax", "old": "1", "new": "2"}],)),
            {"phone": "2"},
            "the mapping sheet does not write it any more",
        ),
    ],
    ids=["by somebody", "by a later run", "no longer mapped"],
)
def test_a_field_that_moved_on_is_left_alone(written: Written, live: dict[str, str | None], because: str) -> None:
    back = way_back(written, live, PATHS, can_archive=True)
    assert (back.op, [left.because for left in back.left]) == (None, [because])


@pytest.mark.parametrize(
    ("written", "live", "can_archive", "because"),
    [
        (UPDATED, None, True, "it is not there any more"),
        (replace(UPDATED, is_ended=True), {"phone": "2"}, True, "a later run archived it"),
        (replace(UPDATED, ops=("archive",)), {"phone": "2"}, True, "somebody has reopened it"),
        (replace(UPDATED, ops=("archive",)), None, True, "it is not there any more"),
        (replace(UPDATED, ops=("archive",), later=frozenset({"phone"})), None, True, "or wrote it again"),
        (replace(UPDATED, ops=("update", "delete")), None, True, "deleted there for good"),
        (CREATED, {"phone": "2", "mail": "m"}, False, "this system cannot archive"),
        (CREATED, {"phone": "9", "mail": "m"}, True, "has changed since: phone"),
        (replace(CREATED, later=frozenset({"mail"})), {"phone": "2", "mail": "m"}, True, "has changed since: mail"),
    ],
    ids=[
        "gone",
        "ended later",
        "reopened",
        "archived and gone",
        "archived and written",
        "deleted",
        "cannot archive",
        "created and edited",
        "created and written again",
    ],
)
def test_a_record_that_cannot_be_set_back_says_why(
    written: Written, live: dict[str, str | None] | None, can_archive: bool, because: str
) -> None:
    back = way_back(written, live, PATHS, can_archive=can_archive)
    assert back.op is None
    assert [left.field for left in back.left] == [None]
    assert because in back.left[0].because


def test_what_was_created_is_archived_as_long_as_nobody_has_touched_it() -> None:
    assert way_back(CREATED, {"phone": "2", "mail": "m"}, PATHS, can_archive=True).op == "archive"


@pytest.mark.parametrize(("can_restore", "op"), [(True, "restore"), (False, None)])
def test_what_was_archived_is_brought_back_where_the_system_can(can_restore: bool, op: str | None) -> None:
    written = replace(UPDATED, ops=("update", "archive"))
    back = way_back(written, None, PATHS, can_archive=True, can_restore=can_restore, is_archived=True)
    assert back.op == op
    assert ["reopen it by hand" in left.because for left in back.left] == [True] * (not can_restore)


def test_what_was_undone_already_needs_nothing() -> None:
    written = replace(UPDATED, read={"phone": "1"}, asked={"phone": "1"})
    assert way_back(written, {"phone": "1"}, PATHS, can_archive=True) == way_back(
        replace(written, changes=([],)), {"phone": "1"}, PATHS, can_archive=True
    )


@pytest.mark.parametrize(
    ("a", "b", "is_same"),
    [
        (None, "", True), ("1.0", "1", True), ("a", "A", False), (None, "x", False),
        ('[{"a": 1}]', '[{"a":1}]', True), ("[1", "[1 ", False),
    ],
)  # fmt: skip
def test_values_that_say_the_same(a: str | None, b: str | None, is_same: bool) -> None:
    assert same(a, b) is is_same


def test_left_names_its_field() -> None:
    assert way_back(UPDATED, {"phone": "7"}, PATHS, can_archive=True).left == (
        Left("phone", "moved on: somebody has changed it there since"),
    )
