"""Operators keep the catalogue over HTTP and at the machine: models and their facts, the license record, one test."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from tests.builders.admin_api import REQUIRED_FACTS, create_endpoint, create_model, create_provider
from tests.harness.admin_client import Operator, admin_command
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

SEEDED, NON_COMMERCIAL = "sentence-transformers/all-MiniLM-L6-v2", "codefuse-ai/F2LLM-v2-4B"
WHOLE = REQUIRED_FACTS | {
    "id": "acme/whole",
    "published_on": "2026-05-01",
    "aliases": ["whole-1"],
    "trained_dimensions": [128, 256],
    "only_trained_dimensions": True,
    "max_input_tokens_ceiling": 8192,
    "pooling": "mean",
    "numerics": "bf16",
    "tokenizer": "acme/whole",
    "vocabulary_size": 32000,
    "special_tokens": 2,
    "prompts": {"query": "query: "},
    "revision": "e04d1a04f00d",
    "parameters": 22_000_000,
    "languages": "de, en",
    "estimate": {
        "usd_per_mtok": "0.02",
        "source": "acme.example/prices",
        "stated_on": "2026-11-01",
        "is_list_price": True,
        "note": "",
    },
    "note": "For tests.",
}


def failing(product: Product, *arguments: str) -> str:
    """What a command says that ends with a fault."""
    environment = {name: value for name, value in product.environment.items() if "GIGAROUTER" in name or "URL" in name}
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code != 0
    return result.stderr


def test_a_model_is_added_whole_and_every_fact_is_shown(ops: Operator) -> None:
    assert ops("POST", "/models?dry_run=1", WHOLE)["status"] == "coming_soon"
    ops("GET", "/models/acme/whole", expects=404)
    made = ops.ask("POST", "/models", WHOLE, idempotency_key="whole")
    again = ops.ask("POST", "/models", WHOLE, idempotency_key="whole")
    assert (made.status_code, again.text) == (201, made.text)
    assert again.headers["idempotency-replayed"] == "true"
    shown = ops("GET", made.headers["location"].removeprefix("/admin/v1"))
    assert shown.items() >= WHOLE.items()
    assert (shown["status"], shown["licenses"]) == ("coming_soon", [])
    assert shown["space"].startswith("whole@e04d1a04/mean/l2/prompts-")
    (row,) = ops("GET", "/audit?subject=acme/whole")["data"]
    assert (row["action"], row["actor"], row["before"]) == ("model.add", ops.member, None)
    assert row["after"]["vocabulary_size"] == 32000


def test_an_edit_changes_what_is_given_and_tells_from_what_to_what(ops: Operator) -> None:
    path = f"/models/{create_model(ops, 'acme/edited', languages='de', prompts={'query': 'q: '})}"
    assert ops("PATCH", path, {"note": "x"}, 428)["error"]["code"] == "precondition_required"
    before = ops.ask("GET", path)
    edited = ops.edit(
        path, {"revision": "0123456789", "published_on": "2026-01-02", "aliases": ["edited-1"], "reason": "read"}
    )
    assert (edited["languages"], edited["prompts"]) == ("de", {"query": "q: "})
    assert edited["space"] != before.json()["space"]
    stale = ops("PATCH", path, {"note": "x"}, 409, if_match=before.headers["etag"])
    assert stale["error"]["code"] == "version_conflict"
    row = ops("GET", "/audit?subject=acme/edited")["data"][0]
    assert (row["action"], row["before"]["revision"], row["after"]["revision"]) == ("model.edit", None, "0123456789")
    assert (row["before"]["space"], row["reason"]) == (before.json()["space"], "read")
    assert set(row["after"]) == {"revision", "published_on", "aliases", "space"}
    assert ops.edit(path, {"published_on": None, "revision": None})["space"] == before.json()["space"]
    assert ops.edit(path, {"aliases": []})["aliases"] == []


@pytest.mark.parametrize(
    ("facts", "status", "param"),
    [
        ({"id": "no-slash"}, 400, "id"),
        ({"id": "a/" + "b" * 200}, 400, "id"),
        ({"id": SEEDED}, 409, "id"),
        ({"summary": ""}, 400, "summary"),
        ({"summary": "x" * 1001}, 400, "summary"),
        ({"note": "\0"}, 400, None),
        ({"dimensions": -1}, 400, "dimensions"),
        ({"dimensions": 1 << 40}, 400, "dimensions"),
        ({"dimensions": "384"}, 400, "dimensions"),
        ({"trained_dimensions": [0]}, 400, "trained_dimensions"),
        ({"trained_dimensions": [64, 64]}, 400, "trained_dimensions"),
        ({"max_input_tokens_ceiling": 1}, 400, "max_input_tokens_ceiling"),
        ({"special_tokens": 513}, 400, "special_tokens"),
        ({"vocabulary_size": 30522}, 400, "tokenizer"),
        ({"prompts": {"passage": "p: "}}, 400, "prompts"),
        ({"pooling": "Mean Pooling"}, 400, "pooling"),
        ({"revision": "é"}, 400, "revision"),
        ({"parameters": 1 << 63}, 400, "parameters"),
        ({"published_on": "2026-13-01"}, 400, "published_on"),
        ({"estimate": {"usd_per_mtok": "1e3", "source": "x", "stated_on": "2026-01-01"}}, 400, "estimate.usd_per_mtok"),
        ({"estimate": {"usd_per_mtok": "9000.01", "source": "x", "stated_on": "2026-01-01"}}, 400, "estimate"),
        ({"aliases": ["a/b"]}, 400, "aliases"),
        ({"aliases": ["all-MiniLM-L6-v2"]}, 409, "aliases"),
        ({"status": "live"}, 400, "status"),
        ({"space": "mine"}, 400, "space"),
    ],
)
def test_facts_that_cannot_be_are_refused_by_name(
    ops: Operator, facts: dict[str, object], status: int, param: str | None
) -> None:
    error = ops("POST", "/models", REQUIRED_FACTS | {"id": "acme/refused"} | facts, status)["error"]
    assert error["param"] == param
    ops("GET", "/models/acme/refused", expects=404)


def test_no_edit_moves_a_model_out_of_the_space_that_its_endpoints_serve(ops: Operator, upstream: Upstream) -> None:
    path = f"/models/{create_model(ops, 'acme/spaced')}"
    first = ops.edit(path, {"pooling": "mean"})["space"]
    create_endpoint(ops, "acme/spaced", create_provider(ops, upstream, "spaced"))
    for fact, value in (
        ("pooling", "last-token"),
        ("normalized", False),
        ("revision", "abc"),
        ("numerics", "int8"),
        ("prompts", {"query": "q: "}),
        ("owned_by", "other"),
    ):
        error = ops.edit(path, {fact: value, "note": "seen"}, 409)["error"]
        assert error["param"] == fact
        assert "registered for its vector space" in error["message"]
    shown = ops.edit(path, {"note": "seen", "pooling": "mean", "max_input_tokens": 1024})
    assert (shown["space"], shown["max_input_tokens"]) == (first, 1024)


def test_what_customers_of_a_served_model_rely_on_stays(product: Product, ops: Operator, finance: Operator) -> None:
    with Upstream(384).in_thread() as upstream:
        model = create_model(ops, "acme/served", aliases=["served-1"])
        endpoint = str(create_endpoint(ops, model, create_provider(ops, upstream, "served"))["id"])
        claim = {"model": model, "license": "Apache-2.0", "source": "card", "evidence": "https://acme.example"}
        ops("POST", "/claims", claim, 201)
        finance("POST", "/prices", {"model": model, "usd_per_mtok": "0.01"}, 201)
        ops("POST", f"/endpoints/{endpoint}:activate", {"as_reference": "its maker's own", "allow_zero_cost": True})
        ops("POST", f"/models/{model}:launch")
    path = f"/models/{model}"
    for fact, value in (("dimensions", 256), ("aliases", []), ("max_input_tokens", 8), ("pooling", "cls")):
        error = ops.edit(path, {fact: value}, 409)["error"]
        assert (error["param"], "customers rely on it" in error["message"]) == (fact, True)
    assert ops.edit(path, {"summary": "Better said."})["summary"] == "Better said."
    assert "customers rely on it" in failing(product, "models", "edit", model, "--dimensions", "256")


def test_a_model_that_ends_names_the_one_that_takes_its_place(ops: Operator) -> None:
    old, new = create_model(ops, "acme/old"), create_model(ops, "acme/new", aliases=["new-1"])
    for wrong, status in ((old, 409), ("acme/nobody", 404)):
        ops("POST", f"/models/{old}:retire?dry_run=1", {"successor": wrong}, status)
    dry = ops("POST", f"/models/{old}:retire?dry_run=1", {"successor": "new-1"})
    assert (dry["successor"], dry["impact"]["accounts"], dry["impact"]["first"]) == (new, 0, [])
    done = ops("POST", f"/models/{old}:retire", {"successor": "new-1", "reason": "It is better."})
    assert (done["status"], done["successor"], done["impact"]) == ("retired", new, None)
    row = ops("GET", f"/audit?subject={old}")["data"][0]
    assert (row["after"], row["reason"]) == ({"status": "retired", "successor": new}, "It is better.")
    assert "takes nobody's place" in ops("POST", f"/models/{new}:retire", {"successor": old}, 409)["error"]["message"]
    assert ops("POST", f"/models/{old}:announce", {})["successor"] is None


def test_the_command_line_adds_and_edits_by_the_same_rules(product: Product, ops: Operator) -> None:
    def admin(*arguments: str) -> Any:
        return admin_command(product.environment, *arguments)

    needed = ["acme", "--summary", "S", "--dimensions", "384", "--max-input-tokens", "512"]
    assert "normalized" in failing(product, "models", "create", "acme/typed", *needed)
    needed += ["--normalized", "--prompts", "query=find: ", "--aliases", "typed-1", "--trained-dimensions", "64"]
    assert admin("models", "create", "acme/typed", *needed, "--dry-run")["status"] == "coming_soon"
    made = admin("models", "create", "acme/typed", *needed)
    assert (made["prompts"], made["aliases"], made["trained_dimensions"]) == ({"query": "find: "}, ["typed-1"], [64])
    assert "already" in failing(product, "models", "create", "acme/typed", *needed)
    edited = admin("models", "edit", "acme/typed", "--revision", "abc", "--unset", "aliases", "--unset", "prompts")
    assert (edited["aliases"], edited["prompts"], edited["revision"]) == ([], {}, "abc")
    assert "--unset takes" in failing(product, "models", "edit", "acme/typed", "--unset", "summary")
    assert "is org/name" in failing(product, "models", "create", "typed", *needed)
    assert ops("GET", "/models/acme/typed")["space"] == edited["space"]


def test_a_license_record_tells_what_held_when(product: Product, ops: Operator, finance: Operator) -> None:
    ruling = {"model": NON_COMMERCIAL, "license": "CC-BY-NC-ND-4.0", "reason": "its text", "evidence": "the card"}
    first = ops("POST", "/resolutions", ruling, 201)
    second = ops("POST", "/resolutions", ruling | {"license": "Apache-2.0", "reason": "a letter"}, 201)
    was = ops("GET", f"/resolutions/{first['id']}")
    assert (first["status"], was["status"], was["replaced_at"]) == ("in_force", "replaced", second["decided_at"])
    assert set(was["settles"]) == {claim["id"] for claim in ops("GET", f"/claims?model={NON_COMMERCIAL}")["data"]}

    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    charging = {"model": NON_COMMERCIAL, "term": "charging", "signed_by": "Ada, licensor", "evidence": "mail"}
    signed = [finance("POST", "/waivers", charging | more, 201)["id"] for more in ({}, {"expires_at": soon}, {})]
    revoked = finance("POST", f"/waivers/{signed[0]}/revoke")
    assert (revoked["status"], revoked["revoked_by"]) == ("revoked", finance.member)
    assert finance("GET", f"/waivers/{signed[0]}") == revoked
    finance("POST", f"/waivers/{signed[0]}/revoke", expects=404)
    while finance("GET", f"/waivers/{signed[1]}")["status"] != "expired":
        time.sleep(0.1)

    def listed(status: str) -> list[str]:
        found = finance("GET", f"/waivers?model={NON_COMMERCIAL}&status={status}")["data"]
        return [waiver["id"] for waiver in found]

    assert [listed(status) for status in ("revoked", "expired", "in_force")] == [[one] for one in signed]
    assert [row["id"] for row in ops("GET", f"/resolutions?model={NON_COMMERCIAL}&status=replaced")["data"]] == [
        first["id"]
    ]
    assert "in_force, replaced" in ops("GET", "/resolutions?status=expired", expects=400)["error"]["message"]
    ops("GET", "/waivers?model=acme/none", expects=404)

    def typed(noun: str, *status: str) -> set[str]:
        rows = admin_command(product.environment, noun, "list", "--model", NON_COMMERCIAL, *status)["data"]
        return {row["id"] for row in rows}

    assert typed("resolutions", "--status", "replaced") == {first["id"]}
    assert typed("resolutions", "--status", "in_force") == {second["id"]}
    assert typed("waivers") >= {*signed[:2]}
    assert typed("waivers", "--status", "in_force") == {signed[2]}


def test_an_acceptance_is_shown_with_who_said_yes_and_when(ops: Operator) -> None:
    account = ops("POST", "/accounts", {"name": "Accepting"}, 201)["id"]
    body = {"account": account, "license": "LicenseRef-Gemma", "accepted_by": "ada@example.com"}
    made = ops.ask("POST", "/acceptances", body)
    assert ops("GET", made.headers["location"].removeprefix("/admin/v1")) == made.json()
    again = ops("POST", "/acceptances", body | {"accepted_by": "bob@example.com"}, 201)
    assert again == made.json()
    assert again["accepted_by"] == "ada@example.com"
    assert ops("GET", f"/acceptances?account={account}")["data"] == [again]
    ops("GET", "/acceptances/acc_" + "0" * 32, expects=404)


@pytest.mark.parametrize("noun", ["endpoints", "providers"])
def test_a_second_test_is_refused_while_one_runs_whichever_process_asks(
    product: Product, ops: Operator, noun: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as background:
        silent.settimeout(30)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        body = {"name": f"silent-{noun}", "kind": "openai", "base_url": url, "credential": "sk-x"}
        provider = ops("POST", "/providers", body, 201)["id"]
        endpoint = ops("POST", "/endpoints", {"model": SEEDED, "provider": provider}, 201)["id"]
        path = f"/{noun}/{endpoint if noun == 'endpoints' else provider}/test"
        first = background.submit(ops, "POST", f"{path}?dry_run=1")
        waiting, _ = silent.accept()
        refused = ops("POST", path, expects=409)["error"]
        assert (refused["code"], "is running" in refused["message"]) == ("conflict", True)
        if noun == "endpoints":
            assert "is running" in failing(product, "endpoints", "test", endpoint)
        silent.close()
        waiting.close()
        assert not first.result()["passed"]
        assert not ops("POST", path)["passed"]


def test_an_imported_cost_names_its_source_until_someone_sets_another(product: Product, ops: Operator) -> None:
    provider = {"name": "by-hand", "kind": "openai", "base_url": "https://api.example.com/v1"}
    ops("POST", "/providers", provider, 201)
    ops("POST", "/endpoints", {"model": SEEDED, "provider": "by-hand", "cost_usd_per_mtok": "0.01"}, 201)
    admin_command(product.environment, "manifest", "import-litellm")
    rows = admin_command(product.environment, "endpoints", "list")["data"]
    imported = next(row for row in rows if row["cost_source"])
    assert imported["cost_source"].startswith("LiteLLM ")
    path = f"/endpoints/{imported['id']}"
    assert ops("GET", path)["cost_source"] == imported["cost_source"]
    assert ops("GET", f"/endpoints?model={imported['model']}")["data"][0]["cost_source"] == imported["cost_source"]
    assert ops.edit(path, {"weight": 5})["cost_source"] == imported["cost_source"]
    assert ops.edit(path, {"cost_usd_per_mtok": "123.00"})["cost_source"] is None
    assert [row["cost_source"] for row in rows if row["provider_name"] == "by-hand"] == [None]
