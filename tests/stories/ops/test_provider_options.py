"""A provider's options are typed and the same in every door: API, document, command line, manifest, page."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from providers.options import option_facts, options_sentence
from providers.protocol import ProviderKind
from router.api.documents import admin_document
from tests.builders.admin_api import create_endpoint, create_model, create_provider
from tests.harness.admin_client import Operator, admin_command
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.house.source import ROOT

URL = "https://api.example.com/v1"
REFUSED: dict[str, tuple[str, dict[str, object], str]] = {
    "misspelt": ("openai", {"pth": "/x"}, "pth"),
    "another kind's": ("openai", {"vendor": "cohere"}, "vendor"),
    "of another type": ("openai", {"path": 7}, "path"),
    "out of bounds": ("openai", {"bytes_per_token": 0}, "bytes_per_token"),
    "a switch as text": ("openai", {"asks_base64": "no"}, "asks_base64"),
    "no path": ("openai", {"path": "embeddings"}, "path"),
    "a key in the path": ("openai", {"path": "/embeddings?api_key=x"}, "path"),
    "no header": ("openai", {"credential_header": "x y"}, "credential_header"),
    "the wire's header": ("openai", {"headers": {"Content-Length": "0"}}, "headers"),
    "a credential among headers": ("openai", {"headers": {"X-Api-Key": "sk-1"}}, "headers"),
    "a header that ends the line": ("openai", {"headers": {"X-A": "a\r\nb"}}, "headers"),
    "a width": ("openai", {"always": {"dimensions": 8}}, "always"),
    "no vendor": ("litellm", {}, "vendor"),
    "an unsupported vendor": ("litellm", {"vendor": "sagemaker"}, "vendor"),
    "another lane": ("worker", {"lane": "fast"}, "lane"),
    "a width of nothing": ("sandbox", {"dimensions": 0}, "dimensions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_kind_does_not_have_is_refused_by_name_in_the_api_and_in_a_file(ops: Operator, case: str) -> None:
    kind, options, name = REFUSED[case]
    body = {"name": "alpha", "kind": kind, "base_url": URL, "options": options}
    error = ops("POST", "/providers", body, 400)["error"]
    assert error["param"] == f"options.{name}"
    assert [one["name"] for one in error["details"]["options"]] == [
        one.name for one in option_facts(ProviderKind(kind))
    ]
    lines = "".join(f"      {key}: {as_yaml(value)}\n" for key, value in options.items())
    file = f"providers:\n  - name: alpha\n    kind: {kind}\n    options:\n{lines or '      {}'}\n"
    (fault,) = ops("POST", "/manifest:plan", {"file": file}, 400)["error"]["details"]["faults"]
    assert (fault["param"], fault["line"]) == (f"providers[0].options.{name}", 5)


def as_yaml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"').replace("\r\n", "\\r\\n")


def test_an_unknown_option_is_answered_with_what_there_is_and_all_faults_at_once(
    product: Product, ops: Operator
) -> None:
    options = {"pth": "/x", "bytes_per_token": "4", "nothing_alike": 1}
    error = ops("POST", "/providers", {"name": "b", "kind": "openai", "base_url": URL, "options": options}, 400)[
        "error"
    ]
    assert error["code"] == "unknown_parameter"
    assert "did you mean path" in error["message"]
    assert options_sentence(ProviderKind.OPENAI) in error["message"]
    assert [one["param"] for one in error["details"]["faults"]] == [f"options.{name}" for name in (
        "pth", "nothing_alike", "bytes_per_token"
    )]  # fmt: skip
    arguments = ("providers", "create", "b", "openai", "--base-url", URL, "--options", "pth=/x")
    environment = {name: value for name, value in product.environment.items() if "GIGAROUTER" in name or "URL" in name}
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 2
    assert "did you mean path" in result.stderr


def test_an_edit_is_held_to_the_kind_that_the_provider_has(ops: Operator, upstream: Upstream) -> None:
    provider = create_provider(ops, upstream, "edited", options={"path": "/v2/embed"})
    assert provider["options"] == {"path": "/v2/embed"}
    refused = ops.edit(f"/providers/{provider['id']}", {"options": {"lane": "batch"}}, 400)["error"]
    assert refused["param"] == "options.lane"
    assert (
        ops.edit(f"/providers/{provider['id']}", {"options": {"bytes_per_token": 4}})["options"]["bytes_per_token"] == 4
    )


def test_what_the_options_say_is_what_is_sent(product: Product, ops: Operator, upstream: Upstream) -> None:
    options = [
        "path=/embeddings?api-version=2024-10-21",
        "credential_header=x-api-key",
        'headers={"OpenAI-Organization": "org-1"}',
        "asks_base64=false",
        'always={"truncation": false}',
    ]
    flags = [part for option in options for part in ("--options", option)]
    made = admin_command(
        product.environment, "providers", "create", "azure", "openai", "--base-url", upstream.base_url, *flags
    )
    ops("POST", f"/providers/{made['id']}/credential", {"credential": "sk-0123456789abcdef"})
    create_endpoint(ops, create_model(ops, "acme/options"), made, upstream_model="m")
    assert ops("POST", f"/providers/{made['id']}/test")["passed"]
    call = upstream.calls[-1]
    assert call.path == "/v1/embeddings?api-version=2024-10-21"
    assert (call.headers["x-api-key"], call.headers["openai-organization"]) == ("sk-0123456789abcdef", "org-1")
    assert "authorization" not in call.headers
    assert call.json["truncation"] is False
    assert "encoding_format" not in call.json


def test_the_document_has_them_as_a_union_by_kind() -> None:
    schemas: dict[str, Any] = admin_document()["components"]["schemas"]
    whole = {"$defs": schemas, **schemas["ProviderCreate"]}
    union = schemas["ProviderCreate"]["discriminator"]
    assert union["propertyName"] == "kind"
    assert set(union["mapping"]) == {kind.value for kind in ProviderKind}
    text = str(whole).replace("#/components/schemas/", "#/$defs/")
    validator = Draft202012Validator(eval(text))
    facts = {"name": "a", "base_url": URL}
    assert validator.is_valid({**facts, "kind": "openai", "options": {"path": "/x"}})
    assert validator.is_valid({**facts, "kind": "litellm", "options": {"vendor": "cohere"}})
    for kind, options in (("openai", {"vendor": "cohere"}), ("worker", {"lane": "fast"}), ("litellm", {"path": "/x"})):
        assert not validator.is_valid({**facts, "kind": kind, "options": options})
    assert schemas["ProviderOut"]["discriminator"] == union


@pytest.mark.parametrize("verb", ["create", "edit"])
def test_help_and_page_tell_every_option(verb: str) -> None:
    told = " ".join(CliRunner().invoke(app, ["providers", verb, "--help"], env={"COLUMNS": "300"}).output.split())
    page = (ROOT / "docs" / "providers.md").read_text()
    for kind in ProviderKind:
        for option in option_facts(kind):
            assert f"{kind}.{option.name} ({option.type}" in told
            assert f"`{option.name}`" in page
