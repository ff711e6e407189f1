"""The column way of names answers exactly as nameparser does."""

from __future__ import annotations

import polars as pl
import pytest
from nameparser import HumanName

from canonical.mapping.functions.names import PARTS, split_name

NAMES = [
    "Ann Lee", "Van Morrison", "Dr Smith", "Prince Harry", "Lord Byron", "Mary Ann", "Ann Jr", "Sir Elton", "De Niro",
    "Al Gore", "Santa Claus", "Saint John", "Abu Bakr", "Jean And", "Judge Judy", "King Charles", "Ma Li", "Do Kim",
    "Esq Ann", "Phd Bob", "Von Trapp", "La Toya", "Mac Miller", "Bin Laden", "ann lee", "ANN LEE", "Ann", "Lee, Ann",
    "Ann Marie Lee", "Dr. Juan Q. Xavier de la Vega III (Doc Vega)", "O'Brien Pat", "José García", "Ann  Lee", "  ",
    "Smith & Sons", "Acme Ltd", "Y Combinator", "Junior Ann", "Bob Senior", "Ann Ma", "Ann Do", "Lee Esq", "Major Tom",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_the_column_way_agrees_with_the_library(part: str) -> None:
    expected = [str(getattr(HumanName(name), part)) or None for name in NAMES]
    assert split_name(pl.Series(NAMES), part).to_list() == expected
