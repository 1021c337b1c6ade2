"""All that is wrong with what an operator sends or types is told at once, in the words of the door that it came by."""

import ast
import re
from typing import Any

import pytest
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from tests.builders.admin_api import create_endpoint, create_model, create_provider
from tests.harness.admin_client import Operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import ROOT, Product

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def _faults(answer: Any) -> list[str]:
    error = answer["error"]
    return [fault["param"] for fault in error.get("details", {}).get("faults", [error])]


def test_types_bounds_and_unknown_fields_come_in_one_answer(ops: Operator, finance: Operator) -> None:
    key = {
        "name": " ",
        "cap": {"amount_usd": "-1"},
        "requests_per_minute": 0,
        "concurrency": 2**31,
        "models": "x",
        "y": 1,
    }
    assert set(_faults(ops("POST", "/keys", {**key, "y": 1}, 400))) == {
        *("y", "name", "models", "requests_per_minute", "concurrency", "cap.amount_usd", "account"),
    }
    endpoint = {"model": 1, "cost_usd_per_mtok": "-1", "priority": -1, "weight": 0, "max_batch": 0, "concurrency": 0}
    assert set(_faults(ops("POST", "/endpoints", endpoint, 400))) == {*endpoint, "provider"}
    provider = {"name": "Not A Name", "kind": "x", "retention_days": -1, "regions": "eu"}
    assert set(_faults(ops("POST", "/providers", provider, 400))) == {*provider}
    price = {"usd_per_mtok": "-1", "batch_usd_per_mtok": 1, "effective_at": "2027-01-01"}
    assert set(_faults(finance("POST", "/prices", price, 400))) == {*price, "model"}
    grant = {"amount_usd": "0", "source": "", "kind": "x"}
    assert set(_faults(finance("POST", "/accounts/nobody/grants", grant, 400))) == {*grant}
    assert set(_faults(ops("POST", "/members", {"email": "ann", "role": "x"}, 400))) == {"email", "role"}


def test_what_no_type_of_the_operation_reads_comes_with_all_else(ops: Operator) -> None:
    """Whatever is wrong is in one answer, wherever it is: in the query, in the body, in the path."""
    body = {"name": " ", "concurrency": 0, "y": 1}
    assert set(_faults(ops("POST", "/keys?colour=red&dry_run=maybe", body, 400))) == {
        *("colour", "dry_run", "y", "name", "concurrency", "account"),
    }
    assert set(_faults(ops("GET", "/keys?colour=red&limit=many&limit=2", None, 400))) == {"colour", "limit"}
    assert set(_faults(ops("GET", "/usage?colour=red&group_by=x&from=soon", None, 400))) >= {
        *("colour", "group_by", "from"),
    }
    refused = ops("POST", "/keys?colour=red", b"{", 400)
    assert _faults(refused) == ["colour", None]
    assert "It ends too early." in refused["error"]["message"]
    assert set(_faults(ops("POST", "/keys?colour=red", b'{"name": "\\u0000"}', 400))) == {"colour", None, "account"}
    assert set(_faults(ops("POST", "/keys/nobody/revoke?colour=red", {"x": 1}, 404))) == {"key", "colour", "x"}


def test_all_that_a_body_names_and_that_is_not_there_comes_in_one_answer(ops: Operator) -> None:
    ops("POST", "/accounts", {"name": "Named"}, 201)
    both = {"model": "nobody", "provider": "nobody"}
    assert _faults(ops("POST", "/endpoints", both, 404)) == ["model", "provider"]
    assert _faults(ops("POST", "/endpoints", {**both, "model": "all-MiniLM-L6-v2"}, 404)) == ["provider"]
    named = {"account": "nobody", "models": ["all-MiniLM-L6-v2", "nobody", "other"]}
    assert _faults(ops("POST", "/keys", named, 404)) == ["account", "models[1]", "models[2]"]
    made = ops("POST", "/keys", {"account": "Named", "models": ["all-MiniLM-L6-v2", MODEL]}, 201)
    assert made["models"] == [MODEL]


def _typed(product: Product, *arguments: str) -> tuple[int, list[str]]:
    environment = {name: value for name, value in product.environment.items() if "GIGAROUTER" in name or "URL" in name}
    result = CliRunner().invoke(app, list(arguments), env=environment)
    return result.exit_code, result.stderr.splitlines()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("keys", "create"), ["account"]),
        (("grants", "create", "Acme"), ["amount_usd", "--source"]),
        (
            ("keys", "create", "--use", "x", "--concurrency", "a", "--cap-amount-usd", "x", "--expires-at", "soon"),
            ["account", "--use", "--concurrency", "--cap-amount-usd", "--expires-at"],
        ),
        (("usage", "--from", "soon", "--group-by", "colour"), ["--from", "--group-by"]),
        (
            ("keys", "edit", "gr_1", "--unset", "use", "--expires-at", "soon", "--concurrency", "0"),
            ["--unset", "--expires-at", "--concurrency"],
        ),
        (
            ("providers", "create", "Not A Name", "x", "--credential-file", "/nowhere", "--retention-days", "-1"),
            ["/nowhere", "name", "kind", "--retention-days"],
        ),
        (("keys", "create", "nobody", "--models", "nobody"), ["There is no account nobody.", "There is no model"]),
        (("endpoints", "create", "nobody", "nobody"), ["There is no model", "There is no provider"]),
        (("models", "create", "a/b", "acme", "--dimensions", "x"), ["--summary", "--dimensions", "--max-input-tokens"]),
    ],
)
def test_the_command_line_tells_all_at_once_by_its_own_names(
    product: Product, arguments: tuple[str, ...], told: list[str]
) -> None:
    code, lines = _typed(product, *arguments)
    assert code in (2, 4)
    for words in told:
        assert sum(line.startswith(words) for line in lines) == 1, lines


def test_what_has_to_be_given_is_in_the_help(product: Product) -> None:
    result = CliRunner().invoke(app, ["grants", "create", "--help"], env={"COLUMNS": "200"})
    assert result.stdout.count("[required]") == 3


def test_a_sentence_of_the_api_comes_with_the_options_of_the_command(product: Product, ops: Operator) -> None:
    model = create_model(ops, "acme/by-options")
    with Upstream(384).in_thread() as upstream:
        provider = create_provider(ops, upstream, "by-options")
        endpoint = create_endpoint(ops, model, provider)
        code, lines = _typed(product, "endpoints", "activate", str(endpoint["id"]))
        assert (code, "--allow-zero-cost" in lines[-1], "allow_zero_cost" in lines[-1]) == (1, True, False)
        unused = create_provider(ops, upstream, "without-endpoint")
        assert _typed(product, "providers", "test", str(unused["id"]))[1][0].startswith("--upstream-model is missing: ")


def test_no_sentence_of_the_api_names_an_option_of_the_command_line() -> None:
    found = []
    for file in sorted((ROOT / "router").rglob("*.py")):
        tree = ast.parse(file.read_text())
        holders = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        docstrings = {id(node.body[0].value) for node in holders if isinstance(node.body[0], ast.Expr)}
        found += [
            f"{file.name}:{node.lineno} {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
            if re.search(r"(^|[ (`])--[a-z]", node.value)
        ]
    assert not found
