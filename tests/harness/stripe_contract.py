"""Holds Stripe's own contract against what is sent to the stand-in and what it answers.

Bodies refuse unknown fields at every depth. An operation that is called and that the contract lacks is a fault, which
the stand-in remembers and the test's end reports.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator

FILE = Path(__file__).parents[1] / "contract" / "stripe.openapi.json"
FORM = "application/x-www-form-urlencoded"
_PART = re.compile(r"[^\[\]]+")


class ContractBroken(AssertionError):
    """What was sent or answered is not what Stripe's contract has."""


@cache
def contract() -> dict[str, Any]:
    """The contract as JSON Schema: ``nullable`` is OpenAPI 3.0's own word."""
    read: dict[str, Any] = _nullable(json.loads(FILE.read_text()))
    return read


def _nullable(node: Any) -> Any:
    if isinstance(node, list):
        return [_nullable(one) for one in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _nullable(value) for key, value in node.items()}
    return {"anyOf": [plain, {"type": "null"}]} if plain.pop("nullable", None) is True else plain


class Call:
    """One operation of the contract with the parts of its path."""

    def __init__(self, template: str, operation: dict[str, Any], parts: dict[str, str]) -> None:
        self.template = template
        self.parts = parts
        self._operation = operation

    def read(self, query: str, body: bytes) -> dict[str, Any]:
        """The parameters, typed as the contract has them. Raises :class:`ContractBroken`."""
        text = body.decode() if body else query
        if body:
            schema = _closed(self._operation["requestBody"]["content"][FORM]["schema"])
        else:
            listed = [one for one in self._operation.get("parameters", []) if one["in"] == "query"]
            properties = {one["name"]: _closed(one["schema"]) for one in listed}
            schema = {"type": "object", "properties": properties, "additionalProperties": False}
        sent = _typed(_nested(text), schema)
        _check(schema, sent, f"request {self.template}")
        assert isinstance(sent, dict)
        return sent

    def check_answer(self, status: int, answer: Any) -> None:
        """Raises :class:`ContractBroken` for an answer that Stripe would not give."""
        responses = self._operation["responses"]
        response = responses["200"] if status == 200 else responses["default"]
        _check(response["content"]["application/json"]["schema"], answer, f"answer of {self.template}")


def find_call(method: str, path: str) -> Call:
    """The operation of a path. Raises :class:`ContractBroken` where the contract has none."""
    for template, operations in contract()["paths"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        if method.lower() in operations and (match := re.fullmatch(pattern, path)):
            return Call(template, operations[method.lower()], match.groupdict())
    raise ContractBroken(f"the contract has no {method} {path}")


def _check(schema: dict[str, Any], value: Any, what: str) -> None:
    whole = {**schema, "components": {"schemas": contract()["components"]["schemas"]}}
    fault = next(iter(sorted(Draft202012Validator(whole).iter_errors(value), key=lambda one: len(one.path))), None)
    if fault is not None:
        raise ContractBroken(f"{what}: {'.'.join(map(str, fault.absolute_path))}: {fault.message[:300]}")


def _closed(schema: Any) -> Any:
    """A schema of what is sent, in which every object has the fields that it names and no others."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) if key != "enum" else value for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed["properties"] = {name: _closed(one) for name, one in schema["properties"].items()}
        if "type" in schema:
            closed.setdefault("additionalProperties", False)
    return closed


def _nested(text: str) -> dict[str, Any]:
    """``a[b][0]=c`` as ``{"a": {"b": {"0": "c"}}}``."""
    root: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
        parts = _PART.findall(key)
        node = root
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        if key.endswith("[]"):
            node.setdefault(parts[-1], {})[str(len(node.get(parts[-1], {})))] = value
        else:
            node[parts[-1]] = value
    return root


def _typed(value: Any, schema: dict[str, Any]) -> Any:
    for option in schema.get("anyOf", []):
        typed = _typed(value, option)
        if not list(Draft202012Validator(option).iter_errors(typed)):
            return typed
    match schema.get("type"):
        case "integer" if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            return int(value)
        case "boolean" if value in ("true", "false"):
            return value == "true"
        case "array" if isinstance(value, dict):
            return [_typed(value[key], schema["items"]) for key in sorted(value, key=int)]
        case "object" if isinstance(value, dict):
            known, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
            rest = rest if isinstance(rest, dict) else {}
            return {key: _typed(one, known.get(key, rest)) for key, one in value.items()}
        case _:
            return value
