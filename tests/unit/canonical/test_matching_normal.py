"""Normal forms: what counts as the same name, identifier or mailbox."""

from __future__ import annotations

import polars as pl
import pytest

from canonical.matching import normal
from canonical.model import MatchRules


def one(expression: pl.Expr, value: str | None) -> object:
    return pl.DataFrame({"v": [value]}, schema={"v": pl.String}).select(expression).item()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("Acme Ltd", "ACME LIMITED", id="legal-form-and-case"),
        pytest.param("Müller GmbH & Co. KG", "MULLER", id="a-run-of-forms"),
        pytest.param("Durand S.A.R.L.", "Durand SARL", id="dotted-form"),
        pytest.param("Jansen B.V.", "Jansen BV", id="short-dotted-form"),
        pytest.param("Smith & Sons", "Smith and Sons", id="and"),
        pytest.param("Café Noir", "Cafe\u0301 Noir", id="nfc-and-nfd"),
        pytest.param("Straße 7", "STRASSE 7", id="sharp-s"),
        pytest.param("Smith, John", "John Smith", id="order-of-words"),
        pytest.param("Acme\u200b Trading", "Acme Trading", id="zero-width"),
        pytest.param("The Acme Company", "Acme", id="article-and-company"),
    ],
)  # fmt: skip
def test_names_that_are_equal(a: str, b: str) -> None:
    assert one(normal.name(pl.col("v")), a) == one(normal.name(pl.col("v")), b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("Acme North", "Acme South", id="another-word"),
        pytest.param("김종은", "김정은", id="another-syllable"),
        pytest.param("Ltd", "GmbH", id="nothing-but-a-form"),
    ],
)
def test_names_that_are_not(a: str, b: str) -> None:
    assert one(normal.name(pl.col("v")), a) != one(normal.name(pl.col("v")), b)


@pytest.mark.parametrize("empty", [None, "", " - ", "..."])
def test_a_name_without_letters_is_none(empty: str | None) -> None:
    assert one(normal.name(pl.col("v")), empty) is None


def test_a_surname_is_not_taken_for_a_legal_form() -> None:
    assert one(normal.name(pl.col("v"), has_form=False), "Maria Sa") == "maria sa"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param(("name", "legal_name"), ("name",), id="name-alone"),
        pytest.param(("first_name", "last_name", "title"), ("first_name", "last_name"), id="parts"),
        pytest.param(("title", "description"), ("title",), id="a-title"),
        pytest.param(("phone",), (), id="none"),
    ],
)
def test_which_columns_are_the_name(columns: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert normal.name_columns(MatchRules(alike=columns)) == expected


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        pytest.param("tax_id", "be 0123.456-789", "BE0123456789", id="tax-number"),
        pytest.param("sku", "a-1 1", "A-11", id="punctuation-counts-in-a-sku"),
        pytest.param("email", " Jo@Acme.example ", "jo@acme.example", id="mailbox"),
        pytest.param("tax_id", "n/a", None, id="says-none"),
        pytest.param("phone", "000", None, id="zeros"),
        pytest.param("phone", "", None, id="empty"),
    ],
)
def test_identifiers(column: str, value: str, expected: str | None) -> None:
    frame = pl.DataFrame({column: [value]})
    assert frame.select(normal.identifier(column)).item() == expected


@pytest.mark.parametrize(
    ("mailbox", "is_role"),
    [("info@x.example", True), ("sales2@x.example", True), ("no-reply@x.example", True), ("ap.uk@x.example", True),
     ("infocus@x.example", False), ("jo.sales@x.example", False), (None, False)],
)  # fmt: skip
def test_role_mailboxes(mailbox: str | None, is_role: bool) -> None:
    assert one(normal.is_role(pl.col("v")), mailbox) is is_role


def test_punycode_is_read_and_bad_punycode_left() -> None:
    boxes = pl.Series(["jo@xn--mnchen-3ya.example", "jo@xn--\u00e4.example", "jo@plain.example", None])
    assert normal.decode_punycode(boxes).to_list() == [
        "jo@münchen.example",
        "jo@xn--\u00e4.example",
        "jo@plain.example",
        None,
    ]
