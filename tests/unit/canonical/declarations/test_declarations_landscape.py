# ruff: noqa: E501 - tables read best with one case on one line
"""A good landscape as a value: what comes from where, what overrides what, what is advised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from canonical.declarations.advice import check, longest_gap_seconds
from canonical.declarations.connectors import ConnectorDefaults, default_streams, read_defaults
from canonical.declarations.digest import declared_digest, outbound_digest
from canonical.declarations.landscape import read_landscape
from canonical.landscape import (
    Brake,
    ChildOf,
    Heartbeat,
    Landscape,
    Limit,
    Makes,
    Person,
    SecretRef,
    Sla,
    Stream,
    Target,
    Timing,
)
from canonical.problems import Problem, Refused

Read = Callable[[], Landscape]
Problems = Callable[[], list[Problem]]
MAIN, CUSTOMER, ERP = "landscape.yaml", "model/customer.yaml", "mappings/erp.csv"


def change(files: dict[str, bytes], file: str, old: str, new: str) -> None:
    assert old.encode() in files[file]
    files[file] = files[file].replace(old.encode(), new.encode(), 1)


# ---- the mini landscape, read


def test_people_and_systems(read: Read) -> None:
    landscape = read()
    assert (landscape.name, landscape.timezone) == ("mini", "Europe/London")
    assert landscape.people["finance-lead"] == Person(
        "finance-lead", "Ben Okoro", "ben@example.com", None, SecretRef("env", "BEN_CODE")
    )
    erp = landscape.systems["erp"]
    assert (erp.connector, erp.engine, erp.network, erp.timezone) == ("sql", "sql", "loopback", "Europe/Berlin")
    assert erp.settings["password"] == SecretRef("env", "ERP_PASSWORD")
    assert erp.settings["statement_seconds"] == 60
    assert erp.streams["order_lines"] == Stream(
        "order_lines",
        key=("order_no", "line_no"),
        child_of=ChildOf("orders", "order_no", "lines"),
        options={"table": "order_lines"},
    )
    assert erp.streams["orders"].makes == (Makes("order", "state != 'X'"),)
    assert set(landscape.active_systems) == {"crm", "erp"}


def test_a_manifest_is_a_connector_run_by_rest(read: Read) -> None:
    crm = read().systems["crm"]
    assert (crm.connector, crm.engine) == ("crm_api", "rest")
    assert crm.settings["manifest"].streams["companies"].path == "/v1/companies"
    assert crm.streams["companies"].deleted_when == "archived == true"
    assert crm.settings["token"] == SecretRef("env", "CRM_TOKEN")


def test_an_integration(read: Read) -> None:
    flow = read().integrations["customer-details"]
    assert flow.to == (
        Target("erp", "clients", create=True, mode="write", when="status == 'active'", find_by=(("tax_no", "tax_id"),)),
    )
    assert flow.timing == Timing("*/15 * * * *", True, "a wrong address costs a dispute")
    assert flow.brake == Brake(Limit(5, 0.02), Limit(50, 0.2), Limit(20, 0.05), 0.1, 0.05)
    assert flow.sla == Sla(1200, 86400, pytest.approx(0.999), 1800, 14400)
    assert (flow.hold_seconds, flow.on_delete, flow.ask_when) == (0, "archive", "changed('tax_id')")


def test_the_model_stands_in_reference_order_with_its_rules(read: Read) -> None:
    landscape = read()
    assert [entity.name for entity in landscape.model.entities] == ["customer", "order"]
    assert landscape.model["customer"].by_name["payment_terms"].record == "erp"
    assert landscape.model["customer"].match.alike == ("name", "address_postcode", "phone")
    assert [rule.name for rule in landscape.rules["customer"].rules] == ["active_has_address", "name_is_a_name"]


def test_files_and_places_are_kept_for_messages(read: Read, files: dict[str, bytes]) -> None:
    landscape = read()
    assert landscape.files[MAIN] == files[MAIN].decode()
    assert landscape.places["integrations.customer-details.sla"] == (MAIN, 54)
    assert landscape.places["model.customer.fields.phone"] == (CUSTOMER, 7)


# ---- what connectors ship


def with_ledger(files: dict[str, bytes], rows: str = "", more: str = "") -> None:
    change(
        files,
        MAIN,
        "  mailbox:",
        f"  books:\n    connector: ledger\n    owner: finance-lead\n    token: {{env: T}}\n{more}  mailbox:",
    )
    if rows:
        header = "source_system,source_field,target_system,target_field,rule,notes\n"
        files["mappings/books.csv"] = (header + rows).encode()


def rows_of(landscape: Landscape, system: str) -> list[tuple[str, str, str]]:
    return sorted((row.source_field, row.target_field, row.file) for row in landscape.sheet if row.system == system)


SHIPPED = "connectors/ledger/mapping.csv"


def test_a_standard_sheet_is_taken_as_far_as_the_landscape_has_its_entities(
    read: Read, files: dict[str, bytes]
) -> None:
    with_ledger(files)
    landscape = read()
    # customer.website was left out, there is no payment: their rows are left out with them.
    assert rows_of(landscape, "books") == [
        ("", "contacts.ContactStatus", SHIPPED),
        ("contacts.Name", "customer.name", SHIPPED),
        ("contacts.TaxNumber", "customer.tax_id", SHIPPED),
        ("customer.email", "contacts.EmailAddress", SHIPPED),
        ("customer.name", "contacts.Name", SHIPPED),
    ]
    assert landscape.systems["books"].streams["contacts"].makes == (Makes("customer"),)
    assert landscape.systems["books"].settings["url"] == "https://api.ledger.example"


def test_own_rows_override_standard_ones(read: Read, files: dict[str, bytes]) -> None:
    with_ledger(
        files,
        "books,contacts.LegalName,canonical,customer.name,trim,\n"
        "books,contacts.TaxNumber,ignore,-,,\n"
        "canonical,customer.phone,books,contacts.EmailAddress,,\n",
    )
    own = "mappings/books.csv"
    assert rows_of(read(), "books") == [
        ("", "contacts.ContactStatus", SHIPPED),
        ("contacts.LegalName", "customer.name", own),
        ("contacts.TaxNumber", "-", own),
        ("customer.name", "contacts.Name", SHIPPED),
        ("customer.phone", "contacts.EmailAddress", own),
    ]


@pytest.mark.parametrize("pattern", ["contacts.Tax*", "contacts.*"])
def test_a_wildcard_takes_standard_rows_away(read: Read, files: dict[str, bytes], pattern: str) -> None:
    with_ledger(files, f"books,{pattern},ignore,-,,\n")
    assert "customer.tax_id" not in {row.target_field for row in read().sheet if row.system == "books"}


def test_a_landscape_overrides_a_shipped_stream_key_by_key(read: Read, files: dict[str, bytes]) -> None:
    with_ledger(
        files, more="    streams: {contacts: {makes: [{entity: customer, when: IsCustomer}], options: {page: 50}}}\n"
    )
    assert read().systems["books"].streams["contacts"] == Stream(
        "contacts", ("ContactID",), "UpdatedDateUTC", (Makes("customer", "IsCustomer"),), options={"page": 50}
    )


def test_notify_names_a_system_that_can(
    files: dict[str, bytes], connectors: dict[str, ConnectorDefaults], read: Read, problems: Problems
) -> None:
    connectors["chat"] = read_defaults("chat", b"settings: {token: {secret: true}}\nnotifier: true\n")
    change(files, MAIN, "  mailbox:", "  slack: {connector: chat, owner: finance-lead, token: {env: S}}\n  mailbox:")
    files[MAIN] += b'notify: {slack: slack, channel: "#ops"}\n'
    assert read().notify == {"slack": "slack", "channel": "#ops"}
    change(files, MAIN, "notify: {slack: slack", "notify: {slack: erp")
    (problem,) = problems()
    assert (problem.where, problem.expected) == ("notify.slack", "a system whose connector posts messages")
    del connectors["chat"]


@pytest.mark.parametrize(
    ("notify", "where"),
    [
        ("{slack: slack, fallback: email}", "notify.fallback"),
        ("{slack: slack, email: slack, fallback: sms}", "notify.fallback"),
        ('{slack: slack, heartbeat: {url: "https://beats.example/1"}}', "notify.heartbeat.url"),
        ("{slack: slack, heartbeat: {network: public}}", "notify.heartbeat.url"),
        ("{slack: slack, heartbeat: {url: {env: B}, network: home}}", "notify.heartbeat.network"),
    ],
    ids=["one messenger has nobody to step in", "unknown", "a secret written out", "no address", "unknown network"],
)
def test_notify_is_read_strictly(
    files: dict[str, bytes], connectors: dict[str, ConnectorDefaults], problems: Problems, notify: str, where: str
) -> None:
    connectors["chat"] = read_defaults("chat", b"settings: {token: {secret: true}}\nnotifier: true\n")
    change(files, MAIN, "  mailbox:", "  slack: {connector: chat, owner: finance-lead, token: {env: S}}\n  mailbox:")
    files[MAIN] += f"notify: {notify}\n".encode()
    (problem,) = problems()
    assert problem.where == where
    del connectors["chat"]


def test_who_steps_in_and_what_is_called_while_all_is_well(
    files: dict[str, bytes], connectors: dict[str, ConnectorDefaults], read: Read
) -> None:
    connectors["chat"] = read_defaults("chat", b"settings: {token: {secret: true}}\nnotifier: true\n")
    change(files, MAIN, "  mailbox:", "  slack: {connector: chat, owner: finance-lead, token: {env: S}}\n  mailbox:")
    files[MAIN] += b"notify: {slack: slack, email: slack, fallback: email, heartbeat: {url: {env: B}}}\n"
    found = read().notify
    assert (found["fallback"], found["heartbeat"]) == ("email", Heartbeat(SecretRef("env", "B")))
    del connectors["chat"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("settings: {a: {type: txt}}", "settings.a.type"),
        ("settings: {a: {kind: text}}", "settings.a.kind"),
        ("streams: {a: {kee: id}}", "streams.a.kee"),
        ("streams: {a: {deleted_when: 'x ='}}", "streams.a.deleted_when"),
        ("stream: {}", "stream"),
        ("a: NO", "a"),
    ],
)
def test_what_a_connector_ships_is_read_as_strictly(text: str, where: str) -> None:
    with pytest.raises(Refused) as refused:
        read_defaults("x", text.encode())
    assert refused.value.problems[0].where == where
    assert refused.value.problems[0].file == "connectors/x/defaults.yaml"


def test_streams_may_be_given_as_plain_values() -> None:
    found = default_streams(ConnectorDefaults({"a": {"key": ["x", "y"], "makes": [{"entity": "e"}]}, "b": Stream("b")}))
    assert found == {"a": Stream("a", ("x", "y"), makes=(Makes("e"),)), "b": Stream("b")}
    with pytest.raises(Refused):
        default_streams(ConnectorDefaults({"a": {"key": 7}}))


SETTINGS = ConnectorDefaults(
    settings_schema={
        "n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"}, "d": {"type": "duration"},
        "l": {"type": "list"}, "m": {"type": "mapping"}, "a": {"type": "any"}, "t": {}, "u": {"type": "url"},
        "need": {"required": True},
    }
)  # fmt: skip


def read_settings(text: str) -> Landscape:
    main = (
        "timezone: UTC\npeople: {boss: {name: B, email: b@example.com}}\nsystems:\n  s:\n    connector: c\n    owner: boss\n"
        f"    streams: {{r: {{makes: [{{entity: thing}}]}}}}\n    {text}\n"
    )
    model = "entity: thing\nmeans: x\nrecord: s\nfields: {name: {type: text}}\n"
    return read_landscape({MAIN: main.encode(), "model/thing.yaml": model.encode()}, {"c": SETTINGS}, "x")


def test_settings_have_the_types_that_the_connector_says() -> None:
    system = read_settings(
        "need: x\n    n: 5\n    x: 0.5\n    b: true\n    d: 20m\n    l: [a, 1]\n"
        "    m: {k: {env: K}}\n    a: [{file: f}]\n    t: {block: b}"
    ).systems["s"]
    assert system.settings == {
        "need": "x", "n": 5, "x": 0.5, "b": True, "d": 1200, "l": ["a", 1], "m": {"k": SecretRef("env", "K")},
        "a": [SecretRef("file", "f")], "t": SecretRef("block", "b"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("n: 5", "systems.s.need"),
        ("need: x\n    n: x", "systems.s.n"),
        ("need: x\n    x: many", "systems.s.x"),
        ("need: x\n    b: 1", "systems.s.b"),
        ("need: x\n    l: a", "systems.s.l"),
        ("need: x\n    m: a", "systems.s.m"),
        ("need: x\n    u: ftp://example.com", "systems.s.u"),
        ("need: 5", "systems.s.need"),
    ],
)
def test_settings_of_another_type_are_refused(text: str, where: str) -> None:
    with pytest.raises(Refused) as refused:
        read_settings(text)
    assert [problem.where for problem in refused.value.problems] == [where]


# ---- digests


def digests(landscape: Landscape) -> dict[str, str]:
    return {
        "crm": declared_digest(landscape, "crm", "companies", "customer"),
        "erp": declared_digest(landscape, "erp", "clients", "customer"),
        "orders": declared_digest(landscape, "erp", "orders", "order"),
        "out": outbound_digest(landscape, "customer", "erp", "clients"),
        "all": landscape.digest,
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "moved"),
    [
        pytest.param(MAIN, "# Two systems", "# 2 systems", {"all"}, id="a-comment"),
        pytest.param("mappings/crm.csv", "marketing only", "ours", {"all"}, id="a-note"),
        pytest.param("mappings/crm.csv", "customer.name,trim", "customer.name,upper", {"all", "crm"}, id="a-rule"),
        pytest.param(ERP, "clients.mail", "clients.email", {"all", "out"}, id="an-outbound-row"),
        pytest.param(ERP, "date DD/MM/YYYY", "date MM/DD/YYYY", {"all", "orders"}, id="another-entity"),
        pytest.param(ERP, "order_lines.qty", "order_lines.amount", {"all", "orders"}, id="a-child-stream"),
        pytest.param(CUSTOMER, "region: GB", "region: DE", {"all", "crm", "erp", "out"}, id="a-field"),
        pytest.param(CUSTOMER, "owner: head-of-sales", "owner: finance-lead", {"all"}, id="an-owner"),
        pytest.param("expectations/customer.yaml", "> 1", "> 2", {"all", "crm", "erp"}, id="an-expectation"),
        pytest.param(MAIN, "Europe/Berlin", "Europe/Paris", {"all", "erp", "orders"}, id="a-time-zone"),
        pytest.param(MAIN, "mode: write", "mode: ask", {"all"}, id="a-mode"),
        pytest.param(MAIN, "status == 'active'", "status == 'lead'", {"all", "out"}, id="a-scope"),
    ],
)
def test_a_digest_moves_with_what_it_stands_for(
    files: dict[str, bytes], read: Read, file: str, old: str, new: str, moved: set[str]
) -> None:
    before = digests(read())
    assert before == digests(read())
    change(files, file, old, new)
    after = digests(read())
    assert {name for name in before if before[name] != after[name]} == moved


# ---- advice


def advice(landscape: Landscape, **runs: float) -> list[tuple[str, str]]:
    return [(a.severity, a.problem.where) for a in check(landscape, runs)]


def test_a_good_landscape_is_told_little(read: Read) -> None:
    assert advice(read()) == [("warning", "notify")]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param(
            MAIN, 'event: true, schedule: "*/15 * * * *"', 'schedule: "0 2 * * *"',
            ("error", "integrations.customer-details.sla.timeliness"), id="sla-below-schedule",
        ),
        pytest.param(
            MAIN, "completeness: 24h", "completeness: 10m",
            ("error", "integrations.customer-details.sla.completeness"), id="completeness-below-schedule",
        ),
        pytest.param(MAIN, ", email: ada@example.com, slack: \"@ada\"", "", ("warning", "people.head-of-sales"), id="owner-without-address"),
        pytest.param(MAIN, ", code: {env: BEN_CODE}", "", ("warning", "people"), id="nobody-can-approve"),
        pytest.param(MAIN, "    beneficiary: credit-control\n", "", ("warning", "integrations.customer-details.beneficiary"), id="charter"),
        pytest.param(
            MAIN, 'event: true, schedule: "*/15 * * * *"', "event: true",
            ("warning", "integrations.customer-details.timing"), id="no-schedule",
        ),
        pytest.param(ERP, "erp,clients.terms,canonical,customer.payment_terms,map 0=immediate 7=net7 14=net14 30=net30 60=net60 *=flag,", "erp,clients.terms,ignore,-,,",
            ("warning", "fields.payment_terms"), id="field-without-writer"),
        pytest.param(MAIN, "  mailbox:", "  idle: {connector: sql, owner: finance-lead, url: \"sqlite:///x\"}\n  mailbox:",
            ("warning", "systems.idle"), id="system-of-no-use"),
    ],
)  # fmt: skip
def test_advice(files: dict[str, bytes], read: Read, file: str, old: str, new: str, expected: tuple[str, str]) -> None:
    change(files, file, old, new)
    landscape = read()
    assert expected in advice(landscape)
    assert len(advice(landscape)) == 2
    assert all(a.problem.line for a in check(landscape) if a.problem.where == expected[1])


def test_an_entity_that_no_stream_makes(files: dict[str, bytes], read: Read) -> None:
    files["model/product.yaml"] = b"extends: standard/product\nrecord: erp\n"
    assert ("warning", "entity") in advice(read())


def test_a_standard_field_that_nobody_fills_is_told_where_it_can_be_left_out(
    files: dict[str, bytes], read: Read
) -> None:
    change(files, "mappings/crm.csv", "canonical,customer.email,lower", "ignore,-,")
    found = next(a.problem for a in check(read()) if a.problem.where == "fields.email")
    assert (found.file, found.line) == (CUSTOMER, 1)
    assert found.expected == "a sheet row from its system of record crm, or without: [email]"


def test_the_longest_run_and_the_hold_count(files: dict[str, bytes], read: Read) -> None:
    change(files, MAIN, "event: true, schedule", "schedule")
    landscape = read()
    assert not any(severity == "error" for severity, _ in advice(landscape))
    found = check(landscape, {"customer-details": 301.0})
    assert str(found[0]).startswith(
        "error: landscape.yaml:54: integrations.customer-details.sla.timeliness: expected at least 1201"
    )
    change(files, MAIN, "hold: 0m", "hold: 6m")
    assert any(severity == "error" for severity, _ in advice(read()))


@pytest.mark.parametrize(
    ("schedule", "hours"), [("*/15 * * * *", 0.25), ("0 2 * * *", 24), ("0 8 * * 1-5", 72), ("0 0 1 * *", 31 * 24)]
)
def test_the_longest_gap_of_a_schedule(schedule: str, hours: float) -> None:
    assert longest_gap_seconds(schedule) == hours * 3600


def test_the_fixture_is_where_others_expect_it() -> None:
    assert (Path(__file__).parents[3] / "fixtures/landscapes/mini/landscape.yaml").exists()
