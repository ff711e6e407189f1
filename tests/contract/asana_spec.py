"""Asana's published description as a judge of requests and answers, with what it says in words made part of it.

- Lists show compact records, "and more fields where `opt_fields` asks for them": list items are judged as full records.
- A custom field's value is "an enum GID, string, number, or object": its type is left open, though declared as string.
- `nullable` beside `allOf` means that the whole may be null (OpenAPI 3.0's own reading would never allow null).
- Nothing that is not described is let pass, in bodies of requests and in records of answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

HOST = "https://app.asana.com"
BASE = "/api/1.0"
_FULL = {"ProjectCompact": "ProjectResponse", "TaskCompact": "TaskResponse", "UserCompact": "UserResponse"}
_FULL |= {"WorkspaceCompact": "WorkspaceResponse", "TeamCompact": "TeamResponse"}
_CUSTOM_VALUES = ("ProjectRequest", "ProjectUpdateRequest", "TaskRequestBase")


class Judge:
    """Agrees, or raises openapi_core's errors and AssertionError."""

    def __init__(self, folder: Path) -> None:
        loaded: dict[str, Any] = yaml.load((folder / "asana" / "asana_oas.yaml").read_text(), yaml.CSafeLoader)
        self.description = _as_meant(loaded)
        self._judge = OpenAPI.from_dict(self.description, config=Config(spec_validator_cls=None))

    def exchange(self, request: httpx.Request, answer: httpx.Response) -> None:
        """A request with its answer; the actions of a batch one by one as well."""
        asked = self.request(request)
        status, kind = answer.status_code, answer.headers["content-type"].split(";")[0]
        self._judge.validate_response(asked, MockResponse(answer.content, status, dict(answer.headers), kind))
        if request.url.path.endswith("/batch") and status == 200:
            results = answer.json()["data"]
            actions = msgspec.json.decode(request.content)["data"]["actions"]
            assert len(results) == len(actions)
            for action, result in zip(actions, results, strict=True):
                self._answered(action, result)

    def request(self, request: httpx.Request) -> MockRequest:
        """A request alone; the actions of a batch one by one as well."""
        asked = MockRequest(
            HOST,
            request.method,
            request.url.path,
            args=dict(request.url.params),
            headers={},
            data=request.content or None,
        )
        self._judge.validate_request(asked)
        path, operation = self._operation(request.method, request.url.path)
        known = {self._name(one) for one in [*path.get("parameters", []), *operation.get("parameters", [])]}
        assert set(request.url.params) <= known, f"{request.method} {request.url}"
        if request.url.path.endswith("/batch"):
            for action in msgspec.json.decode(request.content)["data"]["actions"]:
                self._judge.validate_request(_plain(action))
        return asked

    def _answered(self, action: dict[str, Any], result: dict[str, Any]) -> None:
        body = msgspec.json.encode(result["body"])
        given = MockResponse(body, result["status_code"], result["headers"], "application/json")
        self._judge.validate_response(_plain(action), given)

    def _operation(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
        segments = path.removeprefix(f"{BASE}/").split("/")
        for template, item in self.description["paths"].items():
            parts = template.strip("/").split("/")
            if len(parts) == len(segments) and all(
                part.startswith("{") or part == one for part, one in zip(parts, segments, strict=True)
            ):
                return item, item[method.lower()]
        raise AssertionError(f"no such path: {path}")

    def _name(self, parameter: dict[str, Any]) -> str:
        if "$ref" in parameter:
            parameter = self.description["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
        return str(parameter["name"])


def _plain(action: dict[str, Any]) -> MockRequest:
    """An action of a batch as the request that it stands for."""
    method, options = action["method"].upper(), action.get("options", {})
    args = {"opt_fields": ",".join(options["fields"])} if "fields" in options else {}
    data = msgspec.json.encode({"data": action["data"]}) if method in ("POST", "PUT") else None
    return MockRequest(HOST, method, f"{BASE}{action['relative_path']}", args=args, headers={}, data=data)


def _as_meant(description: dict[str, Any]) -> dict[str, Any]:
    schemas = description["components"]["schemas"]
    for name in _CUSTOM_VALUES:
        _member(schemas[name], "custom_fields")["additionalProperties"] = {}
    for item in description["paths"].values():
        for operation in (one for one in item.values() if isinstance(one, dict)):
            _strict(operation.get("requestBody", {}))
            for status, answer in operation["responses"].items():
                if str(status).startswith("2"):
                    _strict(answer)
    meant: dict[str, Any] = _nullable({**description, "openapi": "3.1.0"})
    return meant


def _member(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """A property of a schema that is put together from several."""
    for part in schema["allOf"]:
        if name in part.get("properties", {}):
            found: dict[str, Any] = part["properties"][name]
            return found
    raise AssertionError(f"no {name}")


def _strict(body: dict[str, Any]) -> None:
    """Close the envelope and what stands in it; list items are full records."""
    for content in body.get("content", {}).values():
        envelope = content.get("schema", {})
        if "data" not in envelope.get("properties", {}):
            continue
        envelope["unevaluatedProperties"] = False
        data = envelope["properties"]["data"]
        if "$ref" in data:
            envelope["properties"]["data"] = {"allOf": [data], "unevaluatedProperties": False}
        elif "$ref" in data.get("items", {}):
            name = data["items"]["$ref"].rpartition("/")[2]
            full = {"$ref": f"#/components/schemas/{_FULL.get(name, name)}"}
            data["items"] = {"allOf": [full], "unevaluatedProperties": False}


def _nullable(value: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema says it, and names that are text."""
    if isinstance(value, list):
        return [_nullable(one) for one in value]
    if not isinstance(value, dict):
        return value
    out = {str(name): _nullable(one) for name, one in value.items() if name != "nullable"}  # statuses are numbers in it
    if value.get("nullable") is True and isinstance(value.get("type"), str):
        out["type"] = [value["type"], "null"]
        if "enum" in out and None not in out["enum"]:
            out["enum"] = [*out["enum"], None]
    if any(isinstance(part, dict) and part.get("nullable") is True for part in value.get("allOf", ())):
        return {"anyOf": [out, {"type": "null"}]}
    return out
