"""The CRM's properties, their validation, and search filters, as HubSpot's v3 objects have them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from sandbox.store import Doc

Kind = Literal["text", "email", "date", "datetime", "number", "choice"]


@dataclass(frozen=True)
class Property:
    """One property: what its value must look like, whether the server owns it, whether no two records may share it."""

    kind: Kind = "text"
    options: tuple[str, ...] = ()
    is_read_only: bool = False
    is_unique: bool = False


_TEXT = Property()
_SERVER = Property("datetime", is_read_only=True)
_CONCORD_ID = Property(is_unique=True)
_COUNTED = Property(is_read_only=True)

LEAD_STATUS = ("OPEN", "CUSTOMER", "CONNECTED", "UNQUALIFIED", "NEW", "IN_PROGRESS", "LEGACY_7", "MIGRATED_2019")
TICKET_STAGES = ("1", "2", "3", "4")  # the pipeline every account begins with: new, waiting on contact, on us, closed
TICKET_CATEGORIES = ("PRODUCT_ISSUE", "BILLING_ISSUE", "FEATURE_REQUEST", "GENERAL_INQUIRY")
LIFECYCLE = ("subscriber", "lead", "opportunity", "customer", "evangelist", "other")

PROPERTIES: dict[str, dict[str, Property]] = {
    "companies": {
        **dict.fromkeys(("name", "domain", "phone", "address", "address2", "city", "state", "zip", "country"), _TEXT),
        "email": Property("email"),
        "hs_lead_status": Property("choice", LEAD_STATUS),
        "lifecyclestage": Property("choice", LIFECYCLE),
        "vat_number": _TEXT,
        "customer_since": Property("date"),
        "payment_terms": Property("choice", ("net7", "net30")),
        "balance_due": Property("number"),
        "balance_currency": _TEXT,
        "payment_status": Property("choice", ("paid", "part_paid", "unpaid", "due", "overdue", "open", "none")),
        "account_manager": Property("email"),
        "concord_id": _CONCORD_ID,
        "createdate": _SERVER,
        "hs_lastmodifieddate": _SERVER,
        "hs_object_id": _COUNTED,
        "hs_merged_object_ids": _COUNTED,
    },
    "contacts": {
        **dict.fromkeys(("firstname", "lastname", "phone", "mobilephone", "jobtitle", "company"), _TEXT),
        "email": Property("email", is_unique=True),
        "concord_id": _CONCORD_ID,
        "createdate": _SERVER,
        "lastmodifieddate": _SERVER,
        "hs_object_id": _COUNTED,
        "hs_merged_object_ids": _COUNTED,
    },
    "tickets": {
        **dict.fromkeys(("subject", "content", "order_number"), _TEXT),
        "hs_pipeline": _TEXT,
        "hs_pipeline_stage": Property("choice", TICKET_STAGES),
        "hs_ticket_category": Property("choice", TICKET_CATEGORIES),
        "hs_ticket_priority": Property("choice", ("LOW", "MEDIUM", "HIGH", "URGENT")),
        "concord_id": _CONCORD_ID,
        "closed_date": _SERVER,
        "createdate": _SERVER,
        "hs_lastmodifieddate": _SERVER,
        "hs_object_id": _COUNTED,
        "hs_merged_object_ids": _COUNTED,
    },
}
CHANGE_MARK = {
    "companies": "hs_lastmodifieddate",
    "contacts": "lastmodifieddate",
    "tickets": "hs_lastmodifieddate",
}
ASSOCIATED = {"contacts": "contact_to_company", "tickets": "ticket_to_company"}
"""What can belong to companies, and what HubSpot calls that."""
SHOWN_BY_DEFAULT = {
    "tickets": (
        "content",
        "createdate",
        "hs_lastmodifieddate",
        "hs_object_id",
        "hs_pipeline",
        "hs_pipeline_stage",
        "hs_ticket_category",
        "hs_ticket_priority",
        "subject",
    ),
    "companies": ("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    "contacts": ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
}
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]{2,}")


def empty_properties(object_type: str) -> dict[str, str | None]:
    """All properties of a type, each null."""
    return dict.fromkeys(PROPERTIES[object_type])


def problems_of(object_type: str, wanted: Any) -> list[Doc]:
    """What HubSpot would refuse in the properties of a write, as its `errors` entries. Empty: all is well."""
    if not isinstance(wanted, dict):
        return [{"message": "Invalid input JSON: properties must be an object", "code": "INVALID_JSON"}]
    found = []
    for name, value in wanted.items():
        known = PROPERTIES[object_type].get(name)
        if known is None:
            found.append(_problem(name, f'Property "{name}" does not exist', "PROPERTY_DOESNT_EXIST"))
        elif known.is_read_only:
            found.append(
                _problem(name, f'"{name}" is a read only property; its value cannot be set', "READ_ONLY_VALUE")
            )
        elif value is not None and not isinstance(value, (str, int, float)):
            found.append(_problem(name, f'Property "{name}" must be a string', "INVALID_TYPE"))
        elif value not in (None, "") and (why := _refusal(known, str(value))):
            found.append(_problem(name, f"Property values were not valid: {why}", why.split(":")[0].strip()))
    return found


def _problem(name: str, message: str, code: str) -> Doc:
    return {"message": message, "code": code, "context": {"propertyName": [name]}}


def _refusal(known: Property, value: str) -> str:
    match known.kind:
        case "email" if not _EMAIL.fullmatch(value.strip()):
            return f"INVALID_EMAIL: Email address {value[:80]} is invalid"
        case "choice" if value not in known.options:
            return f"INVALID_OPTION: {value[:80]} was not one of the allowed options: [{', '.join(known.options)}]"
        case "number" if not re.fullmatch(r"-?\d+(\.\d+)?", value):
            return f"INVALID_DOUBLE: {value[:80]} was not a valid number"
        case "date" if not _is_date(value):
            return f"INVALID_DATE: {value[:80]} is not a valid date"
    return ""


def _is_date(value: str) -> bool:
    try:
        datetime.strptime(value, "%Y-%m-%d")
    except ValueError:
        return value.isdigit()
    return True


def normalised(object_type: str, wanted: dict[str, Any]) -> dict[str, str | None]:
    """Values as the CRM keeps them: text; e-mail addresses and domains in small letters without spaces around."""
    kept: dict[str, str | None] = {}
    for name, value in wanted.items():
        text = None if value is None else str(value)
        if text is not None and (PROPERTIES[object_type][name].kind == "email" or name == "domain"):
            text = text.strip().lower()
        kept[name] = text
    return kept


def shown(doc: Doc, object_type: str, wanted: Sequence[str], with_companies: bool = False) -> Doc:
    """A record as an answer shows it, with the wanted properties (none: the type's default ones)."""
    names = list(dict.fromkeys((*wanted, "createdate", CHANGE_MARK[object_type], "hs_object_id")))
    values = doc["properties"]
    if not wanted:
        names = list(SHOWN_BY_DEFAULT[object_type])
    if values.get("hs_merged_object_ids"):
        names.append("hs_merged_object_ids")
    answer: Doc = {
        "id": doc["id"],
        "properties": {name: values.get(name) for name in names if name in values},
        "createdAt": doc["createdAt"],
        "updatedAt": doc["updatedAt"],
        "archived": doc["archived"],
    }
    if doc["archived"]:
        answer["archivedAt"] = doc.get("archivedAt") or doc["updatedAt"]
    if with_companies and doc.get("companies"):
        results = [{"id": company, "type": ASSOCIATED[object_type]} for company in doc["companies"]]
        answer["associations"] = {"companies": {"results": results}}
    return answer


@lru_cache(maxsize=100_000)
def _comparable(value: str) -> tuple[int, float, str]:
    """A value that orders times (ISO or epoch milliseconds) and numbers by size and the rest by text."""
    try:
        return (0, float(value), "")
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return (1, 0.0, value.lower())
    return (0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000, "")


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "EQ": lambda left, right: left == right,
    "NEQ": lambda left, right: left != right,
    "LT": lambda left, right: left < right,
    "LTE": lambda left, right: left <= right,
    "GT": lambda left, right: left > right,
    "GTE": lambda left, right: left >= right,
}


def compile_filter(object_type: str, one: Doc) -> Callable[[Doc], bool]:
    """A predicate over documents for one search filter. Raises ValueError for what HubSpot refuses."""
    name, operator = str(one.get("propertyName")), str(one.get("operator"))
    if name not in PROPERTIES[object_type]:
        raise ValueError(f"There was a problem with the request: property {name} does not exist")

    def value_of(doc: Doc) -> str | None:
        value: str | None = doc["properties"].get(name)
        return value or None

    match operator:
        case "HAS_PROPERTY":
            return lambda doc: value_of(doc) is not None
        case "NOT_HAS_PROPERTY":
            return lambda doc: value_of(doc) is None
        case "IN" | "NOT_IN":
            wanted = {str(value).lower() for value in one.get("values", ())}
            is_in = operator == "IN"
            return lambda doc: (found := value_of(doc)) is not None and (found.lower() in wanted) == is_in
        case "CONTAINS_TOKEN":
            token = str(one.get("value", "")).strip("*").lower()
            return lambda doc: token in (value_of(doc) or "").lower()
        case "BETWEEN":
            low, high = _comparable(str(one.get("value"))), _comparable(str(one.get("highValue")))
            return lambda doc: (found := value_of(doc)) is not None and low <= _comparable(found) <= high
        case _ if operator in _COMPARE:
            if one.get("value") is None:
                raise ValueError(f"operator {operator} requires a value")
            compare, bound = _COMPARE[operator], _comparable(str(one["value"]))
            return lambda doc: (found := value_of(doc)) is not None and compare(_comparable(found), bound)
    raise ValueError(f"Invalid operator: {operator}")


def search(docs: Sequence[Doc], object_type: str, groups: Sequence[Doc], sorts: Sequence[Any]) -> list[Doc]:
    """The documents that meet all filters of at least one group, in the order asked for (default: oldest first)."""
    compiled = [[compile_filter(object_type, one) for one in group.get("filters", ())] for group in groups]
    found = [doc for doc in docs if not compiled or any(all(test(doc) for test in tests) for tests in compiled)]
    for one in reversed(list(sorts)):
        entry = {"propertyName": one} if isinstance(one, str) else one
        name = str(entry.get("propertyName"))
        is_down = entry.get("direction") == "DESCENDING"
        found.sort(key=lambda doc: _comparable(doc["properties"].get(name) or ""), reverse=is_down)
    return found
