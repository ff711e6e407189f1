"""Two golden records are one: which links go where, and which merges make no sense."""

from __future__ import annotations

import pytest

from canonical import merge
from canonical.merge import Link

CRM, LEDGER, SHOP = ("crm", "companies"), ("ledger", "contacts"), ("shop", "customers")


def link(place: tuple[str, str], source_id: str, *, is_primary: bool = True) -> Link:
    return Link(*place, source_id, is_primary)


@pytest.mark.parametrize(
    ("merged", "winner", "loser", "said"),
    [
        ({}, "a", "b", None),
        ({}, "a", "a", "itself"),
        ({"b": "c"}, "a", "b", "unmerge it first"),
        ({"a": "b"}, "a", "b", "circle"),
        ({"a": "c", "c": "b"}, "a", "b", "circle"),
        ({"a": "c"}, "a", "b", "merge into that one"),
        ({"x": "b"}, "a", "b", None),
    ],
    ids=["two", "itself", "merged-already", "circle", "longer-circle", "winner-is-merged", "loser-has-losers"],
)
def test_which_merges_make_sense(merged: dict[str, str], winner: str, loser: str, said: str | None) -> None:
    found = merge.refusal(merged, winner, loser)
    assert (found is None) == (said is None)
    assert said is None or (found is not None and said in found)


def test_the_end_of_a_chain_and_of_a_circle_that_should_not_be() -> None:
    assert merge.final({"a": "b", "b": "c"}, "a") == "c"
    assert merge.final({"a": "b", "b": "a"}, "a") in {"a", "b"}


def test_links_that_are_alone_in_their_place_become_the_primary_ones() -> None:
    (move,) = merge.moves([link(CRM, "1")], [link(SHOP, "9", is_primary=False)], set())
    assert (move.to, move.link.source_id) == ("primary", "9")


def test_a_twin_where_we_write_is_left_to_be_archived() -> None:
    ours, theirs = [link(CRM, "1"), link(LEDGER, "2")], [link(CRM, "8"), link(LEDGER, "9")]
    moves = {m.link.source_id: m.to for m in merge.moves(ours, theirs, {LEDGER})}
    assert moves == {"8": "twin", "9": "stays"}


def test_a_second_record_of_the_loser_follows_as_a_twin() -> None:
    theirs = [link(LEDGER, "8", is_primary=False), link(LEDGER, "7")]
    moves = [(m.link.source_id, m.to) for m in merge.moves([], theirs, {LEDGER})]
    assert moves == [("7", "primary"), ("8", "twin")]
