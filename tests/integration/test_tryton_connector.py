"""The Tryton connector against a real Tryton: what it reads, finds and writes is judged by Tryton itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from canonical.landscape import Stream
from connectors.protocol import AuthFailed, Context, Misdeclared, Receipt, Secret, Unreachable, Write
from connectors.tryton import Tryton, build
from connectors.tryton import connector as module

if TYPE_CHECKING:
    from tests.fixtures.tryton import TrytonServer

pytest_plugins = ["tests.fixtures.tryton"]
pytestmark = [pytest.mark.real, pytest.mark.slow]

ADDRESS = {"street": "1 High St\nFlat 2", "city": "London", "postal_code": "SW1A 1AA", "country": {"code": "GB"}}
VAT = "GB980780684"


def context(server: TrytonServer, key: str | None = None, url: str | None = None, database: str = "erp") -> Context:
    base = url or server.url.removesuffix("erp/")
    secret = key or server.key
    settings = {"url": base, "database": database, "key": Secret(lambda: secret)}
    return Context("erp", settings, {"parties": Stream("parties")}, network="loopback")


@pytest.fixture
def connector(tryton: TrytonServer) -> Iterator[Tryton]:
    made = build(context(tryton))
    yield made
    made.close()


def create(connector: Tryton, **payload: Any) -> Receipt:
    return connector.write("parties", [Write("r", "create", None, payload, "key")])[0]


def update(connector: Tryton, source_id: str | None, **payload: Any) -> Receipt:
    return connector.write("parties", [Write("r", "update", source_id, payload, "key")])[0]


def held(receipt: Receipt) -> dict[str, Any]:
    assert receipt.outcome == "done", receipt
    record: dict[str, Any] = json.loads(receipt.record or b"")
    return record


def seen(server: TrytonServer, receipt: Receipt, *fields: str) -> dict[str, Any]:
    """The party as Tryton's own client sees it."""
    [row] = server.rpc("model.party.party.read", [int(receipt.source_id or 0)], list(fields))
    found: dict[str, Any] = row
    return found


def test_a_party_is_created_with_its_lines_and_read_back(tryton: TrytonServer, connector: Tryton) -> None:
    receipt = create(
        connector,
        name="Created Ltd",
        email="info@created.example",
        phone="020 7946 0018",
        tax_identifier={"full": VAT},
        addresses=[ADDRESS],
    )
    record = held(receipt)
    assert record["tax_identifier"]["full"] == VAT
    assert record["addresses"][0]["country"]["code"] == "GB"
    assert "__name__" not in json.dumps(record)
    assert seen(tryton, receipt, "name", "email", "phone") | {"id": 0} == {
        "id": 0, "name": "Created Ltd", "email": "info@created.example", "phone": "020 7946 0018",
    }  # fmt: skip
    assert [r.payload for r in connector.get("parties", [receipt.source_id or ""])] == [receipt.record]


def test_an_update_changes_only_what_it_names(tryton: TrytonServer, connector: Tryton) -> None:
    made = create(connector, name="Before", email="old@x.example", phone="020 7946 0001", addresses=[ADDRESS])
    record = held(update(connector, made.source_id, email="new@x.example", addresses=[{"city": "Leeds"}]))
    assert (record["name"], record["email"], record["phone"]) == ("Before", "new@x.example", "020 7946 0001")
    assert [(a["city"], a["street"]) for a in record["addresses"]] == [("Leeds", ADDRESS["street"])]
    assert len(record["contact_mechanisms"]) == 2


def test_null_archives_a_line_and_a_missing_line_is_added(connector: Tryton) -> None:
    made = create(connector, name="Lines", email="a@x.example")
    record = held(update(connector, made.source_id, email=None, phone="020 7946 0002", tax_identifier={"full": VAT}))
    assert (record["email"], record["phone"]) == ("", "020 7946 0002")
    assert record["tax_identifier"]["full"] == VAT
    gone = held(update(connector, made.source_id, tax_identifier={"full": None}))
    assert gone["tax_identifier"] is None


def test_the_same_update_again_writes_nothing(connector: Tryton) -> None:
    made = create(connector, name="Same", email="a@x.example", tax_identifier={"full": VAT}, addresses=[ADDRESS])
    again = update(connector, made.source_id, email="a@x.example", tax_identifier={"full": VAT}, addresses=[ADDRESS])
    assert held(again) == held(made)


def test_archived_parties_are_read_as_gone_and_never_found(connector: Tryton) -> None:
    made = create(connector, name="To be archived", email="archived@x.example")
    [receipt] = connector.write("parties", [Write("r", "archive", made.source_id, {}, "key")])
    assert held(receipt)["active"] is False
    assert [r.deleted for r in connector.get("parties", [made.source_id or ""])] == [True]
    assert connector.find("parties", {"name": "To be archived"}) == []


@pytest.mark.parametrize(
    ("by", "is_found"),
    [
        ({"name": "Findable Ltd"}, True),
        ({"name": "findable ltd"}, False),
        ({"email": "find@me.example"}, True),
        ({"phone": "020 7946 0099"}, True),
        ({"tax_identifier.full": "DE136695976"}, True),
        ({"name": "Findable Ltd", "email": "other@x.example"}, False),
    ],
    ids=["name", "other case", "e-mail", "telephone", "tax number", "one of two"],
)
def test_find_compares_exactly(connector: Tryton, by: dict[str, str], is_found: bool) -> None:
    if not connector.find("parties", {"name": "Findable Ltd"}):
        create(
            connector, name="Findable Ltd", email="find@me.example", phone="020 7946 0099",
            tax_identifier={"full": "DE136695976"},
        )  # fmt: skip
    found = [json.loads(r.payload)["name"] for r in connector.find("parties", by)]
    assert found == (["Findable Ltd"] if is_found else [])


def test_a_sweep_has_every_party_once_across_page_edges(
    connector: Tryton, tryton: TrytonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", 3)
    tryton.rpc("model.party.party.create", [{"name": "Same name"} for _ in range(8)])
    pages = list(connector.read("parties", None))
    ids = [int(i) for page in pages for i in page.ids]
    everybody = tryton.rpc("model.party.party.search", [], 0, None, None, context={"active_test": False})
    assert ids == sorted(everybody)
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    resumed = [int(i) for page in connector.read("parties", pages[0].cursor) for i in page.ids]
    assert resumed == ids[3:]


@pytest.mark.parametrize("where", ["party", "address", "contact mechanism"])
def test_a_change_is_read_since_the_cursor_wherever_it_was_made(
    tryton: TrytonServer, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build(context(tryton))
    monkeypatch.setattr(made, "_overlap_seconds", 0.0)
    party = create(made, name="Changing", email="c@x.example", addresses=[ADDRESS])
    record = held(party)
    tryton.rpc("model.party.party.create", [{"name": "Quiet"}])
    time.sleep(1.1)  # the cursor is the server's own clock, which tells whole seconds
    cursor = json.loads(json.dumps(list(made.read("parties", None))[-1].cursor))
    edits: dict[str, tuple[str, int, dict[str, Any]]] = {
        "party": ("model.party.party.write", record["id"], {"name": "Changed"}),
        "address": ("model.party.address.write", record["addresses"][0]["id"], {"city": "York"}),
        "contact mechanism": (
            "model.party.contact_mechanism.write", record["contact_mechanisms"][0]["id"], {"value": "d@x.example"},
        ),
    }  # fmt: skip
    method, number, values = edits[where]
    tryton.rpc(method, [number], values)
    assert [i for page in made.read("parties", cursor) for i in page.ids] == [party.source_id]
    made.close()


def test_one_bad_party_costs_only_itself(connector: Tryton) -> None:
    batch = [
        Write("a", "create", None, {"name": "Fine"}, "1"),
        Write("b", "create", None, {"name": "Bad", "tax_identifier": {"full": "GB123"}}, "2"),
        Write("c", "create", None, {"name": "Odd", "tax_identifier": {"full": "ZZ123"}}, "3"),
        Write("d", "create", None, {"name": "Nowhere", "addresses": [{"country": {"code": "QQ"}}]}, "4"),
        Write("e", "create", None, {"name": "Last"}, "5"),
    ]
    receipts = connector.write("parties", batch)
    assert [(r.ref, r.outcome, r.field) for r in receipts] == [
        ("a", "done", None),
        ("b", "rejected", None),
        ("c", "rejected", "tax_identifier.full"),
        ("d", "rejected", "addresses.country.code"),
        ("e", "done", None),
    ]
    assert "not valid" in str(receipts[1].reason)


def test_an_update_of_a_deleted_party_is_rejected_as_gone(connector: Tryton, tryton: TrytonServer) -> None:
    made = create(connector, name="Short-lived")
    tryton.rpc("model.party.party.delete", [int(made.source_id or 0)])
    for op in ("update", "archive"):
        [receipt] = connector.write("parties", [Write("r", op, made.source_id, {"name": "x"}, "k")])  # type: ignore[arg-type]
        assert (receipt.outcome, receipt.status) == ("rejected", 404)
    assert connector.get("parties", [made.source_id or ""]) == []


@pytest.mark.parametrize(
    "payload",
    [{"emial": "x"}, {"addresses": [{"town": "x"}]}, {"addresses": "x"}, {"id": 7}],
    ids=["field", "field of a line", "no list", "key"],
)
def test_an_unknown_field_is_misdeclared_and_nothing_is_written(connector: Tryton, payload: dict[str, Any]) -> None:
    with pytest.raises(Misdeclared):
        create(connector, name="Never there", **payload)
    assert connector.find("parties", {"name": "Never there"}) == []


def test_payloads_are_the_same_on_every_read(connector: Tryton) -> None:
    made = create(connector, name="Stable", email="s@x.example", addresses=[ADDRESS])
    [once], [twice] = (connector.get("parties", [made.source_id or ""]) for _ in range(2))
    assert once.payload == twice.payload == made.record


def test_a_wrong_key_is_refused_without_showing_it(tryton: TrytonServer) -> None:
    made = build(context(tryton, key="wrong-key-0815"))
    with pytest.raises(AuthFailed) as caught:
        made.check()
    assert "wrong-key-0815" not in str(caught.value)


def test_a_good_declaration_passes_its_check_and_a_bad_one_does_not(tryton: TrytonServer, connector: Tryton) -> None:
    connector.check()
    with pytest.raises(Misdeclared):
        build(context(tryton, database="nope")).check()
    with pytest.raises(Misdeclared):
        list(connector.read("products", None))
    with pytest.raises(Misdeclared):
        connector.find("parties", {"shoe_size": "42"})


def test_loopback_must_be_declared(tryton: TrytonServer) -> None:
    public = Context("erp", context(tryton).settings, {"parties": Stream("parties")}, network="private")
    with pytest.raises(Unreachable):
        build(public).check()
