# ruff: noqa: E501 - a table reads best with one case on one line
"""RELIABILITY section 3, declarations 45-61: each refused with file, line, place and what was expected."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from canonical.problems import Problem

Problems = Callable[[], list[Problem]]


def change(files: dict[str, bytes], file: str, old: str, new: str) -> int:
    """Replace the first occurrence; returns the line on which it stood."""
    text = files[file].decode()
    assert old in text, old
    files[file] = text.replace(old, new, 1).encode()
    return text[: text.index(old)].count("\n") + 1


def test_the_landscape_is_good_as_it_stands(problems: Problems) -> None:
    assert problems() == []


MAIN, CUSTOMER, ORDER, CRM, ERP = (
    "landscape.yaml",
    "model/customer.yaml",
    "model/order.yaml",
    "mappings/crm.csv",
    "mappings/erp.csv",
)
MANIFEST, RULES = "connectors/crm_api.yaml", "expectations/customer.yaml"
URL, SQL_URL = 'url: "http://127.0.0.1:9401"', "postgresql+psycopg://erp@127.0.0.1:5432/erp"
CASES = [
    # 45-48: notation
    (45, MAIN, "owner: finance-lead\n", "owner: finance-lead\n    owner: head-of-sales\n", 1, "systems.erp.owner", "each key once", None),
    (46, MAIN, "timezone: Europe/London", "timezone: &tz Europe/London", 0, "timezone", "the value itself (no anchors)", None),
    (46, MAIN, "timezone: Europe/London", "timezone: !!str Europe/London", 0, "timezone", "a plain value (no tags)", None),
    (47, MAIN, "problem: Invoices go to the old address because only the CRM hears of the move.", "problem: NO", 0,
     "integrations.customer-details.problem", "quotes around it", '"NO"'),
    (47, ORDER, "scale: 6, min: 0", "scale: 6, min: 00123", 0, "fields.lines.of.quantity.min", "quotes around it", '"00123"'),
    (47, MAIN, "decision: Which address and terms to bill", "decision: 1.10", 0,
     "integrations.customer-details.decision", "text, in quotes", '"1.10"'),
    (47, MAIN, "decision: Which address and terms to bill", "decision: 12:30", 0,
     "integrations.customer-details.decision", "quotes around it", '"12:30"'),
    (48, MAIN, "    hold: 0m", "\thold: 0m", 0, "the syntax", "spaces for indentation", None),
    # 49: unknown keys and names
    (49, MAIN, "fallback:", "falback:", 0, "integrations.customer-details.falback", "one of entity", "fallback"),
    (49, CUSTOMER, "fields:", "feilds:", 0, "feilds", "one of entity", "fields"),
    (49, ORDER, "required: true, means: The number", "requird: true, means: The number", 0,
     "fields.number.requird", "one of type", "required"),
    (49, MANIFEST, "paging:", "pagin:", 0, "streams.companies.pagin", "one of", "paging"),
    (49, MAIN, "    options: {table: clients}", "    option: {table: clients}", 0, "systems.erp.streams.clients.option", "one of key", "options"),
    (49, MAIN, "connector: crm_api", "connector: crm_ap", 0, "systems.crm.connector", "one of crm_api", "crm_api"),
    (49, MAIN, "password: {env", "pasword: {env", 0, "systems.erp.pasword", "one of connector", "password"),
    (49, MAIN, "owner: integration-owner", "owner: integration-owners", 0,
     "integrations.customer-details.owner", "a role under people", "integration-owner"),
    (49, MAIN, "entity: customer\n    to:", "entity: custmer\n    to:", 0, "integrations.customer-details.entity", "an entity", "customer"),
    (49, MAIN, "{system: erp, stream: clients", "{system: epr, stream: clients", 0,
     "integrations.customer-details.to[0].system", "a system", "erp"),
    (49, MAIN, "{system: erp, stream: clients", "{system: erp, stream: client", 0,
     "integrations.customer-details.to[0].stream", "one of clients", "clients"),
    (49, MAIN, "mode: write", "mode: wirte", 0, "integrations.customer-details.to[0].mode", "one of observe, ask, write", "write"),
    (49, MAIN, "find_by: {tax_no: tax_id}", "find_by: {tax_no: taxid}", 0,
     "integrations.customer-details.to[0].find_by", "one of name", "tax_id"),
    (49, MAIN, "status == 'active'", "statsu == 'active'", 0, "integrations.customer-details.to[0].when", "a known field", "status"),
    (49, MAIN, "changed('tax_id')", "changed('taxid')", 0, "integrations.customer-details.ask_when", "changed(", "tax_id"),
    (49, MAIN, "makes: [{entity: customer}]", "makes: [{entity: custome}]", 0,
     "systems.erp.streams.clients.makes[0].entity", "an entity", "customer"),
    (49, MAIN, "originates: [order]", "originates: [ordr]", 0, "systems.erp.originates[0]", "an entity", "order"),
    (49, MAIN, "child_of: {stream: orders", "child_of: {stream: ordes", 0, "systems.erp.streams.order_lines.child_of.stream", "one of", "orders"),
    (49, ORDER, "type: currency", "type: curency", 0, "fields.currency.type", "one of text", "currency"),
    (49, ORDER, "unique: [number]", "unique: [nmber]", 0, "match.unique[0]", "one of number", "number"),
    (49, ORDER, "entity: customer", "entity: custmer", 0, "fields.customer.entity", "an entity of the model", "customer"),
    (49, CUSTOMER, "extends: standard/customer", "extends: standard/costumer", 0, "extends", "one of standard/contact", "standard/customer"),
    (49, CUSTOMER, "without: [legal_name", "without: [legalname", 0, "without[0]", "one of name", "legal_name"),
    (49, CUSTOMER, "until_recorded: [erp]", "until_recorded: [erq]", 0, "until_recorded[0]", "a system", "erp"),
    (49, RULES, "entity: customer", "entity: custmer", 0, "entity", "an entity", "customer"),
    (49, MAIN, "timezone: Europe/London", "timezone: Europe/Lodon", 0, "timezone", "a time zone", "Europe/London"),
    # 50, 51: systems of record
    (50, CUSTOMER, "record: crm", "record: [crm, erp]", 0, "record", "exactly one system of record", None),
    (50, CUSTOMER, "{record: erp, owner", "{record: [erp, crm], owner", 0, "fields.payment_terms.record", "exactly one system of record", None),
    (51, ORDER, "record: erp\n", "", 0, "fields.number", "a system of record", None),
    # 52: circles and two writers
    (52, ERP, "canonical,customer.email,erp,clients.mail,,", "canonical,customer.payment_terms,erp,clients.mail,,", 0,
     None, None, None),
    # 53: mapping to what is not there
    (53, CRM, "customer.name,trim", "customer.nmae,trim", 0, "row 2, column target_field", "a field of customer", "customer.name"),
    (53, CRM, "customer.name,trim", "custmer.name,trim", 0, "row 2, column target_field", "an entity", "customer"),
    (53, CRM, "crm,companies.name", "crn,companies.name", 0, "row 2, column source_system", "one of crm", "crm"),
    (53, CRM, "crm,companies.name", "crm,company.name", 0, "row 2, column source_field", "a stream of crm", "companies"),
    (53, CRM, "customer.name,trim", "order.number,trim", 0, "row 2, column target_field", "an entity that crm/companies makes", None),
    (53, ERP, "canonical,customer.email,erp", "canonical,customer.mail,erp", 0, "row 16, column source_field", "a field of customer", "customer.email"),
    (53, ERP, "order.lines.quantity", "order.lines.quantitty", 0, "row 12, column target_field", "a field of order", "order.lines.quantity"),
    (53, CRM, "companies.address.city,canonical,customer.address.city", "companies.address.city,canonical,customer.name", 0,
     "row 8, column target_field", "each target field once", None),
    # 54: names that would become identifiers
    (54, ORDER, "  number:    ", '  "id; drop table": ', 0, "fields", "a name like", None),
    (54, ORDER, "  number:    ", "  'a\"\"b': ", 0, "fields", "a name like", None),
    (54, ORDER, "  number:    ", f"  {'x' * 200}: ", 0, "fields", "a name like", None),
    (54, MAIN, "  erp:\n", '  "erp; drop table x":\n', 0, "systems", "a name like", None),
    (54, ORDER, "  ordered_on:", "  canonical_id:", 0, "fields.canonical_id", "a name that no table of ours uses", "canonical_id_no"),
    # 55, 56: URLs
    *[
        (55, MAIN, URL, f'url: "{url}"', 0, "systems.crm.url", expected, None)
        for url, expected in [
            ("http://169.254.169.254/latest", "the host of a business system"),
            ("http://metadata.google.internal", "the host of a business system"),
            ("http://10.0.0.8", "network: private"),
            ("http://files.internal", "network: private"),
            ("https://8.8.8.8", "a loopback address"),
            ("http://2130706433", "an address in its plain form"),
            ("http://0x7f000001", "an address in its plain form"),
            ("http://127.1", "an address in its plain form"),
            ("http://0.0.0.0", "the host of a business system"),
            ("http://[fe80::1]", "the host of a business system"),
            ("http://240.0.0.1", "the host of a business system"),
            ("file:///etc/passwd", "a URL that begins with"),
            ("gopher://127.0.0.1", "a URL that begins with"),
            ("http://", "a URL with a host"),
            ("http://127.0.0.1:99999", "a URL such as"),
            ("http://127.0.0.1/a b", "a URL without blanks"),
            ("http://127.0.0.1/?x=1", "a base URL without"),
        ]
    ],
    (55, MAIN, "network: loopback\n    token", "network: public\n    token", -1, "systems.crm.url", "network: loopback", None),
    (55, MAIN, SQL_URL, "https://erp.example.com", 0, "systems.erp.url", "a URL that begins with postgresql", None),
    (56, MAIN, URL, 'url: "http://user@127.0.0.1"', 0, "systems.crm.url", "no user or password", None),
    (56, MAIN, URL, 'url: "http://user:pw@127.0.0.1"', 0, "systems.crm.url", "a reference such as {env: NAME}", None),
    (56, MAIN, SQL_URL, "postgresql://erp:pw@127.0.0.1/erp", 0, "systems.erp.url", "a reference such as {env: NAME}", None),
    # 57: secrets
    (57, MAIN, "token: {env: CRM_TOKEN}", "token: hunter2", 0, "systems.crm.token", "a reference", None),
    (57, MAIN, "code: {env: BEN_CODE}", 'code: "4711"', 0, "people.finance-lead.code", "a reference", None),
    (57, MAIN, "why: quotes arrive by e-mail", "why: xoxb-123456789012-abcdefghij", 0, "systems.mailbox.why", "a reference such as", None),
    (57, MAIN, "why: quotes arrive by e-mail", "why: q8Zr2LpX0vB7nT4kYw9sHd3F", 0, "systems.mailbox.why", "a reference such as", None),
    (57, MANIFEST, "Accept: application/json", "Authorization: Bearer abc", 0, "headers.Authorization", "a reference such as", None),
    (57, CRM, ",trim,", ",const ghp_abcdefghijklmnopqrstuvwxyz123456,", 0, "row 2, column rule", "no secret in a sheet", None),
    # 58, 59: rules and expressions
    (58, CRM, ",trim,", ",extract (a+)+\\1,", 0, "row 2, column rule", "extract and a regular expression of RE2", None),
    (59, CRM, ",trim,", ",__import__ os,", 0, "row 2, column rule", "one of", None),
    (59, CRM, ",trim,", ",trimm,", 0, "row 2, column rule", "one of", "trim"),
    (59, CRM, ",phone,", ",phone ZZ,", 0, "row 5, column rule", "", None),
    (59, MANIFEST, "archived == true", "__import__('os')", 0, "streams.companies.deleted_when", "one of has", None),
    (59, MAIN, "when: \"state != 'X'\"", 'when: "state ="', 0, "systems.erp.streams.orders.makes[0].when", "a condition", None),
    # 60: thresholds
    *[
        (60, MAIN, 'deletes: "max(5, 2%)"', f"deletes: {text}", 0, "integrations.customer-details.brake.deletes", "a threshold", None)
        for text in ('"max(0, 0%)"', '"max(5, 101%)"', '"-5"', '"101%"', "-1", "0", '"max(-5, 2%)"', "[5]", '"many"')
    ],
    *[
        (60, MAIN, 'accuracy: "99.9%"', f"accuracy: {text}", 0, "integrations.customer-details.sla.accuracy", "a percentage", None)
        for text in ('"0%"', '"101%"', '"-1%"', "0.999")
    ],
    *[
        (60, MAIN, "timeliness: 20m", f"timeliness: {text}", 0, "integrations.customer-details.sla.timeliness", "a duration", None)
        for text in ("0m", "-20m", "20", "soon")
    ],
    (60, MAIN, "level: 1", "level: 5", 0, "integrations.customer-details.level", "a whole number from 1 to 4", None),
    (60, RULES, '"50%"', '"0%"', 0, "volume.at_least", "a percentage", None),
    (60, CUSTOMER, "fields:", "match: {ask_above: 0}\nfields:", 0, "match.ask_above", "above 0", None),
    (60, CUSTOMER, "fields:", "match: {link_above: 1.01}\nfields:", 0, "match.link_above", "a number from 0 to 1", None),
    # 61: schedules
    *[
        (61, MAIN, '"*/15 * * * *"', f'"{cron}"', 0, "integrations.customer-details.timing.schedule", expected, None)
        for cron, expected in [
            ("* * * * * *", "a cron of five fields"),
            ("0 0 31 2 *", "a cron of five fields"),
            ("0 0 30 2 *", "a cron of five fields"),
            ("61 * * * *", "a cron of five fields"),
            ("daily", "a cron of five fields"),
        ]
    ],
]  # fmt: skip


def _id(case: tuple[object, ...]) -> str:
    words = "".join(c if c.isalnum() else "-" for c in str(case[3]))[:40].strip("-")
    return f"{case[0]}-{words}"


@pytest.mark.parametrize("case", [case for case in CASES if case[5]], ids=_id)
def test_refused_with_place(files: dict[str, bytes], problems: Problems, case: tuple[object, ...]) -> None:
    _, file, old, new, offset, where, expected, suggestion = case
    line = change(files, str(file), str(old), str(new)) + int(str(offset))
    found = [problem for problem in problems() if problem.where == where]
    assert found, "\n".join(str(problem) for problem in problems())
    problem = found[0]
    assert problem.file == file
    if case[0] != 51:  # that one is told on each field
        assert problem.line == line
    assert problem.expected.startswith(str(expected))
    if suggestion is not None:
        assert problem.suggestion == suggestion


def test_one_mistake_is_one_problem(files: dict[str, bytes], problems: Problems) -> None:
    line = change(files, MAIN, "fallback:", "falback:")
    (problem,) = problems()
    assert str(problem).startswith(f"landscape.yaml:{line}: integrations.customer-details.falback: expected one of")
    assert str(problem).endswith("found the unknown key 'falback'. Did you mean fallback?")


def test_all_mistakes_of_all_files_come_at_once(files: dict[str, bytes], problems: Problems) -> None:
    change(files, MAIN, "timezone: Europe/London", "timezone: NO")
    change(files, MAIN, "mode: write", "mode: wirte")
    change(files, CUSTOMER, "record: crm", "record: cmr")
    change(files, CRM, "customer.name,trim", "customer.nmae,trim")
    change(files, ERP, "date DD/MM/YYYY", "dates DD/MM/YYYY")
    change(files, RULES, "length(trim(name)) > 1", "pg_sleep(1) > 1")
    change(files, MANIFEST, "kind: bearer", "kind: bearrer")
    found = problems()
    assert {problem.file for problem in found} == {MAIN, CUSTOMER, CRM, ERP, RULES, MANIFEST}
    assert len(found) == 7
    assert found == sorted(found, key=lambda p: (p.file, p.line or 0, p.where))


def test_a_secret_is_never_repeated(files: dict[str, bytes], problems: Problems) -> None:
    change(files, MAIN, "token: {env: CRM_TOKEN}", "token: sk_live_abcdefgh12345678")
    assert not any("sk_live" in str(problem) for problem in problems())


# ---- 52: flows


def test_two_integrations_may_not_write_the_same_field(files: dict[str, bytes], problems: Problems) -> None:
    text = files[MAIN].decode()
    files[MAIN] = (
        text + "  again:\n    owner: finance-lead\n    entity: customer\n    to: [{system: erp, stream: clients}]\n"
    ).encode()
    (problem,) = problems()
    assert problem.where == "integrations.again.to"
    assert problem.line == text.count("\n") + 1
    assert "also written by customer-details" in problem.found


def test_a_field_is_not_written_back_to_its_own_authority(files: dict[str, bytes], problems: Problems) -> None:
    change(files, MAIN, "create: true, mode: write", "create: false, mode: write")
    line = change(
        files, ERP, "canonical,customer.email,erp,clients.mail,,", "canonical,customer.payment_terms,erp,clients.mail,,"
    )
    (problem,) = problems()
    assert (problem.file, problem.line) == (ERP, line)
    assert "which is right about it" in problem.found


def test_a_circle_through_two_authorities_is_refused(files: dict[str, bytes], problems: Problems) -> None:
    files[MAIN] += (
        b"  back:\n    owner: finance-lead\n    entity: customer\n    to: [{system: crm, stream: companies}]\n"
    )
    change(files, ERP, "canonical,customer.email,erp,clients.mail,,", "canonical,customer.email,erp,clients.terms,,")
    files[CRM] += b"canonical,customer.payment_terms,crm,companies.contact.email,,\n"
    (problem,) = problems()
    assert problem.found.startswith("a circle: ")
    assert problem.line is not None


def test_an_integration_needs_rows_to_its_target(files: dict[str, bytes], problems: Problems) -> None:
    line = change(files, MAIN, "stream: clients, create", "stream: orders, create") - 8
    (problem,) = problems()
    assert (problem.where, problem.line) == ("integrations.customer-details.to", line)


# ---- folders


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("models/x.yaml", "model/x.yaml"),
        ("mapping/x.csv", "mappings/x.csv"),
        ("model/x.yml", "model/x.yaml"),
        ("x.csv", None),
    ],
)
def test_a_file_in_no_place_of_its_own(files: dict[str, bytes], problems: Problems, name: str, suggestion: str) -> None:
    files[name] = b"a: b\n"
    (problem,) = problems()
    assert (problem.file, problem.suggestion) == (name, suggestion)


def test_other_files_are_left_alone(files: dict[str, bytes], problems: Problems) -> None:
    files.update({"README.md": b"x", "docs/a.yaml": b"a: [", ".idea/x.yaml": b"a: [", "data/p.xlsx": b"x"})
    assert problems() == []


def test_a_folder_without_landscape(files: dict[str, bytes], problems: Problems) -> None:
    files.clear()
    files["landscap.yaml"] = b"a: b\n"
    assert (
        Problem("landscape.yaml", None, "the file", "it in the landscape's folder", "no such file", "landscap.yaml")
        in problems()
    )


def test_a_manifest_may_not_take_a_shipped_name(files: dict[str, bytes], problems: Problems) -> None:
    files["connectors/sql.yaml"] = files[MANIFEST]
    assert any(problem.found == "'sql', which Concord ships" for problem in problems())


def test_an_entity_stands_in_one_file(files: dict[str, bytes], problems: Problems) -> None:
    files["model/second.yaml"] = files[CUSTOMER]
    files["expectations/second.yaml"] = files[RULES]
    assert [problem.file for problem in problems()] == ["expectations/second.yaml", "model/second.yaml"]
