"""What a batch of candidates is checked for, and what its results mean: descriptions and verdicts, nothing runs here.

A check is one sentence for a person and one SQL predicate over the candidate table. A row *fails* where its predicate
is false; true and unknown pass, as in an SQL CHECK: an empty value has no opinion, and `required` is its own check.

    checks_for(entity, rules)       what the model, the standard cross-field rules and the landscape imply
    judge(results, total, …)        pass, split (quarantine the failing rows) or stop the batch
    judge_volume(count, recent, …)  is this run's size like the recent ones?
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from statistics import median
from typing import Literal, Protocol

from canonical.model import Entity, Field, LeafKind

CheckKind = Literal[
    "no_problems", "required", "range", "choice", "unique_in_batch", "cross_field", "lines_cross", "reference_known",
    "landscape", "volume",
]  # fmt: skip
OnFail = Literal["quarantine", "warn", "stop"]

CANDIDATES = "{candidates}"
"""Stands in a predicate for the batch itself, as a table expression: whoever runs the check puts it in."""
RECORD = ("system", "stream", "source_id")
"""The columns that say which source record a candidate is."""

ORDERED_KINDS: tuple[LeafKind, ...] = ("integer", "decimal", "money", "date", "datetime")
NUMBER_KINDS: tuple[LeafKind, ...] = ("integer", "decimal", "money")
DATE_KINDS: tuple[LeafKind, ...] = ("date", "datetime")
CENT = Decimal("0.01")
"""What rounding may add or take for each line of net + tax = gross (DESIGN 9.21)."""

# The names under which the standard model, and landscapes that do not extend it, carry what the cross-field rules need.
NAMES: dict[str, tuple[str, ...]] = {
    "ordered quantity": ("quantity", "ordered", "quantity_ordered", "qty"),
    "shipped quantity": ("shipped", "quantity_shipped", "shipped_quantity", "qty_shipped"),
    "order date": ("ordered_on", "order_date", "ordered_at", "ordered", "placed_on", "date"),
    "ship date": ("shipped_on", "ship_date", "shipped_at", "shipped"),
    "issue date": ("issued_on", "issue_date", "issued_at", "issued", "invoice_date", "date"),
    "due date": ("due_on", "due_date", "due_at", "due"),
    "paid date": ("paid_on", "paid_date", "paid_at", "paid"),
    "net": ("net", "net_total", "total_net", "net_amount"),
    "tax": ("tax", "tax_total", "total_tax", "tax_amount"),
    "gross": ("gross", "gross_total", "total_gross", "gross_amount"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold for every row of a batch (for `volume`: for the batch)."""

    name: str
    """Unique within the entity; letters, digits and _ only. It is the `rule` of a quarantined row."""
    kind: CheckKind
    columns: tuple[str, ...]
    """The columns it judges; the first is the one a quarantined row names."""
    predicate: str
    """SQL (PostgreSQL) over the candidate columns: false for a bad row. Empty for `volume`."""
    means: str
    """What must hold, as one sentence for a person."""
    on_fail: OnFail = "quarantine"
    values: tuple[str, ...] = ()
    """For choice: the allowed values."""
    minimum: str | None = None
    maximum: str | None = None
    """For range: the bounds, inclusive, in canonical form. For volume: the fewest rows."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many rows may fail one and the same check before the whole batch is suspect: both must be exceeded."""

    share: float = 0.20
    """Of the batch's rows, 0..1 (the flood guard of RELIABILITY P10)."""
    count: int = 20


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How many rows failed a check."""

    check: Check
    unexpected: int


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What becomes of a batch."""

    action: Literal["pass", "split", "stop"]
    because: str
    failing: tuple[CheckResult, ...]
    """Every check that some row failed, warnings too, the worst first."""


@dataclass(frozen=True, slots=True)
class VolumeVerdict:
    """Whether the size of a run is like the recent ones. `least` is the fewest rows that still pass (0: no history)."""

    ok: bool
    because: str
    least: int


class SqlRuleLike(Protocol):
    """A landscape's own predicate (canonical.declarations.rules.SqlRule)."""

    @property
    def name(self) -> str: ...
    @property
    def predicate(self) -> str: ...
    @property
    def means(self) -> str: ...
    @property
    def fields(self) -> tuple[str, ...]: ...
    @property
    def on_fail(self) -> OnFail: ...


class EntityRulesLike(Protocol):
    """A landscape's expectations for one entity (canonical.declarations.rules.EntityRules)."""

    @property
    def rules(self) -> Sequence[SqlRuleLike]: ...


def checks_for(
    entity: Entity,
    rules: EntityRulesLike | None = None,
    *,
    mapped: Iterable[str] | None = None,
    extra: Sequence[Check] = (),
) -> tuple[Check, ...]:
    """Every check of an entity's candidates, in the order in which a person reads them.

    `mapped` names the columns that the batch's streams fill (None: all). A check on columns that nobody fills is left
    out: it would fail every row (required) or check nothing (all others). `extra` are checks that need other tables;
    their predicates come from whoever knows those. Raises ValueError when two checks share a name.
    """
    filled = {*(entity.columns if mapped is None else mapped), *RECORD, "problems"}
    implied: list[Check] = [_no_problems()]
    for each in entity.fields:
        implied += _field_checks(each, filled)
    implied += _cross_field_checks(entity)
    implied += _unique_checks(entity)
    kept = [c for c in implied if filled.issuperset(c.columns)]
    landscape = [_landscape_check(rule, entity) for rule in (rules.rules if rules else ())]
    kept += [c for c in (*landscape, *extra) if not c.columns or filled.intersection(c.columns)]
    names = [c.name for c in kept]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{entity.name}: two checks are named {', '.join(twice)}")
    return tuple(kept)


def judge(results: Sequence[CheckResult], total: int, tolerance: Tolerance | None = None) -> GateVerdict:
    """Pass the batch, split it, or stop it; the reason names the check that decided."""
    limit = tolerance or Tolerance()
    failing = tuple(sorted((r for r in results if r.unexpected), key=lambda r: (-r.unexpected, r.check.name)))
    for result in failing:
        if result.check.on_fail == "stop":
            return GateVerdict("stop", f"{_of(result, total)}, and this check stops the batch", failing)
    for result in failing:
        if result.check.on_fail == "quarantine" and result.unexpected > max(limit.count, limit.share * total):
            beyond = f"more than {limit.share:.0%} and more than {limit.count} rows: a fault of the source or the rule"
            return GateVerdict("stop", f"{_of(result, total)}, {beyond}", failing)
    split = [r for r in failing if r.check.on_fail == "quarantine"]
    if split:
        others = f" and {len(split) - 1} more checks" if len(split) > 1 else ""
        return GateVerdict("split", f"{_of(split[0], total)}{others}: quarantined, the rest goes on", failing)
    if failing:
        return GateVerdict("pass", f"only warnings: {_of(failing[0], total)}", failing)
    return GateVerdict("pass", f"all {total} rows pass {len(results)} checks", ())


def judge_volume(count: int, recent: Sequence[int], least_share: float = 0.5, *, enough_runs: int = 3) -> VolumeVerdict:
    """Compare a complete run's count with the recent ones: fewer than `least_share` of their median is too few.

    Fewer than `enough_runs` recent runs say nothing yet.
    """
    if len(recent) < enough_runs:
        return VolumeVerdict(True, f"{len(recent)} earlier runs are too few to compare with", 0)
    usual = median(recent)
    least = -int(-(usual * least_share) // 1)  # rounded up: 2.5 rows are 3
    said = f"{count} rows; the median of the last {len(recent)} runs is {usual:g}"
    if count < least:
        return VolumeVerdict(False, f"{said}, and at least {least} ({least_share:.0%}) were expected", least)
    return VolumeVerdict(True, said, least)


def volume_check(verdict: VolumeVerdict, on_fail: OnFail = "stop") -> Check:
    """The batch-level check that stands for a volume verdict in the suite."""
    means = f"The batch has at least {verdict.least} rows, as its recent runs had"
    return Check("volume", "volume", (), "", means, on_fail, minimum=str(verdict.least))


# ── what the model implies ───────────────────────────────────────────────────────────────────────────────────────────


def _no_problems() -> Check:
    return Check("no_problems", "no_problems", ("problems",), "problems IS NULL", "Mapping could do every value")


def _field_checks(field: Field, filled: set[str]) -> list[Check]:
    if field.type == "list":
        return _line_checks(field)
    checks: list[Check] = []
    if field.required and (columns := tuple(leaf.column for leaf in field.leaves if leaf.column in filled)):
        checks.append(_required(field, columns))
    for leaf in field.leaves:
        if leaf.kind == "choice" and field.values:
            checks.append(_choice(field, leaf.column, identifier(leaf.column)))
        if leaf.kind in ORDERED_KINDS and (field.minimum is not None or field.maximum is not None):
            checks.append(_range(field, leaf.column, leaf.kind, identifier(leaf.column)))
    return checks


def _required(field: Field, columns: tuple[str, ...]) -> Check:
    """Of an address one part is enough; of money both the amount and its currency are needed."""
    joiner = " OR " if field.type == "address" else " AND "
    predicate = joiner.join(f"{identifier(c)} IS NOT NULL" for c in columns)
    return Check(f"{field.name}_required", "required", columns, predicate, f"Every record has its {_said(field.name)}")


def _choice(field: Field, column: str, term: str) -> Check:
    allowed = ", ".join(literal(v) for v in field.values)
    means = f"{_title(field.name)} is one of {', '.join(field.values)}"
    return Check(f"{column}_choice", "choice", (column,), f"{term} IN ({allowed})", means, values=field.values)


def _range(field: Field, column: str, kind: LeafKind, term: str) -> Check:
    least, most = field.minimum, field.maximum
    parts = [f"{term} >= {_bound(least, kind, field)}"] if least is not None else []
    parts += [f"{term} <= {_bound(most, kind, field)}"] if most is not None else []
    words = [f"at least {least}"] if least is not None else []
    words += [f"at most {most}"] if most is not None else []
    means = f"{_title(field.name)} is {' and '.join(words)}"
    return Check(f"{column}_range", "range", (column,), " AND ".join(parts), means, minimum=least, maximum=most)


def _bound(value: str, kind: LeafKind, field: Field) -> str:
    if kind in DATE_KINDS:
        return f"{'DATE' if kind == 'date' else 'TIMESTAMPTZ'} {literal(value)}"
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{field.name}: a bound must be a number, found {value!r}") from None
    return f"{number:f}"


def _unique_checks(entity: Entity) -> list[Check]:
    """One source record stands once in a batch; two records of one stream with one identifier are only warned of."""
    once = Check(
        "record_once", "unique_in_batch", RECORD, _alone(RECORD), "A source record stands once in the batch"
    )  # fmt: skip
    return [once] + [
        Check(
            f"{column}_unique", "unique_in_batch", (column, "system", "stream"), _alone(("system", "stream", column)),
            f"No two records of one stream share their {_said(column)}", "warn",
        )
        for column in entity.match.unique
    ]  # fmt: skip


def _alone(columns: tuple[str, ...]) -> str:
    listed = ", ".join(identifier(c) for c in columns)
    present = f"{identifier(columns[-1])} IS NOT NULL"
    again = f"SELECT {listed} FROM {CANDIDATES} AS again WHERE {present} GROUP BY {listed} HAVING count(*) > 1"  # noqa: S608 (names are quoted)
    return f"({listed}) NOT IN ({again})"


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _line_checks(field: Field) -> list[Check]:
    lines, checks = identifier(field.name), []
    if field.required:
        has = f"{lines} IS NOT NULL AND json_array_length({lines}) > 0"
        means = f"Every record has {_said(field.name)}"
        checks.append(Check(f"{field.name}_required", "required", (field.name,), has, means))
    for each in field.of:
        prefix, term = f"{field.name}_{each.name}", _text(each.name)
        found: list[Check] = []
        if each.required:
            means = f"Every line of {_said(field.name)} has its {_said(each.name)}"
            found.append(Check(f"{prefix}_required", "required", (), f"{term} IS NOT NULL", means))
        if each.type == "choice" and each.values:
            found.append(_choice(each, prefix, term))
        kind = each.leaves[0].kind
        if kind in ORDERED_KINDS and (each.minimum is not None or each.maximum is not None):
            found.append(_range(each, prefix, kind, _number(each.name) if kind in NUMBER_KINDS else _date(each.name)))
        # The predicate is over lines, so GX's column expectations do not fit: values and bounds stay in the predicate.
        checks += [
            Check(c.name, c.kind, (field.name,), _every_line(field, c.predicate), c.means, c.on_fail) for c in found
        ]
    return checks + _line_cross_checks(field)


def _line_cross_checks(field: Field) -> list[Check]:
    numbers = {f.name for f in field.of if f.leaves[0].kind in NUMBER_KINDS}
    checks: list[Check] = []

    def add(name: str, predicate: str, means: str) -> None:
        checks.append(Check(f"{field.name}_{name}", "lines_cross", (field.name,), _every_line(field, predicate), means))

    quantity, shipped = _named("ordered quantity", numbers), _named("shipped quantity", numbers)
    if quantity:
        add("quantity_not_negative", f"{_number(quantity)} >= 0", "No line has a negative quantity")
    if shipped:
        add("shipped_not_negative", f"{_number(shipped)} >= 0", "No line has a negative shipped quantity")
    if quantity and shipped:
        add(
            "shipped_not_above_ordered", f"{_number(shipped)} <= {_number(quantity)}",
            "No line is shipped in a greater quantity than was ordered",
        )  # fmt: skip
    net, tax, gross = (_named(n, numbers) for n in ("net", "tax", "gross"))
    if net and tax and gross:
        sum_off = f"abs({_number(net)} + {_number(tax)} - {_number(gross)}) <= {CENT}"
        add("net_tax_gross", sum_off, "On every line net and tax add up to gross")
    if field.key:
        again = f"SELECT 1 FROM {_as_lines(field)} GROUP BY {_text(field.key)} HAVING count(*) > 1"  # noqa: S608 (names are quoted)
        checks.append(
            Check(
                f"{field.name}_line_once", "lines_cross", (field.name,), f"NOT EXISTS ({again})",
                f"No two lines of a record share their {_said(field.key)}",
            )
        )  # fmt: skip
    return checks


def _every_line(field: Field, predicate: str) -> str:
    return f"NOT EXISTS (SELECT 1 FROM {_as_lines(field)} WHERE ({predicate}) IS FALSE)"  # noqa: S608 (names are quoted)


def _as_lines(field: Field) -> str:
    """The lines of a row as a table `line` of text columns; anything but a JSON array has no lines."""
    columns = ", ".join(f"{identifier(f.name)} text" for f in field.of)
    lines = identifier(field.name)
    array = f"CASE WHEN json_typeof({lines}) = 'array' THEN {lines} END"
    return f"json_to_recordset({array}) AS line({columns})"


def _text(name: str) -> str:
    return f"line.{identifier(name)}"


def _number(name: str) -> str:
    """The number in a line's text; text that is none is empty here (mapping has already refused it)."""
    return rf"CASE WHEN {_text(name)} ~ '^-?[0-9]+([.][0-9]+)?$' THEN {_text(name)}::numeric END"


def _date(name: str) -> str:
    return f"CASE WHEN {_text(name)} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}' THEN {_text(name)}::timestamptz END"


# ── across fields ────────────────────────────────────────────────────────────────────────────────────────────────────


def _cross_field_checks(entity: Entity) -> list[Check]:
    dates = {leaf.column for leaf in entity.leaves if leaf.kind in DATE_KINDS}
    numbers = {leaf.column for leaf in entity.leaves if leaf.kind in NUMBER_KINDS}
    checks: list[Check] = []
    for early, late, name, means in (
        ("order date", "ship date", "ordered_before_shipped", "Nothing is shipped before it is ordered"),
        ("issue date", "due date", "issued_before_due", "Nothing is due before it is issued"),
        ("issue date", "paid date", "issued_before_paid", "Nothing is paid before it is issued"),
    ):
        first, second = _named(early, dates), _named(late, dates)
        if first and second and first != second:
            ordered = f"{identifier(first)} <= {identifier(second)}"
            checks.append(Check(name, "cross_field", (second, first), ordered, means))
    quantity = _named("ordered quantity", numbers)
    if quantity:
        predicate = f"{identifier(quantity)} >= 0"
        means = f"{_title(quantity)} is not negative"
        checks.append(Check(f"{quantity}_not_negative", "cross_field", (quantity,), predicate, means))
    net, tax, gross = (_named(n, numbers) for n in ("net", "tax", "gross"))
    if net and tax and gross:
        checks.append(_sum_check(entity, net, tax, gross))
    return checks


def _sum_check(entity: Entity, net: str, tax: str, gross: str) -> Check:
    """net + tax = gross, give or take one rounding step for each line (a currency without decimals: 1)."""
    scale = entity.by_name[gross].scale if gross in entity.by_name else None
    step = CENT if scale is None else Decimal(1).scaleb(-scale)
    lists = [identifier(f.name) for f in entity.fields if f.type == "list"]
    counts = ", ".join(["1"] + [f"CASE WHEN json_typeof({n}) = 'array' THEN json_array_length({n}) END" for n in lists])
    off = f"abs({identifier(net)} + {identifier(tax)} - {identifier(gross)})"
    columns = (gross, net, tax)
    return Check(
        "net_tax_gross", "cross_field", columns, f"{off} <= {step:f} * greatest({counts})",
        "Net and tax add up to gross, within the rounding of the lines",
    )  # fmt: skip


def _named(meaning: str, among: Iterable[str]) -> str | None:
    present = set(among)
    return next((n for n in NAMES[meaning] if n in present), None)


# ── the landscape's own, and words ───────────────────────────────────────────────────────────────────────────────────


def _landscape_check(rule: SqlRuleLike, entity: Entity) -> Check:
    """A landscape's rule. Its fields may be named as fields (`address`), paths (`address.city`) or columns."""
    columns: list[str] = []
    for name in rule.fields:
        head = name.split(".")[0]
        if name in entity.by_path:
            columns.append(entity.by_path[name].column)
        elif head in entity.by_name and name not in entity.by_column:
            columns += [leaf.column for leaf in entity.by_name[head].leaves]
        else:
            columns.append(name)
    return Check(_slug(rule.name), "landscape", tuple(columns), rule.predicate, rule.means, rule.on_fail)


def identifier(name: str) -> str:
    """A name as SQL, always quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL (standard_conforming_strings, PostgreSQL's default)."""
    return "'" + text.replace("'", "''") + "'"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()[:60]


def _said(name: str) -> str:
    return name.replace("_", " ")


def _title(name: str) -> str:
    words = _said(name)
    return words[:1].upper() + words[1:]


def _of(result: CheckResult, total: int) -> str:
    share = f" ({result.unexpected / total:.1%})" if total else ""
    return f"{result.unexpected} of {total} rows{share} fail {result.check.name}: {result.check.means}"
