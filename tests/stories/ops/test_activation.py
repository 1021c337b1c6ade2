"""A test tests: what nobody activated gets no traffic, now or later; a cost of 0 is asked about where we pay."""

import time
from typing import Any

import pytest

from tests.builders.admin_api import create_endpoint, create_model, create_provider
from tests.harness.admin_client import Operator, admin_command
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.processes import Product

VOUCHED = {"as_reference": "the maker's own"}
MEANT = {"allow_zero_cost": True}
COUNTER = iter(range(1000))


def a_draft(ops: Operator, upstream: Upstream, **fields: object) -> tuple[str, str]:
    """A provider, and a draft of a model of its own; their paths."""
    name = f"activation-{next(COUNTER)}"
    provider = create_provider(ops, upstream, name)
    endpoint = create_endpoint(ops, create_model(ops, f"acme/{name}"), provider, **fields)
    return f"/providers/{provider['id']}", f"/endpoints/{endpoint['id']}"


def test_a_test_that_passes_puts_nothing_live_and_says_what_does(ops: Operator, upstream: Upstream) -> None:
    _, path = a_draft(ops, upstream, cost_usd_per_mtok="0.01")
    for _ in range(2):
        tested = ops("POST", f"{path}/test", VOUCHED)
        assert (tested["passed"], tested["state"], "activate" in tested["advice"]) == (True, "probing", True)
    assert ops("GET", path)["reason"] == "passed its test, and is not activated yet"
    tested = ops("POST", f"{path}:activate")
    assert (tested["passed"], tested["state"], tested["advice"]) == (True, "live", "")


def test_a_test_may_activate_and_the_command_line_has_both(product: Product, ops: Operator, upstream: Upstream) -> None:
    _, path = a_draft(ops, upstream, cost_usd_per_mtok="0.01")
    assert ops("POST", f"{path}/test", {**VOUCHED, "activate": True})["state"] == "live"
    _, path = a_draft(ops, upstream)
    endpoint = path.rpartition("/")[2]
    reason = ("--as-reference", "the maker's own")
    assert admin_command(product.environment, "endpoints", "test", endpoint, *reason)["state"] == "probing"
    activated = admin_command(product.environment, "endpoints", "activate", endpoint, *reason, "--allow-zero-cost")
    assert activated["state"] == "live"


@pytest.mark.parametrize("state", ["off", "quarantined"])
def test_what_is_out_of_traffic_stays_out_by_a_test(ops: Operator, upstream: Upstream, state: str) -> None:
    _, path = a_draft(ops, upstream, cost_usd_per_mtok="0.01")
    ops("POST", f"{path}:activate", VOUCHED)
    ops("POST", f"{path}/{'off' if state == 'off' else 'quarantine'}", {"reason": "maintenance"})
    before = ops("GET", path)
    tested = ops("POST", f"{path}/test")
    assert (tested["passed"], tested["verdict"], tested["state"]) == (True, "same_space", state)
    upstream.script.append(Reply(status=401))
    assert not ops("POST", f"{path}/test")["passed"]
    assert ops("GET", path) == before
    assert ops("POST", f"{path}:activate")["state"] == "live"


def test_a_live_one_stays_live_by_a_test(ops: Operator, upstream: Upstream) -> None:
    _, path = a_draft(ops, upstream, cost_usd_per_mtok="0.01")
    ops("POST", f"{path}:activate", VOUCHED)
    tested = ops("POST", f"{path}/test")
    assert (tested["state"], tested["advice"]) == ("live", "")


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_draft_that_failed_its_test_goes_live_by_no_probe_and_no_new_credential(
    product: Product, ops: Operator, upstream: Upstream, status: int
) -> None:
    provider, path = a_draft(ops, upstream, cost_usd_per_mtok="0.01")
    upstream.always = Reply(status=status)
    try:
        assert ops("POST", f"{path}/test", VOUCHED)["state"] == "quarantined"
    finally:
        upstream.always = Reply()
    assert ops("GET", path)["quarantine_cause"] == "test_failed"
    ops("POST", f"{provider}/credential", {"credential": "sk-new-0123456789abcdef"})
    due = "SELECT count(*) FROM probe_schedule WHERE endpoint_id::text = $1 AND next_at <= now()"
    assert product.database.value(due, path.rpartition("_")[2]) == 0
    time.sleep(0.5)
    assert ops("GET", path)["state"] == "quarantined"


def test_a_cost_of_0_where_we_have_an_account_is_asked_about_before_a_call_is_made(
    ops: Operator, upstream: Upstream
) -> None:
    _, path = a_draft(ops, upstream)
    before = len(upstream.calls)
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        (f"{path}:activate", {}),
        (f"{path}:activate?dry_run=1", {}),
        (f"{path}/test", {"activate": True}),
    )
    for operation, more in asked:
        error = ops("POST", operation, VOUCHED | more, 409)["error"]
        assert error["param"] == "cost_usd_per_mtok"
        assert "allow_zero_cost" in error["message"]
    assert len(upstream.calls) == before
    assert ops("POST", f"{path}:activate", {**VOUCHED, **MEANT})["state"] == "live"


def test_a_server_of_ours_without_a_credential_costs_nothing_and_is_not_asked_about(
    ops: Operator, upstream: Upstream
) -> None:
    name = f"activation-{next(COUNTER)}"
    provider = ops("POST", "/providers", {"name": name, "kind": "openai", "base_url": upstream.base_url}, 201)
    endpoint = create_endpoint(ops, create_model(ops, f"acme/{name}"), provider)
    assert ops("POST", f"/endpoints/{endpoint['id']}:activate", VOUCHED)["state"] == "live"


def test_taking_away_the_cost_of_one_that_serves_is_asked_about_by_hand_and_by_file(
    ops: Operator, upstream: Upstream
) -> None:
    _, path = a_draft(ops, upstream, cost_usd_per_mtok="0.01")
    assert ops.edit(path, {"cost_usd_per_mtok": "0.00"})["cost_usd_per_mtok"] == "0.00"  # A draft costs nothing yet.
    ops.edit(path, {"cost_usd_per_mtok": "0.01"})
    live = ops("POST", f"{path}:activate", VOUCHED)
    assert live["state"] == "live"
    assert "allow_zero_cost" in ops.edit(path, {"cost_usd_per_mtok": "0.00"}, 409)["error"]["message"]
    shown = ops("GET", path)
    file = (
        f"endpoints:\n  - model: {shown['model']}\n    provider: {shown['provider_name']}\n"
        f"    upstream_model: {shown['upstream_model']}\n    cost_usd_per_mtok: 0\n"
    )
    body = {"file": file, "take_file": ["endpoints"]}
    (refused,) = [one for one in ops("POST", "/manifest:plan", body)["refused"] if "allow_zero_cost" in one]
    assert shown["provider_name"] in refused
    assert "allow_zero_cost" in ops("POST", "/manifest:apply", body, 409)["error"]["message"]
    assert ops("GET", path)["cost_usd_per_mtok"] == "0.01"
    ops("POST", "/manifest:apply", {**body, **MEANT})
    assert ops("GET", path)["cost_usd_per_mtok"] == "0.00"
    ops.edit(path, {"cost_usd_per_mtok": "0.01"})
    assert ops.edit(path, {"cost_usd_per_mtok": "0.00", **MEANT})["cost_usd_per_mtok"] == "0.00"
