"""The way back of a row that is read: two laws for every one that is given, a reason where none is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.landscape import Stream, System
from canonical.mapping.functions import RULES
from canonical.mapping.functions.base import Context, NoInverse
from canonical.mapping.functions.numbers import enforce_money
from canonical.mapping.inverse import inverse, ways_back
from canonical.mapping.kinds import enforce
from canonical.mapping.pipeline import compile_rule, run_steps
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity, Field, Model


def _field(name: str, kind: str, **more: object) -> Field:
    return Field(name, kind, "crm", "boss", "crm", **more)  # type: ignore[arg-type]


CUSTOMER = Entity(
    "customer", "", "boss", "crm", "crm",
    (
        _field("text", "text"), _field("email", "email"), _field("phone", "phone", region="GB"),
        _field("status", "choice", values=("lead", "active now", "ina|ctive")), _field("vip", "boolean"),
        _field("staff", "integer"), _field("rate", "decimal"), _field("since", "date"), _field("seen", "datetime"),
        _field("credit", "money", currency="GBP"), _field("balance", "money"), _field("country", "country"),
        _field("currency", "currency"), _field("parent", "reference", entity="customer"),
        _field("lines", "list", key="no", of=(_field("no", "integer"), _field("item", "reference", entity="customer"))),
    ),
)  # fmt: skip
MODEL = Model((CUSTOMER,))
CRM = System("crm", "sql", "boss", {"c": Stream("c"), "o": Stream("o")})
ZONE = "Europe/Berlin"


def _row(target: str, rule: str, sources: int = 1) -> SheetRow:
    fields = " + ".join(f"c.f{n}" for n in range(sources))
    return SheetRow("crm", fields, "canonical", f"customer.{target}", rule, "", "m.csv", 2)


def _back(target: str, rule: str, sources: int = 1, which: int = 0) -> str:
    return inverse(_row(target, rule, sources), f"c.f{which}", CRM, MODEL, ZONE)


def _context(target: str, sources: int = 1, *, inbound: bool) -> Context:
    declared = CUSTOMER.by_name[target]
    names = tuple(f"f{n}" for n in range(sources))
    return Context(
        CRM, MODEL, CUSTOMER.by_path[target].kind, declared, target, declared.entity, "c", ZONE, inbound, names
    )


def _run(rule: str, target: str, columns: Sequence[Sequence[str | None]], *, inbound: bool) -> list[str | None]:
    """Values by a rule; inbound also in the canonical form of the field. Nothing may be bad."""
    series = tuple(pl.Series(f"f{n}", list(c), dtype=pl.String) for n, c in enumerate(columns))
    steps = compile_rule(rule, _context(target, len(series), inbound=inbound))
    done = run_steps(steps, series, pl.DataFrame(list(series)))
    assert done.bad is None or done.bad.is_null().all(), done.bad
    if not inbound:
        return done.values.to_list()
    kind = CUSTOMER.by_path[target].kind
    if kind == "money":
        codes = pl.Series(["GBP"] * len(series[0]))
        made = enforce_money(done.values, codes, None)
    else:
        made = enforce(done.values, kind, CUSTOMER.by_name[target], None)
    assert made.bad is None or made.bad.is_null().all(), made.bad
    return made.values.to_list()


_WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z"), max_codepoint=0x2FFF), min_size=1, max_size=12)
_TEXTS = st.lists(_WORDS, min_size=1, max_size=3).map(" ".join)
_NUMBERS = st.decimals(-(10**12), 10**12, places=4, allow_nan=False).map(lambda d: _plain(d))
_DAYS = st.dates(date(1583, 1, 1), date(9999, 12, 30))
_TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0))
_WINTER = _TIMES.map(lambda t: t.replace(month=1))
"""Without the hour that clocks skip, and the one that they show twice."""


def _plain(number: Decimal) -> str:
    text = format(number.normalize(), "f")
    return "0" if text in ("-0", "0") else text


def _iso(day: date) -> str:
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}"


def _ms(at: datetime) -> int:
    return (at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
TABLE = 'map O=lead "A N=active now" "I|X=ina|ctive"'
# rule, field, what a source writes, the rule of the way back
CASES = [
    ("", "text", _TEXTS, ""),
    ("trim", "text", _TEXTS, ""),
    ("trim | required", "text", _TEXTS, ""),
    ("trim | lower", "email", st.emails().map(str.lower).filter(lambda e: len(e) < 80 and "_" not in e), ""),
    ("upper", "currency", st.sampled_from(["GBP", "EUR", "JPY"]), ""),
    ("phone GB", "phone", st.integers(0, 999).map(lambda n: f"+4411349601{n:03d}"[:13]), ""),
    ("country", "country", st.sampled_from(["GB", "DE", "CI"]), ""),
    (TABLE, "status", st.sampled_from(["O", "A N", "I|X"]), 'map lead=O "active now=A N" "ina|ctive=I|X"'),
    (f"trim | {TABLE} *=flag | trim", "status", st.sampled_from(["O", "A N"]),
     'map lead=O "active now=A N" "ina|ctive=I|X"'),
    ("map a=b b=a *=keep", "text", _TEXTS, "map b=a a=b *=keep"),
    ("boolean Ja=true Nein=false", "vip", st.sampled_from(["Ja", "Nein"]), "map true=Ja false=Nein"),
    ("map 1=true 0=false", "vip", st.sampled_from(["1", "0"]), "map true=1 false=0"),
    ("map x=ja y=nein | boolean ja=true nein=false", "vip", st.sampled_from(["x", "y"]),
     "map true=ja false=nein | map ja=x nein=y"),
    ("", "staff", st.integers(-(10**15), 10**15).map(str), ""),
    ("number", "rate", _NUMBERS, "number"),
    ("number de", "rate", _NUMBERS.map(lambda n: n.replace(".", ",")), "number de"),
    ("number en", "rate", _NUMBERS, "number en"),
    ("number fr", "rate", _NUMBERS.map(lambda n: n.replace(".", ",")), "number fr"),
    ("money de GBP", "credit", st.integers(-(10**9), 10**9).map(lambda n: f"{n},05"), "number de"),
    ("date", "since", _DAYS.map(_iso), ""),
    ("date DD/MM/YYYY", "since", _DAYS.map(lambda d: f"{d.day:02d}/{d.month:02d}/{d.year:04d}"), "date DD/MM/YYYY"),
    ("date D.M.YYYY", "since", _DAYS.map(lambda d: f"{d.day}.{d.month}.{d.year:04d}"), "date D.M.YYYY"),
    ('date "DD MMM YYYY"', "since", _DAYS.map(lambda d: f"{d.day:02d} {MONTHS[d.month - 1]} {d.year:04d}"),
     'date "DD MMM YYYY"'),
    ("ms_date", "since", _DAYS.map(lambda d: f"/Date({_ms(datetime(d.year, d.month, d.day))}+0000)/"), "ms_date"),
    ("ms_date", "seen", _TIMES.map(lambda t: f"/Date({_ms(t)}+0000)/"), "ms_date"),
    ("epoch", "seen", _TIMES.map(lambda t: str(_ms(t) // 1000)), "epoch"),
    ("epoch ms", "seen", _TIMES.map(lambda t: str(_ms(t))), "epoch ms"),
    ("datetime", "seen", _TIMES.map(lambda t: f"{t.isoformat()}.000000Z"), ""),
    ("datetime ISO UTC", "seen", _TIMES.map(lambda t: t.isoformat()), "datetime YYYY-MM-DDTHH:mm:ss UTC"),
    ("datetime DD/MM/YYYY HH:mm:ss Europe/London", "seen", _WINTER.map(lambda t: f"{t:%d/%m/%Y %H:%M:%S}"),
     "datetime DD/MM/YYYY HH:mm:ss Europe/London"),
    ("datetime D/M/YYYY H:mm:ss local", "seen",
     _WINTER.map(lambda t: f"{t.day}/{t.month}/{t.year:04d} {t.hour}:{t.minute:02d}:{t.second:02d}"),
     f"datetime D/M/YYYY H:mm:ss {ZONE}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "target", "written", "back"), CASES, ids=[f"{c[1]}-{c[0] or 'nothing'}" for c in CASES]
)
def test_there_and_back(rule: str, target: str, written: st.SearchStrategy[str], back: str) -> None:
    assert _back(target, rule) == back

    @settings(max_examples=20, deadline=None)
    @given(st.lists(written, min_size=1, max_size=30))
    def holds(values: list[str]) -> None:
        read = _run(rule, target, [values], inbound=True)
        again = _run(back, target, [read], inbound=False)
        assert again == values
        assert _run(rule, target, [again], inbound=True) == read

    holds()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_WORDS, _TEXTS, _WORDS).filter(lambda t: "/" not in "".join(t)), min_size=1, max_size=10))
def test_parts_that_were_joined_come_apart(values: list[tuple[str, str, str]]) -> None:
    columns = [list(column) for column in zip(*values, strict=True)]
    joined = _run('join " / "', "text", columns, inbound=True)
    for which, column in enumerate(columns):
        back = _back("text", 'join " / "', 3, which)
        assert back == f'part {which + 1} of 3 " / "'
        assert _run(back, "text", [joined], inbound=False) == column


def test_what_has_other_parts_is_a_problem_not_a_guess() -> None:
    series = pl.Series("f0", ["Leeds, LS1", "Leeds", "Leeds, West, LS1", None])
    done = run_steps(
        compile_rule('part 2 of 2 ", "', _context("text", inbound=False)), (series,), pl.DataFrame([series])
    )
    assert done.values.to_list() == ["LS1", None, None, None]
    assert done.rules is not None
    assert done.rules.to_list() == [None, "part", "part", None]


@pytest.mark.parametrize(
    ("rule", "target", "because"),
    [
        ("lower", "text", "capitals"),
        ("trim | upper", "text", "small"),
        ("code", "text", "dashes"),
        ("default GBP", "currency", "read alike"),
        ("const lead", "status", "not read at all"),
        ("extract (\\d+)", "text", "group 1"),
        ("split_name first", "text", "other parts"),
        ("address_part city", "text", "other parts"),
        ("first", "text", "other elements"),
        ("each ;", "text", "where one element ends"),
        ("part 1 of 2 ;", "text", "the other parts"),
        ("map OPEN=lead NEW=lead A=active\\ now", "status", "OPEN and NEW both become lead"),
        (TABLE.replace("O=lead", "O="), "status", "O becomes empty"),
        ("map O=lead *=flag", "status", "no code for active now, ina|ctive"),
        (f"{TABLE} *=empty", "status", "other codes become empty"),
        ("map A=b *=keep", "text", "b is what A becomes, and may be kept as it stands"),
        ("map A=b", "text", "whatever else the field may hold"),
        ("map A=* B=true C=false", "vip", "cannot stand as a code"),
        ("map A=true", "vip", "no code for false"),
        ("boolean yes=true y=true no=false", "vip", "yes and y both mean true"),
        ("boolean yes=true", "vip", "no word means false"),
        ("number", "text", "no number field"),
        ("money", "balance", "another currency"),
        ("money EUR", "credit", "another currency"),
        ("money GBP", "balance", "another currency"),
        ("money from ccy", "credit", "stands in another field"),
        ("date DD/MM/YYYY YYYY-MM-DD", "since", "which of the formats"),
        ("date DD/MM/YY", "since", "century"),
        ("date DD/MM/YYYY", "text", "no date field"),
        ("datetime DD/MM/YYYY HH:mm UTC", "seen", "no seconds"),
        ("phone GB", "text", "no phone field"),
        ("country", "text", "no country field"),
        ("lookup erp/contacts", "parent", "the id is one of erp"),
        ("lookup o", "lines.item", "inside a list"),
        ("eval x", "text", "its own rule is refused"),
    ],
)
def test_where_there_is_no_way_back_the_reason_is_said(rule: str, target: str, because: str) -> None:
    rule = rule.replace("A=active\\ now", '"A=active now"')
    with pytest.raises(NoInverse, match=because.replace("|", r"\|").replace("*", r"\*")):
        _back(target, rule)


def test_a_blank_between_joined_fields_is_no_separator() -> None:
    for rule in ("join", "", "trim", 'join " "'):
        with pytest.raises(NoInverse, match="a blank stands inside names too"):
            _back("text", rule, 2)


def test_references_go_back_by_their_own_id_or_by_value() -> None:
    assert _back("parent", "lookup o") == ""
    assert _back("parent", "lookup =customer.email") == "value_of email"
    assert _back("lines.item", "trim | lookup =customer.email") == "value_of email"


def test_every_rule_that_reads_says_whether_it_can_be_undone() -> None:
    from canonical.mapping.functions.base import OUTBOUND_ONLY

    assert {name for name, rule in RULES.items() if rule.undo is OUTBOUND_ONLY} == {
        "value_of",
        "text",
        "bool",
        "inverse",
    }


def test_all_ways_back_of_a_system_at_once() -> None:
    rows = [_row("text", 'join ";"', 2), _row("email", "lower"), replace(_row("phone", ""), source_system="erp")]
    found = [(way.source, way.rule, way.because) for way in ways_back(rows, CRM, MODEL, ZONE)]
    assert found == [("c.f0", 'part 1 of 2 ";"', ""), ("c.f1", 'part 2 of 2 ";"', ""), ("c.f0", "", "")]
