"""Operators ask over HTTP why a call went where it did, and where one would go if things were otherwise."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from gigarouter.settings import Settings
from gigarouter.wiring import process
from router.api.app import create_app
from router.api.operation import Operations
from router.context import RouterContext
from router.routing.health import Health
from router.values import QuarantineCause
from store.embedded import Embedded
from store.ids import AccountId, EndpointId, KeyId, parse, wire
from tests.builders.database import DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.admin_client import admin_command
from tests.harness.edge_server import listening
from tests.harness.fake_upstream import Upstream
from tests.harness.served_api import ready

pytestmark = pytest.mark.anyio

MODEL = "tests/admin-routes"
SECRET_KEY = Fernet.generate_key().decode()
OURS = [("GET", "/admin/v1/requests/{request_id}"), ("POST", "/admin/v1/routes:explain")]
SECOND_LATER = (
    "UPDATE endpoints SET priority = 200 WHERE provider_id = (SELECT id FROM providers WHERE name = 'second')"
)


machine_only = Operations("levers", "/admin/v1/levers")


@machine_only.post("", verb="pull", summary="Pull", local="a lever is pulled by hand")
async def _pull() -> None:
    raise AssertionError("reached over HTTP")


class Door:
    """The API of one process, for an operator."""

    def __init__(
        self, context: RouterContext, client: httpx.AsyncClient, key: str, account: AccountId, key_id: KeyId
    ) -> None:
        self.context = context
        self.client = client
        self.key = key
        self.account = account
        self.key_id = key_id

    async def explain(self, **body: Any) -> dict[str, Any]:
        answer = await self.client.post("/admin/v1/routes:explain", content=json.dumps({"model": MODEL} | body))
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def made(
    servers: Embedded, module_database_url: str, upstream: Upstream
) -> tuple[str, AccountId, KeyId, str, Settings]:
    """Made before the loop runs, because the builder runs loops of its own."""
    servers.redis.command("FLUSHALL")
    database = DatabaseBuilder(module_database_url, SECRET_KEY)
    model = database.a_model(MODEL)
    for name in ("first", "second"):
        database.an_endpoint(model, upstream.base_url, name=name)
    database.rows(SECOND_LATER)
    account = database.an_account(1_000_000_000)
    key, key_id = database.a_key_and_its_id(account)
    settings = settings_of(database.url, servers.redis_url, SECRET_KEY)
    environment = {"DATABASE_URL": database.url, "GIGAROUTER_SECRET_KEYS": SECRET_KEY}
    operator = admin_command(environment, "operators", "create", "ops@example.com", "--role", "ops")["key"]
    return key, account, key_id, operator, settings


@pytest.fixture(scope="module")
async def door(made: tuple[str, AccountId, KeyId, str, Settings]) -> AsyncIterator[Door]:
    key, account, key_id, operator, settings = made
    async with process(settings, "serve") as context:
        await ready(context)
        app = create_app(context, record=lambda exchange: None, metrics=lambda: b"", further=[machine_only])
        async with (
            listening(app, []) as server,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{server.port}", headers={"authorization": f"Bearer {operator}"}, timeout=20
            ) as client,
        ):
            yield Door(context, client, key, account, key_id)


async def test_the_operations_are_for_operators(door: Door) -> None:
    for method, path in OURS:
        answer = await door.client.request(method, path, headers={"authorization": f"Bearer {door.key}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), answer.text
        assert "candidates" not in answer.text


async def test_what_is_made_on_the_machine_alone_is_refused_over_http_and_says_where_it_is(door: Door) -> None:
    answer = await door.client.post("/admin/v1/levers")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
    assert "`gigarouter admin levers pull`" in answer.json()["error"]["message"]
    assert (await door.client.post("/admin/v1/levers", headers={"authorization": ""})).status_code == 401


async def test_a_call_is_told_with_cost_and_margin_at_once(door: Door) -> None:
    body = json.dumps({"model": MODEL, "input": "some text"})
    answer = await door.client.post("/v1/embeddings", content=body, headers={"authorization": f"Bearer {door.key}"})
    assert answer.status_code == 200, answer.text
    told = (await door.client.get(f"/admin/v1/requests/{answer.headers['x-request-id']}")).json()
    assert (told["status"], told["account"]) == (200, wire(AccountId, door.account))
    assert (told["provider_cost"], told["margin"]) == ("0.00", told["charge"]["amount"])
    assert [c["upstream_model"] for c in told["candidates"]] == [MODEL, MODEL]
    unknown = await door.client.get("/admin/v1/requests/req_0190a0b0c0d07000800000000000aaaa")
    assert unknown.status_code == 404


async def test_a_dry_run_calls_and_holds_nothing(door: Door, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    told = await door.explain(key=wire(KeyId, door.key_id), inputs=3, tokens=300)
    assert (told["then"], told["difference"]) == (None, None)
    now = told["now"]
    assert [(c["provider"], c["chosen"]) for c in now["candidates"]] == [("first", True), ("second", False)]
    assert (now["account"], now["inputs"], now["hold"]["tokens_max"]) == (wire(AccountId, door.account), 3, 300)
    assert (now["hold"]["held"], now["attempts"], now["charge"], now["status"]) == (False, [], None, None)
    assert len(upstream.calls) == asked


async def test_what_if_an_endpoint_failed_were_gone_or_cost_more(door: Door) -> None:
    endpoint = (await door.explain())["now"]["candidates"][0]["endpoint"]
    for what_if in (
        {"endpoints": {endpoint: {"healthy": False}}},
        {"endpoints": {endpoint: {"state": "draining"}}},
        {"endpoints": {endpoint: {"priority": 1000}}},
        {"exclude": ["first"]},
        {"exclude": [endpoint]},
    ):
        told = await door.explain(what_if=what_if)
        difference = told["difference"]
        assert difference["chosen_now"] == f"first ({endpoint})"
        assert difference["chosen_then"].startswith("second (ep_"), what_if
        left_out = {c["endpoint"]: c["left_out"] for c in told["then"]["candidates"]}
        if "endpoints" in what_if and "priority" not in str(what_if):
            assert left_out[endpoint]
            assert difference["leaves"] == [f"first ({endpoint})"]
    dearer = (await door.explain(what_if={"endpoints": {endpoint: {"cost_usd_per_mtok": "9.99"}}}))["difference"]
    assert dearer["chosen_now"] == dearer["chosen_then"] == f"first ({endpoint})", "its priority goes before its price"
    assert (dearer["cost_usd_per_mtok_now"], dearer["cost_usd_per_mtok_then"]) == ("0.00", "9.99")


async def test_imagining_leaves_things_as_they_are(door: Door) -> None:
    before = await door.explain()
    endpoint = before["now"]["candidates"][0]["endpoint"]
    await door.explain(what_if={"endpoints": {endpoint: {"healthy": False, "state": "off", "weight": 1}}})
    after = await door.explain()
    for told in (before, after):
        for candidate in told["now"]["candidates"]:
            candidate["facts"] = {}
    assert after["now"]["candidates"] == before["now"]["candidates"]
    assert not door.context.health.pending_quarantines


async def test_what_fails_now_can_be_imagined_well(door: Door) -> None:
    endpoint = (await door.explain())["now"]["candidates"][0]["endpoint"]
    endpoint_id = EndpointId(parse(EndpointId, endpoint))
    health: Health = door.context.health
    health.quarantine(endpoint_id, QuarantineCause.SPACE_MISMATCH, "canary of a provider")
    health.pending_quarantines.clear()
    try:
        told = await door.explain(what_if={"endpoints": {endpoint: {"healthy": True}}})
        assert "canary of a provider" in str(told["now"]["candidates"])
        assert told["difference"]["chosen_now"].startswith("second")
        assert told["difference"]["chosen_then"].startswith("first")
        assert told["difference"]["enters"] == [f"first ({endpoint})"]
    finally:
        health.forget(endpoint_id)


async def test_preferences_are_read_as_a_calls_are(door: Door) -> None:
    told = await door.explain(preferences={"ignore": ["first"]})
    assert [(c["provider"], c["place"]) for c in told["now"]["candidates"]] == [("second", 1), ("first", None)]
    assert told["now"]["preferences"]["ignore"] == ["first"]
    answer = await door.client.post(
        "/admin/v1/routes:explain", content=json.dumps({"model": MODEL, "preferences": {"nonsense": 1}})
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": "tests/nobody"}', 404),
        (b'{"model": "tests/admin-routes", "surprise": 1}', 400),
        (b'{"model": "tests/admin-routes", "inputs": 0}', 400),
        (b'{"model": "tests/admin-routes", "tokens": 300001}', 400),
        (b'{"model": "tests/admin-routes", "account": "key_1"}', 400),
        (b'{"model": "tests/admin-routes", "key": "key_0190a0b0c0d07000800000000000aaaa"}', 404),
        (
            b'{"model": "tests/admin-routes", "what_if": {"endpoints": {"ep_0190a0b0c0d07000800000000000aaaa": {}}}}',
            404,
        ),
    ],
)
async def test_what_cannot_be_asked_is_refused(door: Door, body: bytes, status: int) -> None:
    answer = await door.client.post("/admin/v1/routes:explain", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["request_id"]
