"""The decisions of matching: what links, what is asked, what is created, and that nothing ever merges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.matching import Matched, block_keys, identifiers, match
from canonical.matching.decide import DECISIONS, DUPLICATES, REVIEWS
from canonical.model import MatchRules

RULES = MatchRules(
    unique=("tax_id",),
    strong=("email",),
    shared=("phone",),
    different_if=("tax_id",),
    alike=("name", "address_postcode", "phone"),
)
RANK = {"crm": 0, "accounting": 1}
HEAD = ("key", "system", "stream", "source_id")
Record = dict[str, Any]


def frame(records: list[Record], rules: MatchRules = RULES, *, is_known: bool = False) -> pl.DataFrame:
    """Records with their key also as source id; system crm and stream s unless said."""
    columns = ([*HEAD] if not is_known else ["canonical_id", *HEAD]) + [*rules.columns]
    rows = [{"system": "crm", "stream": "s", "source_id": r["key"]} | r for r in records]
    return pl.DataFrame([{c: r.get(c) for c in columns} for r in rows], schema=dict.fromkeys(columns, pl.String))


def decide(
    new: list[Record],
    known: list[Record] | None = None,
    answers: list[tuple[str, str, str]] | None = None,
    rules: MatchRules = RULES,
) -> Matched:
    said = pl.DataFrame(answers or [], schema=["key", "other_key", "verdict"], orient="row") if answers else None
    return match(frame(new, rules), frame(known or [], rules, is_known=True), rules, RANK, said)


def actions(matched: Matched) -> dict[str, str]:
    """key → what becomes of it: `create`, `with X`, `link X`, or `ask X` (the best candidate)."""
    found = {}
    best = {r["key"]: r["canonical_id"] or r["other_key"] for r in reversed(matched.reviews.to_dicts())}
    for row in matched.decisions.to_dicts():
        match row["action"]:
            case "link":
                found[row["key"]] = f"link {row['canonical_id']}"
            case "ask":
                found[row["key"]] = f"ask {best[row['key']]}"
            case _:
                found[row["key"]] = "create" if row["group"] == row["key"] else f"with {row['group']}"
    return found


ACME = {
    "name": "Acme Trading Ltd",
    "tax_id": "GB123",
    "email": "jo@acme.example",
    "phone": "+44113",
    "address_postcode": "LS1 1AA",
}


def known(**values: Any) -> list[Record]:
    return [{"canonical_id": "c1", "key": "k1", "system": "accounting"} | ACME | values]


def new(**values: Any) -> list[Record]:
    return [{"key": "n1"} | dict.fromkeys(ACME) | values]


ONE_AGAINST_ACME = [
    # identifiers
    pytest.param(new(tax_id="GB 123", name="ACME TRADING"), "link c1", id="unique-links-whatever-its-spelling"),
    pytest.param(new(tax_id="gb-123"), "link c1", id="unique-links-without-a-name"),
    pytest.param(new(tax_id="GB123", name="Zenith Optics"), "ask c1", id="unique-but-a-clearly-different-name"),
    pytest.param(new(email="JO@acme.example", name="Acme Tradng"), "link c1", id="strong-with-nearly-the-name"),
    pytest.param(new(email="jo@acme.example", phone="+44113"), "link c1", id="strong-with-another-field-and-no-name"),
    pytest.param(new(email="jo@acme.example"), "ask c1", id="strong-alone"),
    pytest.param(new(email="jo@acme.example", name="Zenith Optics"), "ask c1", id="strong-but-another-name"),
    pytest.param(new(email="jo@acme.example", name="Acme"), "ask c1", id="strong-with-a-part-of-the-name"),
    pytest.param(
        new(email="jo@acme.example", name="Acme", phone="+44113"), "link c1", id="strong-with-a-part-and-another-field"
    ),
    pytest.param(
        new(email="jo@acme.example", name="Acme Trading", tax_id="GB9"), "ask c1", id="strong-name-but-another-tax-id"
    ),
    pytest.param(
        new(email="jo@acme.example", name="Zenith Optics", tax_id="GB9"), "create", id="strong-but-all-else-differs"
    ),
    # likeness
    pytest.param(new(name="Acme Trading", address_postcode="LS1 1AA"), "ask c1", id="same-name-and-postcode"),
    pytest.param(new(name="Acme Tradin", phone="+44113"), "ask c1", id="nearly-the-name-and-a-shared-phone"),
    pytest.param(new(name="Zenith Optics", phone="+44113"), "create", id="only-a-shared-phone"),
    pytest.param(new(name="Acme Trading", tax_id="GB9"), "create", id="same-name-another-tax-id"),
    pytest.param(
        new(name="Acme Trading", tax_id="GB9", phone="+44113", address_postcode="LS1 1AA"), "create",
        id="all-alike-but-the-tax-id",
    ),
    pytest.param(
        new(name="ACME TRADING LIMITED", phone="+44113", address_postcode="ls11aa"), "link c1",
        id="equal-name-and-two-more-fields-are-certain",
    ),
    pytest.param(
        new(name="Acme Tradin", phone="+44113", address_postcode="LS1 1AA"), "ask c1",
        id="a-name-that-is-not-equal-is-never-certain",
    ),
    pytest.param(new(name="Quite Other"), "create", id="nothing-alike"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "expected"), ONE_AGAINST_ACME)
def test_one_record_against_a_known_one(records: list[Record], expected: str) -> None:
    assert actions(decide(records, known())) == {"n1": expected}


@pytest.mark.parametrize(
    "mailbox",
    [
        pytest.param("info@acme.example", id="role"),
        pytest.param("Accounts+uk@acme.example", id="role-with-a-tag"),
        pytest.param("jo@аcme.example", id="cyrillic-letter"),
        pytest.param("jo@xn--cme-7cd.example", id="punycode"),
    ],
)
def test_a_mailbox_that_proves_nothing_never_links(mailbox: str) -> None:
    found = actions(decide(new(email=mailbox, name="Acme Trading"), known(email=mailbox)))
    assert found["n1"] == "ask c1"


@pytest.mark.parametrize(
    "mailbox",
    [pytest.param("jo@аcme.example", id="cyrillic"), pytest.param("jo@acrne.example", id="rn-for-m"),
     pytest.param("jo@xn--cme-5cd.example", id="punycode-of-cyrillic")],
)  # fmt: skip
def test_a_look_alike_domain_turns_a_link_into_a_question(mailbox: str) -> None:
    matched = decide(new(tax_id="GB123", email=mailbox), known())
    assert actions(matched) == {"n1": "ask c1"}
    assert "look-alike e-mail domains" in matched.reviews["because"][0]


def test_a_broken_punycode_domain_is_just_a_domain() -> None:
    assert actions(
        decide(new(tax_id="GB123", email="jo@xn--\udcff.example".encode("utf-8", "ignore").decode()), known())
    )


def test_a_strong_value_that_many_records_of_one_stream_hold_never_links() -> None:
    crowd = [
        {"key": f"n{i}", "email": "desk@books.example", "name": name}
        for i, name in enumerate(["Ash", "Birch", "Cedar", "Ash"])
    ]
    found = actions(decide(crowd))
    assert "with n0" not in found.values()
    three = actions(decide([crowd[0], crowd[3]]))
    assert three["n3"] == "with n0"


def test_equal_names_in_two_normal_forms_of_unicode_match() -> None:
    records = [
        {"key": "a", "name": "Caf\u00e9 M\u00fcller", "address_postcode": "1", "phone": "+441"},
        {"key": "b", "name": "Cafe\u0301 Mu\u0308ller", "address_postcode": "1", "phone": "+441"},
    ]
    assert actions(decide(records)) == {"a": "create", "b": "with a"}


# ── groups, knots, reviews ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_better_ranked_record_founds_the_group() -> None:
    pair = [{"key": "a", "system": "accounting"} | ACME, {"key": "z", "system": "crm"} | ACME]
    matched = decide(pair)
    assert actions(matched) == {"z": "create", "a": "with z"}
    because = dict(matched.decisions.select("key", "because").iter_rows())
    assert because["z"] == "first of 2 records that are one"
    assert because["a"].startswith("same tax_id, same email")


def test_of_two_doubtful_new_records_the_worse_ranked_is_asked() -> None:
    pair = [
        {"key": "a", "system": "legacy", "name": "Acme Trading", "address_postcode": "LS1 1AA"},
        {"key": "b", "system": "crm", "name": "Acme Trading", "address_postcode": "LS1 1AA"},
    ]
    assert actions(decide(pair)) == {"b": "create", "a": "ask b"}


def test_a_group_in_doubt_is_asked_as_a_whole() -> None:
    group = [
        {"key": "a", "tax_id": "GB5", "name": "Acme Trading"},
        {"key": "b", "tax_id": "GB5", "name": "Acme Trading", "address_postcode": "LS1 1AA"},
    ]
    matched = decide(group, known(tax_id=None))
    assert actions(matched) == {"a": "ask c1", "b": "ask c1"}


def test_a_bridge_between_two_golden_records_is_asked_and_never_merges() -> None:
    two = [*known(), {"canonical_id": "c2", "key": "k2", "name": "Acme Trading", "email": "x@y.example"}]
    rules = replace(RULES, different_if=())
    matched = decide(new(tax_id="GB123", email="x@y.example", name="Acme Trading"), two, rules=rules)
    assert matched.decisions["action"].to_list() == ["ask"]
    assert set(matched.reviews["canonical_id"]) <= {"c1", "c2"}
    assert "2 golden records" in matched.reviews["because"][0]


def test_records_beside_a_bridge_that_lead_to_one_golden_record_still_link() -> None:
    two = [*known(), {"canonical_id": "c2", "key": "k2", "name": "Acme Trading", "email": "x@y.example"}]
    rules = replace(RULES, different_if=())
    bridge = {"key": "n1", "tax_id": "GB123", "email": "x@y.example", "name": "Acme Trading"}
    plain = {"key": "n2", "system": "legacy", "email": "x@y.example", "name": "Acme Trading"}
    found = actions(decide([bridge, plain], two, rules=rules))
    assert found["n2"] == "link c2"
    assert found["n1"].startswith("ask")


def test_another_record_of_the_golden_record_objects() -> None:
    members = [*known(tax_id=None), {"canonical_id": "c1", "key": "k2", "tax_id": "GB123", "name": "Acme Trading"}]
    matched = decide(new(email="jo@acme.example", name="Acme Trading", tax_id="GB9"), members)
    assert actions(matched) == {"n1": "ask c1"}


def test_a_record_between_two_that_are_told_apart_is_asked() -> None:
    """A and C differ in tax id; B has none and shares its mailbox with both."""
    shared = {"name": "Acme Trading", "email": "jo@acme.example"}
    found = actions(
        decide([{"key": "a", "tax_id": "GB1"} | shared, {"key": "b"} | shared, {"key": "c", "tax_id": "GB2"} | shared])
    )
    assert found["b"] == "ask a"
    assert "with" not in " ".join(found.values())


def test_a_record_does_not_come_through_others_to_one_that_objects_to_it() -> None:
    """`z` has the tax id of c1 but a clearly different name; `n` has the tax id and no name at all."""
    records = [{"key": "n", "tax_id": "GB123"}, {"key": "z", "tax_id": "GB123", "name": "Zenith Optics"}]
    assert actions(decide(records, known())) == {"n": "link c1", "z": "ask c1"}


def test_told_apart_around_a_golden_record_only_positive_agreement_links() -> None:
    shared = {"name": "Acme Trading", "email": "jo@acme.example"}
    records = [{"key": "a", "tax_id": "GB123"} | shared, {"key": "b"} | shared, {"key": "c", "tax_id": "GB2"} | shared]
    found = actions(decide(records, known()))
    assert found["a"] == "link c1"
    assert found["c"].startswith("ask")


def test_more_than_ten_records_that_link_together_are_not_believed() -> None:
    many = [{"key": f"n{i:02}", "system": f"s{i}", "tax_id": "GB123", "name": "Acme"} for i in range(11)]
    matched = decide(many)
    assert matched.decisions["action"].value_counts().sort("count").rows() == [("create", 1), ("ask", 10)]
    assert "11 records link together" in matched.reviews["because"].to_list()
    assert actions(decide(many[:10]))["n09"] == "with n00"


def test_a_crowd_at_a_golden_record_is_asked() -> None:
    many = [{"key": f"n{i:02}", "system": f"s{i}", "tax_id": "GB123", "name": "Acme"} for i in range(40)]
    matched = decide(many, known(name="Acme"))
    assert set(matched.decisions["action"]) == {"ask"}
    assert set(matched.reviews["canonical_id"]) == {"c1"}


def test_a_crowd_that_is_told_apart_founds_one_and_asks_the_rest() -> None:
    """Twelve of one tax id and one of another, all at one mailbox."""
    shared = {"name": "Acme", "email": "jo@acme.example"}
    many = [{"key": f"n{i:02}", "system": f"s{i}", "tax_id": "GB1"} | shared for i in range(12)]
    found = actions(decide([*many, {"key": "x"} | shared, {"key": "y", "tax_id": "GB2"} | shared]))
    assert list(found.values()).count("create") >= 1
    assert "with" not in " ".join(found.values())


def test_twins_of_one_stream_are_linked_but_not_primary() -> None:
    twins = [{"key": "a"} | ACME, {"key": "b"} | ACME, {"key": "c", "stream": "t"} | ACME]
    matched = decide(twins)
    assert matched.duplicates.to_dicts() == [
        {"key": "b", "canonical_id": None, "group": "a", "because": "another record of crm/s is this one already"}
    ]
    matched = decide([{"key": "a"} | ACME], known(system="crm"))
    assert matched.duplicates.select("key", "canonical_id", "group").rows() == [("a", "c1", None)]


def test_at_most_three_candidates_are_shown_best_first() -> None:
    similar = [
        {"canonical_id": f"c{i}", "key": f"k{i}", "name": "Acme Trading", "phone": "+44113" if i == 3 else None}
        for i in range(5)
    ]
    matched = decide(new(name="Acme Trading", phone="+44113"), similar)
    assert matched.reviews.height == 3
    assert matched.reviews["canonical_id"][0] == "c3"
    assert matched.reviews["score"].is_sorted(descending=True)


# ── people's answers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("records", "verdict", "expected"),
    [
        pytest.param(new(name="Acme Trading", address_postcode="LS1 1AA"), "link", "link c1", id="a-doubt-is-linked"),
        pytest.param(
            new(name="Acme Trading", address_postcode="LS1 1AA"), "separate", "create", id="a-doubt-is-parted"
        ),
        pytest.param(new(tax_id="GB123"), "separate", "create", id="parted-in-spite-of-a-unique-identifier"),
        pytest.param(new(name="Zenith", tax_id="GB9"), "link", "link c1", id="linked-in-spite-of-all"),
    ],
)
def test_a_person_s_word_outweighs_every_rule(records: list[Record], verdict: str, expected: str) -> None:
    assert actions(decide(records, known(), [("n1", "k1", verdict)])) == {"n1": expected}
    assert actions(decide(records, known(), [("k1", "n1", verdict)])) == {"n1": expected}


def test_an_answer_solves_a_bridge() -> None:
    two = [*known(), {"canonical_id": "c2", "key": "k2", "name": "Acme Trading", "email": "x@y.example"}]
    records = new(tax_id="GB123", email="x@y.example", name="Acme Trading")
    rules = replace(RULES, different_if=())
    assert actions(decide(records, two, [("n1", "k2", "link")], rules)) == {"n1": "link c2"}
    assert actions(decide(records, two, [("n1", "k2", "separate")], rules)) == {"n1": "link c1"}


def test_records_that_a_person_told_apart_do_not_meet_through_a_third() -> None:
    shared = {"name": "Acme Trading", "email": "jo@acme.example"}
    found = actions(
        decide([{"key": "a"} | shared, {"key": "b"} | shared, {"key": "c"} | shared], answers=[("a", "b", "separate")])
    )
    assert found["a"] == "create"
    assert found["b"] != "with a"


def test_answers_about_records_that_are_gone_are_passed_over() -> None:
    assert actions(decide(new(name="Acme"), answers=[("n1", "gone", "link")])) == {"n1": "create"}


# ── people by name, rules without this or that ───────────────────────────────────────────────────────────────────────

PEOPLE = MatchRules(
    strong=("email",), shared=("phone",), alike=("first_name", "last_name", "birth_date", "phone", "address_postcode")
)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param({"first_name": "Jane"}, "ask a", id="another-first-name-in-one-household"),
        pytest.param({"first_name": "J."}, "ask a", id="an-initial"),
        pytest.param({}, "with a", id="all-equal"),
        pytest.param({"birth_date": "1999-01-01"}, "ask a", id="born-on-another-day"),
        pytest.param(
            {"first_name": "Walter", "last_name": "Brown", "birth_date": "1999-01-01"}, "create", id="a-lodger"
        ),
    ],
)
def test_people(other: Record, expected: str) -> None:
    john = {
        "first_name": "John",
        "last_name": "Smith",
        "phone": "+441",
        "address_postcode": "X1",
        "birth_date": "1970-01-01",
    }
    assert actions(decide([{"key": "a"} | john, {"key": "b"} | john | other], rules=PEOPLE))["b"] == expected


def test_without_likeness_nobody_is_asked_for_being_alike() -> None:
    rules = replace(RULES, alike=())
    assert actions(decide(new(phone="+44113"), known(), rules=rules)) == {"n1": "create"}
    assert block_keys(frame(new(name="Acme"), rules), rules).is_empty()


def test_nothing_new_nothing_decided() -> None:
    matched = decide([])
    assert matched.decisions.schema == DECISIONS
    assert matched.reviews.schema == REVIEWS
    assert matched.duplicates.schema == DUPLICATES


def test_what_is_looked_up() -> None:
    records = frame(
        new(
            tax_id="GB 12-3",
            email="Jo@Acme.example",
            phone="+44 113",
            name="Müller & Söhne GmbH",
            address_postcode="LS1 1AA",
        )
    )
    assert identifiers(records, RULES).rows() == [
        ("n1", "tax_id", "GB123"),
        ("n1", "email", "jo@acme.example"),
        ("n1", "phone", "+44113"),
    ]
    assert block_keys(records, RULES)["block"].to_list() == [
        "2:mull|sohn", "address_postcode:LS11AA", "n:muller", "n:sohne", "phone:+44113", "w:mullersohne",
    ]  # fmt: skip


WORDS = st.sampled_from(["Acme", "Acme Ltd", "Bolt", "Bolt & Co", None])
SMALL = st.sampled_from(["1", "2", None])


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    return [
        {
            "key": f"n{i}",
            "system": draw(st.sampled_from(["crm", "accounting", "legacy"])),
            "name": draw(WORDS),
            "tax_id": draw(SMALL),
            "email": draw(st.sampled_from(["a@x.example", "b@x.example", None])),
            "phone": draw(SMALL),
            "address_postcode": draw(SMALL),
        }
        for i in range(draw(st.integers(1, 9)))
    ]


@given(batches(), st.data())
@settings(max_examples=12, deadline=None)
def test_whatever_comes_every_record_is_decided_once_and_nothing_told_apart_is_together(
    records: list[Record], data: st.DataObject
) -> None:
    old = [
        r | {"canonical_id": f"c{data.draw(st.integers(0, 2))}", "key": f"k{i}"}
        for i, r in enumerate(data.draw(batches())[:3])
    ]
    matched = decide(records, old)
    assert sorted(matched.decisions["key"]) == sorted(r["key"] for r in records)
    assert decide(records[::-1], old[::-1]).decisions.equals(matched.decisions)
    asked = set(matched.decisions.filter(pl.col("action") == "ask")["key"])
    assert asked == set(matched.reviews["key"])
    tax = {r["key"]: r["tax_id"] for r in records}
    for group in matched.decisions.filter(pl.col("action") == "create").group_by("group").agg("key")["key"]:
        assert len({tax[k] for k in group} - {None}) <= 1
    anchors = set(matched.decisions["group"].drop_nulls())
    assert all(dict(matched.decisions.select("key", "group").iter_rows())[a] == a for a in anchors)
