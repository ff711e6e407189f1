"""Writing to Xero: lists of elements, each with its own outcome; a list sent again is not done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.http import Answer, HttpClient
from connectors.http.outcome import excerpt, segment
from connectors.http.receipts import batch_key, in_key_order, one_by_one, rejected, unknown
from connectors.paging.strict import leaf, mark_text
from connectors.protocol import Ambiguous, Misdeclared, Receipt, Write
from connectors.xero.reading import Reader
from connectors.xero.resources import Resource

_REFUSALS = frozenset({400, 404, 405, 409, 412, 413, 415, 422})
_TEXTS = frozenset(
    {
        "AccountNumber", "AddressLine1", "AddressLine2", "AddressLine3", "AddressLine4", "AttentionTo",
        "BankAccountDetails", "City", "CompanyNumber", "ContactNumber", "Country", "Description", "EmailAddress",
        "FirstName", "LastName", "Name", "PhoneAreaCode", "PhoneCountryCode", "PhoneNumber", "PostalCode", "Reference",
        "Region", "TaxNumber",
    }
)  # fmt: skip
"""Fields that "" empties. Others are left out when they have no value: Xero takes null for "not mentioned"."""


class _Reason(msgspec.Struct):
    Message: str = ""


class _Verdict(msgspec.Struct):
    StatusAttributeString: str = ""
    HasErrors: bool = False
    HasValidationErrors: bool = False
    ValidationErrors: list[_Reason] = []


class _Exception(msgspec.Struct):
    Message: str = ""
    Elements: list[_Verdict] = []


class Writer:
    """Writes one resource of one organisation.

    external_id: a field that only Concord fills (ContactNumber, say): creates become upserts by it (write class A).
    """

    def __init__(self, client: HttpClient, resource: Resource, reader: Reader, external_id: str | None) -> None:
        self._client = client
        self._resource = resource
        self._reader = reader
        self._external_id = external_id
        self.where = f"{client.system}/{resource.stream}"

    def write(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """One receipt a write; see connectors.protocol.Target.write."""
        return in_key_order(writes, self._write) if writes else []

    def _write(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        op = writes[0].op
        if op not in self._resource.ops:
            raise Misdeclared(f"expected {', '.join(sorted(self._resource.ops))}, found {op}", where=self.where)
        if op == "delete":
            return one_by_one(writes, self._delete_item)
        if op == "archive" and self._resource.stream == "payments":
            return one_by_one(writes, self._delete_payment)
        if op == "archive":
            return self._archive(writes)
        return self._elements(writes, [self._element(write) for write in writes])

    def _element(self, write: Write) -> dict[str, Any]:
        element: dict[str, Any] = _shaped(write.payload, is_new=write.op == "create")
        if write.source_id is not None:
            element[self._resource.id_field] = write.source_id
        return element

    def _archive(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """Contacts are archived; drafts are deleted, authorised documents voided: so their state is read first."""
        resource = self._resource
        if resource.stream == "contacts":
            elements = [{"ContactID": write.source_id, "ContactStatus": "ARCHIVED"} for write in writes]
            return self._elements(writes, elements)
        held = {record.id: record for record in self._reader.get([str(write.source_id) for write in writes])}
        receipts: dict[str, Receipt] = {}
        due: list[tuple[Write, dict[str, Any]]] = []
        for write in writes:
            record = held.get(str(write.source_id))
            state = mark_text(leaf(record.payload, ("Status",))) if record else None
            if state in (None, "DELETED", "VOIDED"):
                receipts[write.ref] = Receipt(write.ref, "done", source_id=write.source_id, reason="it was gone")
                continue
            target = "DELETED" if state in ("DRAFT", "SUBMITTED") else "VOIDED"
            due.append((write, {resource.id_field: write.source_id, "Status": target}))
        if due:
            sent = self._elements([write for write, _ in due], [element for _, element in due])
            receipts |= {receipt.ref: receipt for receipt in sent}
        return [receipts[write.ref] for write in writes]

    def _elements(self, writes: Sequence[Write], elements: Sequence[Mapping[str, Any]]) -> Sequence[Receipt]:
        """Send one list. PUT only creates; POST updates what it finds by id or external id, and creates the rest."""
        is_create = writes[0].op == "create" and not self._external_id
        answer = self._client.send(
            "PUT" if is_create else "POST",
            self._resource.path,
            params={"summarizeErrors": "false", **self._resource.decimals},
            json={self._resource.segment: elements},
            headers={"idempotency-key": batch_key(writes)},
            effect="write",
            accept=_REFUSALS,
        )
        if answer.status in _REFUSALS:
            if len(writes) > 1 and not _is_replay(answer):
                pairs = {write.ref: element for write, element in zip(writes, elements, strict=True)}
                return one_by_one(writes, lambda write: self._elements([write], [pairs[write.ref]])[0])
            return [_refusal(write, answer) for write in writes]
        results = self._results(answer)
        matched = self._matched(writes, elements, results)
        return [self._judged(write, result, answer) for write, result in zip(writes, matched, strict=True)]

    def _results(self, answer: Answer) -> list[bytes]:
        body = answer.json_body()
        try:
            found = leaf(body, (self._resource.segment,))
            return [] if found is None else [bytes(one) for one in msgspec.json.decode(found, type=list[msgspec.Raw])]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Ambiguous(f"expected a list of results, found {wrong}", where=answer.where) from None

    def _matched(
        self, writes: Sequence[Write], elements: Sequence[Mapping[str, Any]], results: Sequence[bytes]
    ) -> list[bytes | None]:
        """Each write's own result: by id, else by the natural field, else (Xero keeps the order) by position."""
        by_id = {mark_text(leaf(one, (self._resource.id_field,))): one for one in results}
        natural = self._resource.natural
        names = [mark_text(leaf(one, (natural,))) for one in results]
        matched: list[bytes | None] = []
        for position, (write, element) in enumerate(zip(writes, elements, strict=True)):
            sent = element.get(natural)
            here = results[position] if len(results) == len(writes) else None
            if write.source_id is not None:
                matched.append(by_id.get(write.source_id, here if _has_errors(here) else None))
            elif here is not None and (sent is None or names[position] in (None, sent) or _has_errors(here)):
                matched.append(here)
            else:
                matched.append(results[names.index(sent)] if sent is not None and names.count(sent) == 1 else None)
        return matched

    def _judged(self, write: Write, result: bytes | None, answer: Answer) -> Receipt:
        if result is None:
            return unknown(write, "the answer does not speak of this write", status=answer.status)
        verdict = _verdict(result)
        if verdict.StatusAttributeString == "ERROR" or verdict.ValidationErrors:
            reason = "; ".join(one.Message for one in verdict.ValidationErrors) or "refused without a reason"
            return rejected(write, reason, status=400)
        found_id = mark_text(leaf(result, (self._resource.id_field,)))
        if not found_id or set(found_id) <= {"0", "-"}:
            return unknown(write, "the answer carries no id", status=answer.status)
        if write.source_id is not None and found_id != write.source_id:
            return unknown(write, "the answer speaks of another record", status=answer.status)
        return Receipt(write.ref, "done", source_id=found_id, record=result, status=answer.status)

    def _delete_item(self, write: Write) -> Receipt:
        path = f"{self._resource.path}/{segment(str(write.source_id))}"
        answer = self._client.send("DELETE", path, effect="write", accept=_REFUSALS)
        if answer.status in _REFUSALS and answer.status != 404:
            return _refusal(write, answer)
        return Receipt(write.ref, "done", source_id=write.source_id, status=answer.status)

    def _delete_payment(self, write: Write) -> Receipt:
        path = f"{self._resource.path}/{segment(str(write.source_id))}"
        headers = {"idempotency-key": write.key}
        answer = self._client.send(
            "POST", path, json={"Status": "DELETED"}, headers=headers, effect="write", accept=_REFUSALS
        )
        if answer.status == 404 or b"already been deleted" in answer.body:
            return Receipt(write.ref, "done", source_id=write.source_id, reason="it was gone", status=answer.status)
        if answer.status in _REFUSALS:
            return _refusal(write, answer)
        results = self._results(answer)
        return self._judged(write, results[0] if len(results) == 1 else None, answer)


def _shaped(value: Mapping[str, Any], *, is_new: bool) -> dict[str, Any]:
    """A payload as Xero takes it: empty text fields as "", other empty ones left out; nothing empty in a new record."""
    shaped: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            shaped[name] = _shaped(inner, is_new=is_new)
        elif isinstance(inner, list | tuple):
            shaped[name] = [_shaped(one, is_new=is_new) if isinstance(one, Mapping) else one for one in inner]
        elif inner is not None:
            shaped[name] = inner
        elif name in _TEXTS and not is_new:
            shaped[name] = ""
    if "PhoneNumber" in shaped:  # a number written whole: codes left from before would stand in front of it
        shaped = {"PhoneCountryCode": "", "PhoneAreaCode": "", **shaped}
    return shaped


def _verdict(result: bytes) -> _Verdict:
    try:
        return msgspec.json.decode(result, type=_Verdict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Verdict()


def _has_errors(result: bytes | None) -> bool:
    if result is None:
        return False
    verdict = _verdict(result)
    return verdict.StatusAttributeString == "ERROR" or bool(verdict.ValidationErrors)


def _is_replay(answer: Answer) -> bool:
    """Xero knows this key with other content: something was sent under it before."""
    return b"dempotency" in answer.body


def _refusal(write: Write, answer: Answer) -> Receipt:
    if _is_replay(answer):
        return unknown(write, "this idempotency key was used for another request", status=answer.status)
    try:
        error = msgspec.json.decode(answer.body, type=_Exception)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return rejected(write, excerpt(answer.body).removeprefix(": ") or "refused", status=answer.status)
    reasons = [one.Message for element in error.Elements for one in element.ValidationErrors]
    return rejected(write, "; ".join(reasons) or error.Message or "refused", status=answer.status)
