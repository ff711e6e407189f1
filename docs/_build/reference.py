"""Writes the pages of the reference that the code itself knows best: `python docs/_build/reference.py`.

    commands.md        from the command line's own declarations, with the keys of its JSON from `json_keys.yaml`
    mapping-rules.md   from the registry of rules; every example is run

A test holds the pages against what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent.parent
REFERENCE = TOP / "docs" / "reference"
MADE = "<!-- Made by docs/_build/reference.py; change the code, or that script, and run it. -->\n"


# ------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True)
class Command:
    """One command of the command line: `concord holds approve`."""

    path: str
    panel: str
    help: str
    parameters: tuple[Any, ...]

    @property
    def options(self) -> list[Any]:
        return [p for p in self.parameters if p.param_type_name == "option"]

    @property
    def arguments(self) -> list[Any]:
        return [p for p in self.parameters if p.param_type_name == "argument"]

    @property
    def usage(self) -> str:
        return " ".join([self.path, *(_argument(a) for a in self.arguments), *(["[OPTIONS]"] if self.options else [])])

    def spells(self, option: str) -> bool:
        """Whether it has this option, `--landscape` and `--help` included."""
        own = {spelling for p in self.options for spelling in (*p.opts, *p.secondary_opts)}
        return option in own | {"--landscape", "--help", "-h"}


def root() -> Any:
    """The command line as the library underneath sees it."""
    from typer.main import get_command

    from apps.cli import app

    return get_command(app)


def commands() -> list[Command]:
    """Every command that does something, panel by panel in the order of `concord --help`."""
    found = list(_walk("concord", root(), ""))
    panels = list(dict.fromkeys(command.panel for command in found))
    return sorted(found, key=lambda command: panels.index(command.panel))


def _walk(path: str, group: Any, panel: str) -> Iterator[Command]:
    for name, command in group.commands.items():
        where = str(getattr(command, "rich_help_panel", None) or panel)
        if hasattr(command, "commands"):
            yield from _walk(f"{path} {name}", command, where)
        elif not command.hidden:
            yield Command(f"{path} {name}", where, command.help or "", tuple(command.params))


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return str(name) if parameter.required or str(name).startswith("[") else f"[{name}]"


def _option(parameter: Any) -> str:
    spelled = ", ".join(f"`{s}`" for s in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return spelled
    return f"{spelled} {parameter.name.upper() if not parameter.metavar else parameter.metavar}"


def _row(parameter: Any) -> str:
    notes = []
    if parameter.required:
        notes.append("required")
    default = parameter.default
    if not parameter.required and not parameter.is_flag and default is not None and not callable(default):
        notes.append(f"default {default}")
    low, high = parameter.min, parameter.max
    if low is not None or high is not None:
        notes.append(f"{low if low is not None else '…'} to {high if high is not None else '…'}")
    told = f" ({'; '.join(notes)})" if notes else ""
    return f"| {_option(parameter)} | {_cell(parameter.help or '')}{told} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands_page() -> str:
    """The page of all commands."""
    import yaml

    keys = yaml.safe_load((TOP / "docs" / "_build" / "json_keys.yaml").read_text(encoding="utf-8"))
    made = [MADE, "# Commands\n", _COMMON, _exit_codes()]
    panel = ""
    for command in commands():
        if command.panel != panel:
            panel = command.panel
            made.append(f"## {panel}\n")
        made.append(_command(command, keys.get(command.path.removeprefix("concord "))))
    return "\n".join(made)


def _command(command: Command, keys: str | None) -> str:
    lines = [f"### `{command.usage}`\n", command.help.replace("\n\n", "\n").strip() + "\n"]
    if command.arguments:
        rows = [f"| `{_cell(_argument(a))}` | {_cell(a.help)} |" for a in command.arguments if getattr(a, "help", None)]
        lines += ["| argument | |\n|---|---|", *rows, ""] if rows else []
    if command.options:
        lines += ["| option | |\n|---|---|", *map(_row, command.options), ""]
    if keys:
        lines.append(f"JSON: `{' '.join(keys.split())}`\n")
    return "\n".join(lines)


_COMMON = """\
`concord [--landscape DIR] COMMAND …`, in the checkout's environment (`source .venv/bin/activate`).

- `--landscape DIR` names the folder of declarations, before or after the command. Without it: `CONCORD_LANDSCAPE`, else
  `deployments/demo`.
- `--help` (`-h`) of any command shows its options. Results go to stdout, talk and progress to stderr.
- `--json` prints one JSON document: times are ISO 8601 in UTC, amounts are text, keys are stable.
- A command that decides something asks first; `--yes` (`-y`) does not ask. Where nobody can be asked, nothing is done.
- A secret on the command line is refused: others can read it there.

| variable | means |
|---|---|
| `CONCORD_LANDSCAPE` | the folder of declarations |
| `CONCORD_HOME` | where the embedded database, the local Prefect server and validation pages live; default `.concord` |
| `CONCORD_DATABASE_URL` | your own PostgreSQL, as the role that works; without it the embedded one |
| `CONCORD_DATABASE_OWNER_URL` | the same database as the role that may change tables |
| `CONCORD_APPROVAL_CODE` | the personal code of who approves, where `people:` declares one |
| `PREFECT_API_URL` | your own Prefect server; without it a local one |
| `PREFECT_API_AUTH_STRING` | `user:password` of your own Prefect server; the local one's: `concord serve --login` |
"""


def _exit_codes() -> str:
    """The exit codes as `apps.exits` explains them."""
    from apps import exits

    lines = (exits.__doc__ or "").split("\n\n", 1)[1].splitlines()
    rows: list[list[str]] = []
    for line in lines:
        number, _, meaning = line.strip().partition(" ")
        if number.isdecimal():
            rows.append([number, meaning.strip()])
        elif line.strip():
            rows[-1][1] += " " + line.strip()
    table = [f"| {number} | {_cell(meaning)} |" for number, meaning in rows]
    return "\n".join(["## Exit codes\n", "| code | means |\n|---|---|", *table, ""])


# ---------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Example:
    """A rule at work: what comes in, what the sheet says. `outbound`: written to a target, not read."""

    rule: str
    values: tuple[str | None, ...]
    kind: str = "text"
    is_outbound: bool = False


EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "join": (Example("join", ("Ada", None, "Lovelace")), Example('join ", "', ("Leeds", "LS1"))),
    "map": (
        Example("map OPEN=lead CUSTOMER=active *=flag", ("CUSTOMER",)),
        Example("map OPEN=lead CUSTOMER=active *=flag", ("LEGACY_7",)),
    ),
    "default": (Example("default GBP", (None,)),),
    "required": (Example("required", (None,)),),
    "const": (Example("const ACCREC", ("anything",)),),
    "trim": (Example("trim", ("  Leeds ",)),),
    "lower": (Example("lower", ("Ada@Mail.Example",)),),
    "upper": (Example("upper", ("ls1 4ap",)),),
    "code": (Example("code", ("GB 815-120.472",)),),
    "extract": (Example(r"extract (\d+)$", ("Order no. 1042",)),),
    "boolean": (
        Example("boolean yes=true ja=true no=false", ("ja",), "boolean"),
        Example("boolean yes=true ja=true no=false", ("perhaps",), "boolean"),
    ),
    "text": (Example("text", ("42",), "integer", True),),
    "bool": (Example("bool", ("true",), "boolean", True),),
    "split_name": (
        Example("split_name first", ("Dr Ada King Lovelace",)),
        Example("split_name last", ("Lovelace, Ada",)),
    ),
    "part": (Example('part 2 of 2 ", "', ("Leeds, LS1",)), Example('part 2 of 2 ", "', ("Leeds",))),
    "number": (
        Example("number de", ("1.234,50",), "decimal"),
        Example("number en", ("12.3.4",), "decimal"),
        Example("number de", ("1234.5",), "decimal", True),
    ),
    "money": (Example("money en GBP", ("£1,234.5",), "money"),),
    "date": (
        Example("date DD/MM/YYYY", ("03/04/2026",), "date"),
        Example("date DD/MM/YYYY", ("31/02/2026",), "date"),
        Example("date D.M.YYYY", ("2026-04-03",), "date", True),
    ),
    "datetime": (Example("datetime DD/MM/YYYY HH:mm:ss Europe/London", ("01/07/2026 09:30:00",), "datetime"),),
    "ms_date": (
        Example("ms_date", ("/Date(1767225600000+0000)/",), "date"),
        Example("ms_date", ("2026-01-01",), "date", True),
    ),
    "epoch": (Example("epoch ms", ("1767225600000",), "datetime"),),
    "phone": (
        Example("phone GB", ("0113 496 0720",), "phone"),
        Example("phone GB", ("0",), "phone"),
    ),
    "country": (Example("country", ("Deutschland",), "country"), Example("country", ("Atlantis",), "country")),
    "address_part": (Example("address_part postcode GB", ("25 Albert Street\nLeeds\nLS15 9WR",)),),
    "address_block": (Example("address_block comma", ("25 Albert Street", None, "Leeds")),),
    "first": (Example("first", ('["", "a", "b"]',)),),
    "last": (Example("last", ('["a", "b"]',)),),
    "each": (Example("each ;", ('["a", "b"]',)),),
    "lookup": (
        Example("lookup clients", ("C-17",), "reference"),
        Example("lookup =order.number", ("SO-1042",), "reference"),
    ),
}
"""Rule → what it is shown with. `value_of` needs golden records and has none, `inverse` a row that reads."""

WAYS_BACK: tuple[Example, ...] = (
    Example("trim", ("",)), Example("map O=open C=closed", ("",), "choice"),
    Example("map O=open N=open C=closed", ("",), "choice"), Example("map O=open *=flag", ("",), "choice"),
    Example("map O=open C=closed *=empty", ("",), "choice"), Example("boolean Y=true N=false", ("",), "boolean"),
    Example("number de", ("",), "decimal"), Example("date DD/MM/YYYY", ("",), "date"),
    Example("date DD/MM/YY", ("",), "date"),
    Example("datetime DD/MM/YYYY HH:mm:ss local", ("",), "datetime"), Example("ms_date", ("",), "date"),
    Example("phone GB", ("",), "phone"), Example("country", ("",), "country"), Example("lower", ("",), "email"),
    Example("lower", ("",)), Example('join " / "', ("", "")), Example("join", ("", "")),
    Example("split_name first", ("",)), Example("code", ("",)), Example("default GBP", ("",)),
    Example("lookup clients", ("",), "reference"), Example("lookup =order.number", ("",), "reference"),
    Example("lookup erp/clients", ("",), "reference"),
)  # fmt: skip
"""Rules whose way back is shown; the values only say how many fields are read. A choice is open or closed."""


def run_example(example: Example) -> tuple[str | None, str | None]:
    """(value, reason) of a rule, by the code that runs it in a sync."""
    import polars as pl

    from canonical.mapping.functions.base import Context
    from canonical.mapping.pipeline import compile_rule, run_steps

    names = tuple(f"s{n}" for n in range(len(example.values)))
    columns = {
        name: pl.Series(name, [value], dtype=pl.String) for name, value in zip(names, example.values, strict=True)
    }
    context = _context(Context, example, names)
    piped = run_steps(compile_rule(example.rule, context), tuple(columns.values()), pl.DataFrame(columns))
    bad = piped.bad[0] if piped.bad is not None else None
    return piped.values[0], bad


def _context(make: Callable[..., Any], example: Example, names: tuple[str, ...]) -> Any:
    from canonical.landscape import Stream, System
    from canonical.model import Entity, Field, Model

    number = Field("number", "text", "legacy", "order-desk", "legacy")
    order = Entity("order", "", "order-desk", "legacy", "legacy", (number,))
    system = System("legacy", "sql", "order-desk", {"clients": Stream("clients"), "orders": Stream("orders")})
    field = Field("field", example.kind, "legacy", "order-desk", "legacy", entity="order")  # type: ignore[arg-type]
    return make(
        system=system, model=Model((order,)), kind=example.kind, field=field, leaf="field", referenced="order",
        stream="orders", timezone="Europe/London", inbound=not example.is_outbound, sources=names,
    )  # fmt: skip


def way_back(example: Example) -> str:
    """How a row with this rule is undone, by the code that does it for `inverse`."""
    from canonical.landscape import Stream, System
    from canonical.mapping.functions.base import NoInverse
    from canonical.mapping.inverse import inverse
    from canonical.mapping.sheet import SheetRow
    from canonical.model import Entity, Field, Model

    values = ("open", "closed") if example.kind == "choice" else ()
    kind: Any = example.kind
    fields = (
        Field("field", kind, "legacy", "desk", "legacy", values=values, entity="order"),
        Field("number", "text", "legacy", "desk", "legacy"),
    )
    model = Model((Entity("order", "", "desk", "legacy", "legacy", fields),))
    system = System("legacy", "sql", "desk", {"orders": Stream("orders"), "clients": Stream("clients")})
    source = " + ".join(f"orders.f{n}" for n in range(len(example.values)))
    row = SheetRow("legacy", source, "canonical", "order.field", example.rule)
    try:
        rule = inverse(row, "orders.f0", system, model, "Europe/London")
    except NoInverse as reason:
        return f"none: {_cell(str(reason))}"
    return f"`{_cell(rule)}`" if rule else "as it stands"


def rules_page() -> str:
    """The page of all rules."""
    from canonical.mapping.functions import RULES

    made = [MADE, "# Mapping rules\n", _RULES_HEAD, "| rule | does | undone by |\n|---|---|---|"]
    made += [f"| `{_cell(r.signature)}` | {_cell(r.doc)} | {_code(r.inverse)} |" for r in RULES.values()]
    made += ["\n## Examples\n", "| rule | from | to |\n|---|---|---|"]
    for name in RULES:
        for example in EXAMPLES.get(name, ()):
            value, bad = run_example(example)
            shown = " + ".join(_value(v) for v in example.values)
            rule = f"`{_cell(example.rule)}`{' (outbound)' if example.is_outbound else ''}"
            made.append(f"| {rule} | {shown} | {f'problem: {_cell(bad)}' if bad else _value(value)} |")
    made.append(
        "\n`value_of FIELD` writes a field of the record that a reference points to: `order.lines.product` with"
    )
    made.append("`value_of sku` writes the product's article number instead of the target's own id of the product.\n")
    made += ["## The way back\n", _BACK_HEAD, "| rule of the row that reads | field | written back by |\n|---|---|---|"]
    made += [f"| `{_cell(e.rule)}` | {e.kind} | {way_back(e)} |" for e in WAYS_BACK]
    made += ["", _BOOK]
    return "\n".join(made)


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _value(value: str | None) -> str:
    if value is None:
        return "(empty)"
    ends = value.replace("\n", " ⏎ ").replace("|", "\\|")
    return f"`{'␣' * (len(ends) - len(ends.lstrip()))}{ends.strip()}{'␣' * (len(ends) - len(ends.rstrip()))}`"


_RULES_HEAD = """\
The column `rule` of a mapping sheet is a pipeline: rules joined by `|`, run from left to right on whole columns. Each
gives the values, and for the rows that it could not do the reason; such a record goes to quarantine, or only the field
has no opinion where the model says `on_bad: field`. Empty values pass through, except where a rule says otherwise.

A sheet has six columns: `source_system,source_field,target_system,target_field,rule,notes`.

| row | source | target |
|---|---|---|
| in | `STREAM.PATH`, several joined by ` + ` | system `canonical`, `ENTITY.FIELD` |
| out | system `canonical`, `ENTITY.FIELD` (`customer.id` is our own id); nothing for `const` | `STREAM.PATH` |
| ignored | `STREAM.PATH`; the last part may be `*` | system `ignore`, field `-` |
| comment | a first cell that begins with `#` | |

A path has dots for nesting; `Phones[PhoneType=DEFAULT].PhoneNumber` picks (or builds) the element with that member,
`Emails[0]` the first one, `LineItems[].Quantity` each one.

`concord mapping show` prints the rows that run, `concord mapping rules` this list, `concord mapping report` what
becomes of every field that was seen.
"""


_BACK_HEAD = """\
A row to a system may say `inverse` as its rule: the inverse of the row by which the same field of that system is read.
The rule is worked out when the landscape is read, shown by `concord mapping show`, and follows when the reading row is
changed. `concord mapping report --write-back` lists every field that is read with its way back.

    legacy,orders.order_date,canonical,order.ordered_on,date DD/MM/YYYY,
    canonical,order.ordered_on,legacy,orders.order_date,inverse,

Two things are promised (and tested as properties): what is written is read again as the value that it was, and what was
read is written as it stood, as far as it was in the rule's plain form: trimmed, without thousands separators, times to
the second, phone numbers as E.164, countries as ISO codes. Where that cannot be promised, `inverse` is refused with the
reason; write the way back out then. Numbers and booleans are written as JSON has them; where a system keeps text,
say so in a rule of your own (`text`).
"""

_BOOK = """\
## Sheets in a spreadsheet

`concord mapping export --to sheets.xlsx` writes one worksheet a sheet: text cells only, the header frozen, drop-downs
for systems, known fields and rules. The worksheets in brackets are to be read: what each connector ships, with the row
of yours that replaces it, and all rules. `--system` takes only the sheets that speak of one system.

`concord mapping import sheets.xlsx` shows what rows came, went and changed, column by column, wherever they stand now;
reads the whole landscape with the new sheets, telling every problem by worksheet and cell; asks; and replaces each CSV
whole. An untouched sheet comes back to the byte, comments, quotes, blank rows, order and line ends included; an edit
changes its own line alone. A worksheet that the workbook does not know is a new sheet; one that was deleted leaves its
sheet as it is. A CSV named as its sheet comes in the same way.

| refused, unless | says |
|---|---|
| somebody can be asked, or `--yes` | nothing is written unseen |
| `--remove-many`, or the number typed | a system loses half of its mappings or more, by removal or by `ignore` |
| `--over-newer` | the CSV was changed after the workbook was made |
| never | formulas, dates, decimals, merged cells; no rows; a column missing or twice; macros, links to workbooks |

`concord mapping diff A B` compares sheets, workbooks, folders of them or whole landscapes by what their rows mean.
"""


def pages() -> dict[str, str]:
    """File name below docs/reference → its text."""
    return {"commands.md": commands_page(), "mapping-rules.md": rules_page()}


def main() -> None:
    """Writes the pages."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(TOP))
    main()
