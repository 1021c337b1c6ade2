"""Creates providers, endpoints and models through the admin API, as an operator does."""

from typing import Any

from tests.harness.admin_client import Operator
from tests.harness.fake_upstream import Upstream

REQUIRED_FACTS = {
    "owned_by": "acme",
    "summary": "Acme's.",
    "dimensions": 384,
    "max_input_tokens": 512,
    "normalized": True,
}


def create_provider(ops: Operator, upstream: Upstream, name: str, **fields: object) -> dict[str, Any]:
    """A provider of kind ``openai`` with a credential."""
    body = {"name": name, "kind": "openai", "base_url": upstream.base_url, "credential": "sk-0123456789abcdef"}
    created: dict[str, Any] = ops("POST", "/providers", body | fields, 201)
    return created


def create_endpoint(ops: Operator, model: str, provider: dict[str, Any], **fields: object) -> dict[str, Any]:
    """A draft."""
    created: dict[str, Any] = ops("POST", "/endpoints", {"model": model, "provider": provider["id"], **fields}, 201)
    return created


def create_model(ops: Operator, id: str, **facts: object) -> str:
    """A model that is coming soon; its id."""
    created: dict[str, Any] = ops("POST", "/models", REQUIRED_FACTS | {"id": id} | facts, 201)
    return str(created["id"])
