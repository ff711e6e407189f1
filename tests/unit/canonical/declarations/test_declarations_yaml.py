"""Strict YAML: what a person would not expect is refused, with the line it stands on."""

from __future__ import annotations

from decimal import Decimal

import pytest

from canonical.declarations.yaml import load_yaml, node_of, read_yaml
from canonical.problems import Problem, Refused


def problems_of(text: str | bytes) -> list[Problem]:
    return read_yaml("x.yaml", text if isinstance(text, bytes) else text.encode())[1]


def test_values_are_what_they_look_like() -> None:
    root = load_yaml(
        "x.yaml", b'a: 5\nb: 0.80\nc: true\nd: "00123"\ne: net7\nf: [1, x]\ng: {h: null}\ni:\nj: -3\nk: 20m\n'
    )
    assert root.plain == {
        "a": 5, "b": Decimal("0.80"), "c": True, "d": "00123", "e": "net7", "f": [1, "x"], "g": {"h": None}, "i": None,
        "j": -3, "k": "20m",
    }  # fmt: skip


def test_every_key_knows_its_line() -> None:
    root = load_yaml("x.yaml", b"a:\n  b: 1\n  c:\n    - x\n    - z\n")
    assert root.entries["a"].line == 1
    assert root.entries["a"].node.entries["c"].line == 3
    assert [item.line for item in root.entries["a"].node.entries["c"].node.items] == [4, 5]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert load_yaml("x.yaml", b"\xef\xbb\xbfa: b\n").plain == {"a": "b"}


def test_the_word_null_may_be_a_key() -> None:
    assert load_yaml("x.yaml", b"null: keep\n").plain == {"null": "keep"}


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        pytest.param("a: 1\nb: 2\na: 3\n", 3, "'a' again (first on line 1)", id="45-duplicate-key"),
        pytest.param("x:\n  a: 1\n  a: 3\n", 3, "'a' again (first on line 2)", id="45-duplicate-key-inside"),
        pytest.param("a: &n 1\nb: 2\n", 1, "the anchor &n", id="46-anchor"),
        pytest.param("a: b\nc: *n\n", 2, "the alias *n", id="46-alias"),
        pytest.param("a: b\nc: !!python/object:os.system x\n", 2, "the tag tag:yaml.org", id="46-tag"),
        pytest.param("a: b\n<<: {c: d}\n", 2, "the merge key <<", id="46-merge-key"),
        pytest.param("a: b\ncountry: NO\n", 2, "NO, which YAML reads as true or false", id="47-NO"),
        pytest.param("a: b\nc: yes\n", 2, "yes, which YAML reads as true or false", id="47-yes"),
        pytest.param("on: b\n", 1, "on, which YAML reads as true or false", id="47-on-as-key"),
        pytest.param("a: True\n", 1, "True, which YAML reads as true or false", id="47-True"),
        pytest.param("a: 00123\n", 1, "00123, which YAML reads as a number", id="47-leading-zeros"),
        pytest.param("a: 0x1F\n", 1, "0x1F, which YAML reads as a number", id="47-hexadecimal"),
        pytest.param("a: 1e3\n", 1, "1e3, which YAML reads as a number", id="47-exponent"),
        pytest.param("a: 1_000\n", 1, "1_000, which YAML reads as a number", id="47-underscores"),
        pytest.param("a: .inf\n", 1, ".inf, which YAML reads as a number", id="47-infinity"),
        pytest.param("a: 12:30\n", 1, "12:30, which YAML reads as a number to base 60", id="47-sexagesimal"),
        pytest.param("a: 2024-02-30\n", 1, "2024-02-30, which YAML reads as a date", id="47-date"),
        pytest.param("a: b\nc: d\n\te: f\n", 3, "a tab", id="48-tab"),
        pytest.param("a: b\nc: [d, e\n", 3, "", id="48-open-bracket"),
        pytest.param("a: b: c\n", 1, "mapping values are not allowed", id="48-two-colons"),
        pytest.param("a: b\n---\nc: d\n", 2, "a second one", id="two-documents"),
        pytest.param("404: b\n", 1, "the unquoted 404", id="number-as-key"),
        pytest.param("[a]: b\n", 1, "a list of 1", id="list-as-key"),
        pytest.param(b"a: b\nc: caf\xe9\n", 2, "the byte 0xe9", id="not-utf-8"),
        pytest.param("a: b\nc: \x07\n", 2, "the character U+0007", id="control-character"),
        pytest.param('a: "\\0"\n', 1, "the character U+0000", id="escaped-nul"),
        pytest.param('a: "\\ud800"\n', 1, "the character U+D800", id="escaped-half-of-a-pair"),
        pytest.param("a: b\n" * 200_001, None, "1000005 bytes", id="over-1-MB"),
    ],
)
def test_refused_notation(text: str | bytes, line: int | None, found: str) -> None:
    first = problems_of(text)[0]
    assert first.file == "x.yaml"
    assert first.line == line
    assert found in first.found


def test_unquoted_words_are_asked_for_in_quotes() -> None:
    (problem,) = problems_of("a:\n  country: NO\n")
    assert problem == Problem(
        "x.yaml", 2, "a.country", "quotes around it", "the unquoted NO, which YAML reads as true or false", '"NO"'
    )


def test_the_right_word_for_a_boolean_is_suggested() -> None:
    (problem,) = problems_of("a: TRUE\n")
    assert problem.suggestion == "true"


def test_nesting_ends_at_32_levels() -> None:
    assert not problems_of("[" * 31 + "]" * 31)
    (problem,) = problems_of("[" * 5000 + "]" * 5000)
    assert problem.expected == "at most 32 levels"


def test_an_alias_bomb_is_never_expanded() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert len(problems_of(bomb)) == 25


def test_all_problems_of_a_file_come_at_once_in_order() -> None:
    with pytest.raises(Refused) as refused:
        load_yaml("x.yaml", b"a: NO\nb: 00123\nb: &x 1\nc: *x\n")
    assert [problem.line for problem in refused.value.problems] == [1, 2, 3, 3, 4]


def test_plain_values_become_nodes() -> None:
    value = {"a": [1, "x", True, None, Decimal("1.5")]}
    assert node_of(value).plain == value


def test_an_empty_file_is_nothing() -> None:
    assert load_yaml("x.yaml", b"# only a comment\n").kind == "nothing"
