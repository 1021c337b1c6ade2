"""Operators work over HTTP as they do at the machine: a provider in a minute, no change lost, none made twice."""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from router.api.documents import admin_routes
from router.api.operation import OperationSpec
from router.identity.members import Role
from tests.builders.admin_api import create_endpoint, create_model, create_provider
from tests.harness.admin_client import DUMP, Operator, admin_command, an_operator
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.processes import Product

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
NON_COMMERCIAL = "codefuse-ai/F2LLM-v2-4B"
CREDENTIAL, SECOND_CREDENTIAL = "sk-canary-0b1f7d3c9a5e", "sk-canary-77aa41d0c2ef"
VOUCHED = {"as_reference": "the maker's own service", "allow_zero_cost": True}


def a_provider_and_draft(ops: Operator, upstream: Upstream, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A draft for a model of its own, whose space nobody has vouched for."""
    provider = create_provider(ops, upstream, name, credential=CREDENTIAL)
    model = create_model(ops, f"acme/at-{name}")
    return provider, create_endpoint(ops, model, provider, upstream_model=name)


def test_a_provider_is_added_in_a_minute_and_serves_a_customer(
    product: Product, ops: Operator, finance: Operator, upstream: Upstream
) -> None:
    facts = {"regions": ["eu"], "collects_data": False, "retention_days": 0}
    provider = create_provider(ops, upstream, "alpha", credential=CREDENTIAL, **facts)
    assert (provider["credential"], provider["regions"], provider["retention_days"]) == ("…9a5e", ["eu"], 0)
    endpoint = create_endpoint(ops, MODEL, provider, upstream_model="alpha", cost_usd_per_mtok="0.001", concurrency=8)
    assert endpoint["state"] == "draft"

    refused = ops("POST", f"/models/{MODEL}:launch", expects=409)["error"]
    assert refused["code"] == "launch_incomplete"
    assert len(refused["details"]["missing"]) == 2
    assert ops("POST", f"/endpoints/{endpoint['id']}/test")["verdict"] == "no_reference"
    tested = ops("POST", f"/endpoints/{endpoint['id']}:activate", VOUCHED)
    assert (tested["passed"], tested["state"], tested["dimensions"]) == (True, "live", 384)
    steps = {step["name"]: step["outcome"] for step in tested["steps"]}
    assert steps.pop("tls") == "not_told"
    assert set(steps.values()) == {"passed"}
    finance("POST", "/prices", {"model": MODEL, "usd_per_mtok": "0.008", "batch_usd_per_mtok": "0.004"}, 201)
    assert ops("GET", f"/models/{MODEL}")["missing"] == []
    assert ops("POST", f"/models/{MODEL}:launch?dry_run=1")["status"] == "live"
    assert ops("GET", f"/models/{MODEL}")["status"] == "coming_soon"
    assert ops("POST", f"/models/{MODEL}:launch", {"reason": "first customers"})["status"] == "live"

    account = ops("POST", "/accounts", {"name": "Acme"}, 201)
    grant = {"amount_usd": "25.00", "source": "welcome-acme", "expires_at": "2099-01-01T00:00:00Z"}
    given = finance.ask("POST", f"/accounts/{account['id']}/grants", grant)
    assert finance("GET", given.headers["location"].removeprefix("/admin/v1")) == given.json()
    key = ops("POST", "/keys", {"account": account["id"], "cap": {"amount_usd": "5.00"}, "models": [MODEL]}, 201)
    client = openai.OpenAI(base_url=product.url, api_key=key["key"], max_retries=3)
    assert len(client.embeddings.create(model=MODEL, input="Hello, world").data[0].embedding) == 384
    assert upstream.calls[-1].headers["authorization"] == f"Bearer {CREDENTIAL}"

    ops("POST", f"/providers/{provider['id']}/credential", {"credential": SECOND_CREDENTIAL})
    assert ops("POST", f"/providers/{provider['id']}/test")["passed"]
    assert upstream.calls[-1].headers["authorization"] == f"Bearer {SECOND_CREDENTIAL}"
    ops("POST", f"/keys/{key['id']}/revoke")
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
        call_until_refused(client)


def call_until_refused(client: openai.OpenAI) -> None:
    """A revocation is everywhere within a second; three, where other tests keep the machine busy."""
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        client.embeddings.create(model=MODEL, input="Hello, world")


def test_every_change_tells_who_made_it_from_what_to_what(ops: Operator, upstream: Upstream) -> None:
    provider = create_provider(ops, upstream, "audited", credential=CREDENTIAL)
    ops.edit(f"/providers/{provider['id']}", {"enabled": False})
    found = ops("GET", f"/audit?subject={provider['id']}")["data"]
    assert [row["action"] for row in found] == ["provider.edit", "provider.credential", "provider.register"]
    assert {row["actor"] for row in found} == {ops.member}
    assert (found[0]["before"]["spec"]["enabled"], found[0]["after"]["spec"]["enabled"]) == (True, False)
    assert found[0]["at"].endswith("Z")
    account = ops("POST", "/accounts", {"name": "Audited"}, 201)["id"]
    key = ops("POST", "/keys", {"account": account, "name": "k"}, 201)["id"]
    ops("POST", f"/keys/{key}/pause")
    ops("POST", f"/accounts/{account}/suspend")
    concerns = [row["action"] for row in ops("GET", f"/audit?account={account}")["data"]]
    assert concerns == ["account.suspend", "key.pause", "key.create", "account.open"]


def test_of_editors_with_one_version_one_wins(ops: Operator, upstream: Upstream) -> None:
    _, endpoint = a_provider_and_draft(ops, upstream, "contested")
    path = f"/endpoints/{endpoint['id']}"
    assert ops("PATCH", path, {"weight": 5}, 428)["error"]["code"] == "precondition_required"
    tag = ops.ask("GET", path).headers["etag"]
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda n: ops.ask("PATCH", path, {"weight": 10 + n}, if_match=tag), range(8)))
    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    losers = {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409}
    assert losers == {"version_conflict"}
    now = ops.ask("GET", path)
    assert now.json() == winners[0].json()
    assert now.headers["etag"] == winners[0].headers["etag"] != tag
    assert len(ops("GET", f"/audit?subject={endpoint['id']}")["data"]) == 2


def test_a_dry_run_answers_what_would_be_and_writes_nothing(
    product: Product, ops: Operator, upstream: Upstream
) -> None:
    before = rows_of(product)
    body = {"name": "would-be", "kind": "openai", "base_url": upstream.base_url, "credential": CREDENTIAL}
    answer = ops.ask("POST", "/providers?dry_run=1", body, idempotency_key="dry")
    assert (answer.status_code, answer.json()["name"]) == (200, "would-be")
    assert answer.headers["x-gigarouter-dry-run"] == "true"
    assert rows_of(product) == before
    account = ops("GET", "/accounts?limit=1")["data"] or [ops("POST", "/accounts", {"name": "Any"}, 201)]
    before = rows_of(product)
    key = ops("POST", "/keys?dry_run=1", {"account": account[0]["id"]})
    assert key["key"] is None
    assert rows_of(product) == before


def rows_of(product: Product) -> list[Any]:
    tables = ("providers", "keys", "audit", "idempotency")
    return [product.database.value(f"SELECT count(*) FROM {table}") for table in tables]


def test_a_repeated_write_is_made_once_and_answers_the_same(ops: Operator, upstream: Upstream) -> None:
    body = {"name": "once", "kind": "openai", "base_url": upstream.base_url, "credential": CREDENTIAL}
    with ThreadPoolExecutor(6) as crowd:
        answers = list(crowd.map(lambda _: ops.ask("POST", "/providers", body, idempotency_key="p-1"), range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 5]
    other = ops("POST", "/providers", body | {"name": "twice"}, 422, idempotency_key="p-1")
    assert other["error"]["code"] == "idempotency_mismatch"
    # A refused write leaves the key free.
    account = {"name": ""}
    ops("POST", "/accounts", account, 400, idempotency_key="a-1")
    ops("POST", "/accounts", {"name": "Good"}, 201, idempotency_key="a-1")


def test_a_replay_shows_a_key_again_and_nothing_else_does(ops: Operator) -> None:
    account = ops("POST", "/accounts", {"name": "Forgetful"}, 201)["id"]
    first = ops("POST", "/keys", {"account": account}, 201, idempotency_key="k-1")
    again = ops("POST", "/keys", {"account": account}, 201, idempotency_key="k-1")
    assert first["key"].startswith("gr_live_")
    assert again == first
    assert ops("GET", f"/keys/{first['id']}") == first | {"key": None}


def test_lists_come_in_pages_that_lose_and_repeat_nothing(ops: Operator) -> None:
    made = [ops("POST", "/accounts", {"name": f"Page {n}"}, 201)["id"] for n in range(5)]
    for path in ("/accounts", "/audit", "/models", "/endpoints", "/keys", "/claims"):
        whole = walk(ops, path, 100)
        assert walk(ops, path, 2) == whole
        assert len(set(whole)) == len(whole)
    assert set(made) <= set(walk(ops, "/accounts", 3))
    for wrong in ("?limit=0", "?limit=101", "?cursor=!", "?cursor=AAAA", "?page=2", "?limit=1&limit=2"):
        assert ops("GET", f"/accounts{wrong}", expects=400)["error"]["param"]


def walk(ops: Operator, path: str, limit: int) -> list[str]:
    found, cursor = [], ""
    while True:
        page = ops("GET", f"{path}?limit={limit}{cursor}")
        assert page["object"] == "list"
        found += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/providers", {"name": "x", "kind": "openai", "owner": "me"}, "owner"),
        ("POST", "/accounts", {"name": "x", "credit_usd": "5"}, "credit_usd"),
        ("POST", "/accounts", {}, "name"),
        ("POST", "/accounts", {"name": 5}, "name"),
        ("POST", "/accounts", {"name": "\0"}, None),
        ("POST", "/accounts", b"nonsense", None),
        ("POST", "/prices", {"model": MODEL, "usd_per_mtok": "1e3"}, "usd_per_mtok"),
        ("POST", "/prices", {"model": MODEL, "usd_per_mtok": 5}, "usd_per_mtok"),
        (
            "POST",
            "/prices",
            {"model": MODEL, "usd_per_mtok": "1", "effective_at": "2099-01-01T00:00:00"},
            "effective_at",
        ),
        ("POST", "/endpoints", {"model": MODEL, "provider": "ep_0190a0b0c0d07000800000000000aaaa"}, "provider"),
        ("POST", "/accounts?dry=1", {"name": "x"}, "dry"),
        ("POST", "/providers", {"name": "meta", "kind": "openai", "base_url": "http://169.254.169.254/v1"}, None),
        ("POST", "/providers", {"name": "in", "kind": "openai", "base_url": "https://10.1.2.3/v1"}, None),
        ("POST", "/providers", {"name": "in", "kind": "openai", "base_url": "https://[::ffff:10.1.2.3]/v1"}, None),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    ops: Operator, finance: Operator, method: str, path: str, body: object, param: str | None
) -> None:
    asker = finance if path == "/prices" else ops
    error = asker(method, path, body, 400)["error"]
    assert error["param"] == param
    if "base_url" in str(body):
        assert "must not be reached" in error["message"]


def test_an_endpoint_that_fails_its_test_says_at_which_step_and_is_quarantined(
    ops: Operator, upstream: Upstream
) -> None:
    _, endpoint = a_provider_and_draft(ops, upstream, "failing")
    path = f"/endpoints/{endpoint['id']}/test"
    for reply, step in (
        (Reply(status=401, body=b'{"error": {"message": "internal-canary"}}'), "authenticate"),
        (Reply(status=500, body=b"internal-canary"), "embed"),
        (Reply(body=b'{"object":"list","data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}'), "embed"),
    ):
        upstream.script.append(reply)
        tested = ops("POST", path)
        assert (tested["passed"], tested["state"]) == (False, "quarantined")
        failed = [one["name"] for one in tested["steps"] if one["outcome"] == "failed"]
        assert failed == [step]
        # Its own words are in their own field, and in nothing that is written down.
        assert "internal-canary" not in str(tested | {"upstream": None})
        assert ("internal-canary" in tested["upstream"]["words"]) == (reply.status is not None)
    assert "internal-canary" not in str(ops("GET", f"/endpoints/{endpoint['id']}")) + str(ops("GET", "/audit"))
    assert ops("POST", f"{path}?dry_run=1")["state"] == "quarantined"
    live = f"/endpoints/{endpoint['id']}:activate"
    assert ops("POST", live, VOUCHED, idempotency_key="t")["state"] == "live"
    asked = len(upstream.calls)
    assert ops("POST", live, VOUCHED, idempotency_key="t")["state"] == "live"
    assert len(upstream.calls) == asked


def test_an_endpoint_moves_only_along_its_table(ops: Operator, upstream: Upstream) -> None:
    path = f"/endpoints/{a_provider_and_draft(ops, upstream, 'moving')[1]['id']}"
    assert "an activation" in ops("POST", f"{path}/resume", expects=409)["error"]["message"]
    ops("POST", f"{path}:activate", VOUCHED)
    assert ops("POST", f"{path}/drain", {"reason": "maintenance"})["reason"] == "maintenance"
    assert ops("POST", f"{path}/resume")["state"] == "live"
    assert ops("POST", f"{path}/quarantine")["state"] == "quarantined"
    assert ops("POST", f"{path}/drain", expects=409)["error"]["code"] == "conflict"
    assert ops("POST", f"{path}/off")["state"] == "off"


def test_licenses_are_claimed_resolved_and_waived(ops: Operator, finance: Operator) -> None:
    claims = ops("GET", f"/claims?model={NON_COMMERCIAL}")["data"]
    assert len({claim["license"] for claim in claims}) > 1
    ruling = {"model": NON_COMMERCIAL, "license": "CC-BY-NC-ND-4.0", "reason": "its text", "evidence": "the card"}
    assert ops("POST", "/resolutions", ruling, 201)["decided_by"] == ops.member
    assert all(claim["settled"] for claim in ops("GET", f"/claims?model={NON_COMMERCIAL}")["data"])
    charging = {"model": NON_COMMERCIAL, "term": "charging", "signed_by": "Ada, licensor", "evidence": "mail"}
    waiver = finance("POST", "/waivers", charging, 201)
    assert finance("GET", f"/waivers/{waiver['id']}") == waiver
    assert ops("GET", f"/claims/{claims[0]['id']}")["license"] == claims[0]["license"]
    wrong = finance("POST", "/waivers", charging | {"term": "everything"}, 400)["error"]
    assert "charging" in wrong["message"]
    assert "everything" not in wrong["message"]
    decided = {row["what"]: row["allowed"] for row in ops("GET", f"/decisions?model={NON_COMMERCIAL}")["data"]}
    assert decided == {"commercial": False, "non_commercial": True, "research": True, "charging": True}
    finance("POST", f"/waivers/{waiver['id']}/revoke")
    assert finance("GET", f"/waivers?model={NON_COMMERCIAL}&status=in_force")["data"] == []
    unknown = ops("POST", "/claims", {**ruling, "model": "acme/none"} | {"source": "x"}, 400)
    assert unknown["error"]["code"] == "unknown_parameter"


def test_keys_are_narrowed_and_rotated(ops: Operator) -> None:
    account = ops("POST", "/accounts", {"name": "Keys"}, 201)["id"]
    key = ops("POST", "/keys", {"account": account, "requests_per_minute": 5}, 201)
    path = f"/keys/{key['id']}"
    edited = ops.edit(path, {"concurrency": 2, "cap": {"amount_usd": "1.50", "period": "day"}, "models": [MODEL]})
    assert (edited["concurrency"], edited["requests_per_minute"]) == (2, 5)
    assert (edited["cap"], edited["models"]) == ({"amount_usd": "1.50", "period": "day"}, [MODEL])
    assert ops.edit(path, {"cap": None})["cap"] is None
    assert ops.edit(path, {"models": ["acme/none"]}, 404)["error"]["code"] == "model_not_found"
    rotated = ops("POST", f"{path}/rotate", {"overlap_hours": 1})
    assert rotated["key"] != key["key"]
    assert ops("POST", f"{path}/rotate", {"overlap_hours": 10**30}, 400)["error"]["param"] == "overlap"
    assert ops("POST", f"{path}/revoke")["state"] == "revoked"
    assert "final" in ops("POST", f"{path}/resume", expects=409)["error"]["message"]


def test_no_operator_makes_another_mightier(ops: Operator, finance: Operator) -> None:
    account = ops("POST", "/accounts", {"name": "People"}, 201)["id"]
    member = {"account": account, "email": "ada@example.com", "role": "owner"}
    ada = ops("POST", "/members", member, 201)["id"]
    assert "last owner" in ops("POST", f"/members/{ada}/remove", expects=409)["error"]["message"]
    ops("POST", "/members", member | {"email": "eve@example.com", "role": "ops"}, 400)
    for path in (f"/members/{ops.member}", f"/members/{finance.member}"):
        assert ops.edit(path, {"role": "finance_admin"}, 403)["error"]["code"] == "role_insufficient"
        ops("POST", f"{path}/remove", expects=403)


@pytest.mark.parametrize("spec", [route.spec for route in admin_routes()], ids=lambda spec: " ".join(spec.name))
def test_each_operation_is_for_its_roles_alone(
    product: Product, ops: Operator, finance: Operator, spec: OperationSpec
) -> None:
    method, path = spec.name
    below = path.removeprefix("/admin/v1").replace("{model_id:path}", "acme/none")
    for kind in set(re.findall(r"{(\w+)_id}", below)):
        below = below.replace(f"{{{kind}_id}}", f"{kind}_unknown")
    for role, operator in ((Role.OPS, ops), (Role.FINANCE_ADMIN, finance)):
        answer = operator.ask(method, below, b"nonsense" if method != "GET" else None)
        code = "not_allowed" if spec.local else "role_insufficient"
        refused = answer.status_code == 403 and answer.json()["error"]["code"] == code
        assert refused != (role in spec.roles), answer.text
        assert answer.status_code not in (401, 500)
    for key in ("x", "gr_ops_", "gr_live_" + "x" * 47, ops.key[:-1], ops.key + "x"):
        assert Operator(ops.url, key).ask(method, below).status_code == 401


def test_keys_open_only_their_own_doors(product: Product, ops: Operator) -> None:
    account = ops("POST", "/accounts", {"name": "Doors"}, 201)["id"]
    key = ops("POST", "/keys", {"account": account}, 201)["key"]
    product.wait_until_known(key)
    assert Operator(ops.url, key).ask("GET", "/accounts").status_code == 401
    bearer = {"authorization": f"Bearer {ops.key}"}
    on_v1 = httpx.get(f"{product.url}/models", headers=bearer)
    assert (on_v1.status_code, on_v1.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "/admin only" in on_v1.json()["error"]["message"]
    embed = httpx.post(f"{product.url}/embeddings", headers=bearer, json={"model": MODEL, "input": "x"})
    assert embed.status_code == 401
    in_url = httpx.get(f"{ops.url}/admin/v1/accounts?x={ops.key}", headers=bearer)
    assert in_url.json()["error"]["code"] == "key_in_url"


def test_a_revoked_key_or_a_person_who_is_gone_works_nowhere_within_a_second(product: Product, ops: Operator) -> None:
    leaving = an_operator(product.environment, ops.url, "ops", "leaving@example.com")
    removed = an_operator(product.environment, ops.url, "ops", "removed@example.com")
    demoted = an_operator(product.environment, ops.url, "ops", "demoted@example.com")
    (key,) = [
        k for k in admin_command(product.environment, "operators", "list")["data"] if k["member"] == leaving.member
    ]
    for operator in (leaving, removed, demoted):
        operator("GET", "/accounts")
    admin_command(product.environment, "operators", "revoke", key["id"])
    admin_command(product.environment, "members", "remove", removed.member)
    admin_command(product.environment, "members", "edit", demoted.member, "finance_admin")
    until = time.monotonic() + 30
    while demoted.ask("POST", "/providers").status_code != 403 and time.monotonic() < until:
        time.sleep(0.05)
    assert leaving("GET", "/accounts", expects=401)["error"]["code"] == "invalid_api_key"
    assert removed("GET", "/accounts", expects=401)["error"]["code"] == "invalid_api_key"
    assert demoted("POST", "/accounts/acct_x/grants", expects=404)
    assert demoted("POST", "/providers", expects=403)["error"]["details"]["needed"] == ["ops"]


def test_no_credential_and_no_key_is_left_anywhere(product: Product, ops: Operator, finance: Operator) -> None:
    account = ops("POST", "/accounts", {"name": "Canary"}, 201)["id"]
    key = ops("POST", "/keys", {"account": account}, 201, idempotency_key="canary")["key"]
    body = {"name": "canary", "kind": "openai", "base_url": "https://api.example.com/v1", "credential": CREDENTIAL}
    provider = ops("POST", "/providers", body, 201, idempotency_key="canary")["id"]
    ops("POST", "/providers", body, 409)
    ops("POST", "/providers", body | {"kind": CREDENTIAL}, 400)
    ops("POST", "/providers", body | {"retention_days": CREDENTIAL, "name": "c"}, 400)
    ops("POST", f"/providers/{provider}/credential", {"credential": SECOND_CREDENTIAL}, idempotency_key="canary")
    ops.edit(f"/providers/{provider}", {"base_url": "https://api.other.example/v1"}, 400)
    walk(ops, "/audit", 100)
    dump = subprocess.run(
        [sys.executable, "-c", DUMP, product.database_url], capture_output=True, text=True, check=True
    ).stdout
    log = product.serves[0].log.read_text()
    assert "canary" in dump
    assert ops.member in log
    for place in (dump, log, ops.heard.replace(key, "", 1), finance.heard):
        for secret in (CREDENTIAL, SECOND_CREDENTIAL, key, ops.key, finance.key):
            assert secret not in place
            assert secret.encode().hex() not in place
