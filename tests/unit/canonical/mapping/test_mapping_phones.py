"""The column way of phone numbers answers exactly as the library does."""

from __future__ import annotations

import random

import phonenumbers
import polars as pl
import pytest

from canonical.mapping.functions.phones import _fast, by_library, e164

REGIONS = ("GB", "US", "DE", "FR", "NL", "IT", "ES", "CA", "JP", "AU", "IE", "CH", "BR", "AR", "RU", "SE")
WRITTEN = (
    "{}",
    " {}",
    "{} ",
    "({}",
    "{})",
    "00{}",
    "+{}",
    "+0{}",
    "x{}",
    "{}x5",
    "{} ext 5",
    "{};ext=5",
    "{}/1",
    "tel:{}",
)


def written(region: str, count: int) -> list[str]:
    """Numbers of a region in many ways of writing, good and broken."""
    choose = random.Random(region)
    code = phonenumbers.country_code_for_region(region)
    seeds = [
        str(number.national_number)
        for kind in phonenumbers.PhoneNumberType.values()
        if (number := phonenumbers.example_number_for_type(region, kind)) is not None
    ]
    found: list[str] = []
    for _ in range(count):
        digits = list(choose.choice(seeds))
        for _ in range(choose.choice((0, 1, 3, 9))):
            digits[choose.randrange(len(digits))] = choose.choice("0123456789")
        digits = digits[: choose.choice((None, None, None, -1, 5))] + choose.choice(([], [], [], ["7"]))
        for _ in range(choose.choice((0, 1, 3))):
            digits.insert(choose.randrange(len(digits) + 1), choose.choice(" -.()"))
        text = "".join(digits)
        prefix = choose.choice(
            ("", "0", "1", f"+{code}", f"+{code} ", f"+{code}(0)", f"00{code}", str(code), "011", "010")
        )
        found.append(choose.choice(("{}",) * 20 + WRITTEN).format(prefix + text))
    return found


@pytest.mark.parametrize("region", REGIONS)
def test_the_column_way_agrees_with_the_library(region: str) -> None:
    numbers = written(region, 500)
    fast = _fast(pl.Series(numbers), region)
    expected = [by_library(number, region) for number in numbers]
    wrong = [(n, f, x) for n, f, x in zip(numbers, fast, expected, strict=True) if f is not None and f != x]
    assert wrong == []
    assert e164(pl.Series(numbers), region).values.to_list() == expected


@pytest.mark.parametrize("region", ["GB", "US", "DE", "FR", "NL"])
def test_plainly_written_numbers_take_the_column_way(region: str) -> None:
    kinds = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    examples = [phonenumbers.example_number_for_type(region, kind) for kind in kinds]
    shapes = (phonenumbers.PhoneNumberFormat.NATIONAL, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    numbers = [phonenumbers.format_number(example, shape) for example in examples if example for shape in shapes]
    assert _fast(pl.Series(numbers), region).null_count() == 0


def test_without_a_region_only_international_numbers_are_understood() -> None:
    assert e164(pl.Series(["+44 20 7946 0000", "020 7946 0000"]), None).values.to_list() == ["+442079460000", None]
