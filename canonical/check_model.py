"""The checks that the canonical model implies: problems, required, choice, range, lines, across fields, uniqueness."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from canonical.check_values import CANDIDATES, RECORD, Check, identifier, literal
from canonical.model import Entity, Field, LeafKind

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


def implied_checks(entity: Entity, filled: set[str]) -> list[Check]:
    """Every check of the model whose columns are all filled (of a required group: any)."""
    checks: list[Check] = [_no_problems()]
    for each in entity.fields:
        checks += _field_checks(each, filled)
    checks += _cross_field_checks(entity)
    checks += _unique_checks(entity)
    return [c for c in checks if filled.issuperset(c.columns)]


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
        if leaf.kind in ORDERED_KINDS and _bounded(field):
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
    """Checks of one list. They are predicates over its lines, so GX's column expectations do not fit them."""
    checks: list[Check] = []
    if field.required:
        lines, means = identifier(field.name), f"Every record has {_said(field.name)}"
        has = f"{lines} IS NOT NULL AND json_array_length({lines}) > 0"
        checks.append(Check(f"{field.name}_required", "required", (field.name,), has, means))
    for each in field.of:
        prefix, term, kind = f"{field.name}_{each.name}", _text(each.name), each.leaves[0].kind
        if each.required:
            means = f"Every line of {_said(field.name)} has its {_said(each.name)}"
            present = Check(f"{prefix}_required", "required", (), f"{term} IS NOT NULL", means)
            checks.append(_every_line(field, present))
        if each.type == "choice" and each.values:
            checks.append(_every_line(field, _choice(each, prefix, term)))
        if kind in ORDERED_KINDS and _bounded(each):
            number = _number(each.name) if kind in NUMBER_KINDS else _moment(each.name)
            checks.append(_every_line(field, _range(each, prefix, kind, number)))
    return checks + _line_cross_checks(field)


def _line_cross_checks(field: Field) -> list[Check]:
    numbers = {f.name: f for f in field.of if f.leaves[0].kind in NUMBER_KINDS}
    checks: list[Check] = []

    def add(name: str, predicate: str, means: str) -> None:
        checks.append(_every_line(field, Check(f"{field.name}_{name}", "lines_cross", (), predicate, means)))

    quantity, shipped = _named("ordered quantity", numbers), _named("shipped quantity", numbers)
    for each in (quantity, shipped):
        if each and numbers[each].minimum is None:
            add(f"{each}_not_negative", f"{_number(each)} >= 0", f"No line has a negative {_said(each)}")
    if quantity and shipped:
        means = "No line is shipped in a greater quantity than was ordered"
        add("shipped_not_above_ordered", f"{_number(shipped)} <= {_number(quantity)}", means)
    net, tax, gross = (_named(n, numbers) for n in ("net", "tax", "gross"))
    if net and tax and gross:
        step = _step(numbers[gross])
        sum_off = f"abs({_number(net)} + {_number(tax)} - {_number(gross)}) <= {step:f}"
        add("net_tax_gross", sum_off, "On every line net and tax add up to gross")
    if field.key:
        key = _text(field.key)
        means = f"No two lines of a record share their {_said(field.key)}"
        once = Check(f"{field.name}_line_once", "lines_cross", (), "", means)
        checks.append(_of_lines(field, once, f"count({key}) = count(DISTINCT {key})"))
    return checks


def _every_line(field: Field, check: Check) -> Check:
    """The check of a record whose lines must all pass a predicate over `line`."""
    return _of_lines(field, check, f"bool_and(({check.predicate}) IS NOT FALSE)")


def _of_lines(field: Field, check: Check, aggregate: str) -> Check:
    """The lines of a row are a table `line` of text columns; anything but a JSON array has no lines."""
    columns = ", ".join(f"{identifier(f.name)} text" for f in field.of)
    lines = identifier(field.name)
    over = f"json_to_recordset(CASE WHEN json_typeof({lines}) = 'array' THEN {lines} END) AS line({columns})"
    predicate = f"(SELECT {aggregate} FROM {over})"  # noqa: S608 (names are quoted)
    return Check(
        check.name, check.kind, (field.name,), predicate, check.means, check.on_fail, over=over, aggregate=aggregate
    )


def _text(name: str) -> str:
    return f"line.{identifier(name)}"


def _number(name: str) -> str:
    """The number in a line's text; text that is none is empty here (mapping has already refused it)."""
    return f"CASE WHEN {_text(name)} ~ '^-?[0-9]+([.][0-9]+)?$' THEN {_text(name)}::numeric END"


def _moment(name: str) -> str:
    return f"CASE WHEN {_text(name)} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}' THEN {_text(name)}::timestamptz END"


# ── across fields ────────────────────────────────────────────────────────────────────────────────────────────────────


def _cross_field_checks(entity: Entity) -> list[Check]:
    dates = {leaf.column: leaf.kind for leaf in entity.leaves if leaf.kind in DATE_KINDS}
    numbers = {leaf.column for leaf in entity.leaves if leaf.kind in NUMBER_KINDS}
    checks: list[Check] = []
    for early, late, name, means in (
        ("order date", "ship date", "ordered_before_shipped", "Nothing is shipped before it is ordered"),
        ("issue date", "due date", "issued_before_due", "Nothing is due before it is issued"),
        ("issue date", "paid date", "issued_before_paid", "Nothing is paid before it is issued"),
    ):
        first, second = _named(early, dates), _named(late, dates)
        if first and second and first != second:
            before = f"{identifier(first)} <= {identifier(second)}"
            if dates[first] != dates[second]:  # a day somewhere and a moment in UTC may be a day apart
                before = f"{identifier(first)}::date <= {identifier(second)}::date + 1"
            checks.append(Check(name, "cross_field", (second, first), before, means))
    quantity = _named("ordered quantity", numbers)
    if quantity and entity.by_column[quantity].field in entity.by_name and not _bounded(entity.by_name[quantity]):
        predicate = f"{identifier(quantity)} >= 0"
        means = f"{_title(quantity)} is not negative"
        checks.append(Check(f"{quantity}_not_negative", "cross_field", (quantity,), predicate, means))
    net, tax, gross = (_named(n, numbers) for n in ("net", "tax", "gross"))
    if net and tax and gross:
        checks.append(_sum_check(entity, net, tax, gross))
    return checks


def _sum_check(entity: Entity, net: str, tax: str, gross: str) -> Check:
    """net + tax = gross, give or take one rounding step for each line (a currency without decimals: 1)."""
    step = _step(entity.by_name[gross])
    lists = [identifier(f.name) for f in entity.fields if f.type == "list"]
    counts = ", ".join(["1"] + [f"CASE WHEN json_typeof({n}) = 'array' THEN json_array_length({n}) END" for n in lists])
    off = f"abs({identifier(net)} + {identifier(tax)} - {identifier(gross)})"
    columns = (gross, net, tax)
    return Check(
        "net_tax_gross", "cross_field", columns, f"{off} <= {step:f} * greatest({counts})",
        "Net and tax add up to gross, within the rounding of the lines",
    )  # fmt: skip


def _step(field: Field) -> Decimal:
    return CENT if field.scale is None else Decimal(1).scaleb(-field.scale)


def _bounded(field: Field) -> bool:
    return field.minimum is not None or field.maximum is not None


def _named(meaning: str, among: Iterable[str]) -> str | None:
    present = set(among)
    return next((n for n in NAMES[meaning] if n in present), None)


def _said(name: str) -> str:
    return name.replace("_", " ")


def _title(name: str) -> str:
    words = _said(name)
    return words[:1].upper() + words[1:]
