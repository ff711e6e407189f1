"""Identities and fingerprints are stable, distinct and safe to store."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical import keys

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def test_a_canonical_id_never_changes_over_releases() -> None:
    assert keys.canonical_id("customer", "crm", "companies", "42") == "cus_qudpmebeqh7wtskusjl2bevc6q"


def test_a_salt_gives_another_id() -> None:
    ids = {keys.canonical_id("customer", "crm", "companies", "42", salt) for salt in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(("e", "ab", "c", "d"), ("e", "a", "bc", "d"), id="parts-do-not-run-together"),
        pytest.param(("e", "a", "b", "1:x"), ("e", "a", "b1", ":x"), id="nor-with-a-length-in-a-value"),
        pytest.param(("e", "a", "b", "C1"), ("e", "a", "b", "c1"), id="ids-keep-their-case"),
    ],
)
def test_different_records_have_different_ids(a: tuple[str, ...], b: tuple[str, ...]) -> None:
    assert keys.canonical_id(*a) != keys.canonical_id(*b)  # type: ignore[arg-type]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5), st.integers(0, 3))
def test_ids_of_a_frame_are_the_ids_of_its_rows(rows: list[tuple[str, str, str]], salt: int) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(("system", "stream", "source_id"), pl.String), orient="row")
    expected = [keys.canonical_id("order", *row, salt) for row in rows]
    assert keys.canonical_ids("order", frame, salt).to_list() == expected


def test_the_key_of_a_create_has_no_version_and_differs_from_an_updates() -> None:
    create = keys.create_key("acc", "contacts", "cus_1")
    assert create == keys.create_key("acc", "contacts", "cus_1")
    assert create != keys.update_key("acc", "contacts", "cus_1", 1, "{}")
    assert len(create) <= 100


def test_the_key_of_an_update_follows_version_payload_and_operation() -> None:
    made = {
        keys.update_key("acc", "contacts", "cus_1", 1, "{}"),
        keys.update_key("acc", "contacts", "cus_1", 2, "{}"),
        keys.update_key("acc", "contacts", "cus_1", 2, '{"a":1}'),
        keys.update_key("acc", "contacts", "cus_1", 2, '{"a":1}', op="archive"),
    }
    assert len(made) == 4


def test_a_write_hash_covers_every_part_and_a_set_hash_no_order() -> None:
    whole = ("customer", "acc", "contacts", "cus_1", "update", "{}")
    changed = [(*whole[:i], whole[i] + "x", *whole[i + 1 :]) for i in range(len(whole))]
    hashes = {keys.write_hash(*parts) for parts in [whole, *changed]}
    assert len(hashes) == len(whole) + 1
    assert keys.set_hash(["a", "b"]) == keys.set_hash(["b", "a"]) != keys.set_hash(["ab"])


def test_value_hashes_are_stable_and_signed() -> None:
    frame = pl.DataFrame({"name": ["Acme", None], "phone": ["+44", ""]})
    made = keys.value_hashes(frame, ["name", "phone"])
    assert made.dtype == pl.Int64
    assert made.to_list() == [4395395113242839442, -3471346713100638504]


@pytest.mark.parametrize(
    ("a", "b", "is_equal"),
    [
        pytest.param({"x": None, "y": "1"}, {"x": "", "y": "1"}, False, id="null-is-not-empty-text"),
        pytest.param({"x": "1", "y": None}, {"x": None, "y": "1"}, False, id="a-value-belongs-to-its-column"),
        pytest.param({"x": "1y\x1f1:2", "y": None}, {"x": "1", "y": "2"}, False, id="separators-in-values"),
        pytest.param({"x": "1", "y": None}, {"x": "1"}, True, id="a-new-empty-column-changes-nothing"),
        pytest.param({"x": "1", "y": "2"}, {"y": "2", "x": "1"}, True, id="order-of-columns-does-not-count"),
    ],
)
def test_value_hashes_tell_values_apart(a: dict[str, str], b: dict[str, str], is_equal: bool) -> None:
    hashes = [keys.value_hashes(pl.DataFrame([row], schema=dict.fromkeys(row, pl.String)), list(row)) for row in (a, b)]
    assert (hashes[0][0] == hashes[1][0]) is is_equal


def test_value_hashes_of_no_columns_are_all_one() -> None:
    assert keys.value_hashes(pl.DataFrame({"x": ["1", "2"]}), []).n_unique() == 1


def test_raw_hashes_fit_a_bigint_and_keep_order() -> None:
    assert keys.raw_hashes([]) == []
    made = keys.raw_hashes([b"a", b"b", b"a", b""])
    assert made[0] == made[2] != made[1]
    assert all(-(2**63) <= h < 2**63 for h in made)
    assert made[3] == 3244421341483603138


@pytest.mark.parametrize("op", ["create", "update", "archive", "delete"])
def test_keys_and_hashes_of_a_batch_are_those_of_its_rows(op: str) -> None:
    frame = pl.DataFrame({"id": ["cus_1", "cus_é"], "op": [op, op], "version": [1, 12], "payload": ['{"a":"é"}', ""]})
    made = keys.write_keys("acc", "contacts", frame).to_list()
    hashes = keys.write_hashes("customer", "acc", "contacts", frame).to_list()
    rows = frame.rows(named=True)
    assert made == [
        keys.create_key("acc", "contacts", r["id"])
        if op == "create"
        else keys.update_key("acc", "contacts", r["id"], r["version"], r["payload"], op)
        for r in rows
    ]
    assert hashes == [keys.write_hash("customer", "acc", "contacts", r["id"], op, r["payload"]) for r in rows]
