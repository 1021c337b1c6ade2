"""The admin API in process, on a machine with Postgres alone: no server, no Redis, no key."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from gigarouter.local_admin import local_actor, local_app
from gigarouter.settings import Settings
from tests.harness.fake_upstream import Upstream

pytestmark = pytest.mark.anyio

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class Machine:
    """``await machine("POST", "/accounts", {…})``; fails on another status than ``expects``."""

    def __init__(self, app: Any) -> None:
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local")

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        content = b"" if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, f"/admin/v1{path}", content=content, headers=given)

    async def __call__(self, method: str, path: str, body: object = None, expects: int = 200, **headers: str) -> Any:
        answer = await self.ask(method, path, body, **headers)
        assert answer.status_code == expects, answer.text
        return answer.json()


@pytest.fixture
async def machine(database_url: str) -> AsyncIterator[Machine]:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "secret_keys": Fernet.generate_key().decode(),
            "allowed_private_networks": "127.0.0.0/8",
        }
    )
    async with local_app(settings) as app:
        yield Machine(app)


async def test_an_operator_on_the_machine_makes_reads_and_edits_without_key_and_if_match(machine: Machine) -> None:
    account = await machine("POST", "/accounts", {"name": "Acme"}, 201)
    assert await machine("GET", "/accounts/Acme") == account | {"keys": 0, "members": []}
    assert (await machine("PATCH", "/accounts/Acme", {"name": "New"}))["name"] == "New"
    # What is sent on purpose holds here, too.
    stale = await machine("PATCH", "/accounts/New", {"name": "Newer"}, 409, if_match='"old"')
    assert stale["error"]["code"] == "version_conflict"
    assert [row["name"] for row in (await machine("GET", "/accounts"))["data"]] == ["New"]
    actions = (await machine("GET", "/audit"))["data"]
    assert {row["actor"] for row in actions} == {local_actor()}
    # What is repeated has its effect once, as over HTTP; the Idempotency-Key is the user's.
    once = [await machine("POST", "/accounts", {"name": "Once"}, 201, idempotency_key="k") for _ in range(2)]
    assert once[0] == once[1]
    other = await machine("POST", "/accounts", {"name": "x"}, 422, idempotency_key="k")
    assert other["error"]["code"] == "idempotency_mismatch"


async def test_an_idempotency_key_on_the_machine_outlives_a_new_secret_key_and_needs_one(database_url: str) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    made = []
    for keys in (old, f"{new},{old}"):
        settings = Settings.model_validate({"database_url": database_url, "secret_keys": keys})
        async with local_app(settings) as app:
            body = {"email": "ada@example.com", "role": "ops"}
            made.append(await Machine(app)("POST", "/operators", body, 201, idempotency_key="k"))
    assert made[0] == made[1]
    assert made[0]["key"].startswith("gr_ops_")
    async with local_app(Settings.model_validate({"database_url": database_url, "secret_keys": ""})) as app:
        refused = await Machine(app)("POST", "/accounts", {"name": "x"}, 400, idempotency_key="other")
    assert refused["error"]["code"] == "idempotency_key_invalid"
    assert "GIGAROUTER_SECRET_KEYS" in refused["error"]["message"]


async def test_a_grant_is_money_and_the_machine_has_every_role(machine: Machine) -> None:
    await machine("POST", "/accounts", {"name": "Acme"}, 201)
    grant = await machine("POST", "/accounts/Acme/grants", {"amount_usd": "2.5", "source": "invoice-1"}, 201)
    assert grant["amount_usd"] == "2.50"
    key = await machine("POST", "/keys", {"account": "Acme", "expires_at": "2099-01-01T01:00:00+01:00"}, 201)
    assert key["key"].startswith("gr_live_")
    assert key["expires_at"] == "2099-01-01T00:00:00Z"
    assert (await machine("GET", "/keys?account=Acme"))["data"] == [key | {"key": None}]


async def test_two_accounts_of_one_name_are_told_apart_by_their_ids(machine: Machine) -> None:
    first = await machine("POST", "/accounts", {"name": "Twin"}, 201)
    await machine("POST", "/accounts", {"name": "Twin"}, 201)
    assert "by its id" in (await machine("GET", "/accounts/Twin", expects=409))["error"]["message"]
    assert (await machine("POST", f"/accounts/{first['id']}/suspend"))["status"] == "suspended"


async def test_a_name_is_no_way_into_a_header(machine: Machine) -> None:
    await machine("POST", "/accounts", {"name": "Zoë\r\nx-evil: 1"}, 201)
    path = "/accounts/Zo%C3%AB%0D%0Ax-evil%3A%201/grants"
    given = await machine.ask("POST", path, {"amount_usd": "1.00", "source": "one"})
    assert given.headers["location"] == f"/admin/v1{path.replace('%3A', ':')}/{given.json()['id']}"
    await machine("POST", path, {"amount_usd": "1.00", "source": "two"}, 201)
    assert "x-evil" not in (await machine.ask("GET", f"{path}?limit=1")).headers


async def test_a_provider_is_tried_from_the_machine_and_its_credential_resealed(machine: Machine) -> None:
    with Upstream(8).in_thread() as upstream:
        body = {"name": "alpha", "kind": "openai", "base_url": upstream.base_url, "credential": "sk-canary-1234567"}
        await machine("POST", "/providers", body, 201)
        assert (await machine("POST", "/providers/alpha/test", {"upstream_model": "m"}))["passed"]
        assert upstream.calls[-1].headers["authorization"] == "Bearer sk-canary-1234567"
    done = await machine("POST", "/providers:reseal")
    assert (done["resealed"], done["unchanged"], done["unreadable"]) == ([], ["alpha"], [])


async def test_all_faults_of_a_body_are_told_at_once_and_none_of_its_words(machine: Machine) -> None:
    body = {"kind": "canary", "retention_days": "canary", "regions": [1], "owner": "canary"}
    error = (await machine("POST", "/providers", body, 400))["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "owner")
    assert error["message"] == (
        "Unrecognized request argument supplied: owner. 'regions[0]' is text. 'retention_days' is a whole number. "
        "'name' is missing. 'kind' is one of openai, litellm, worker, sandbox."
    )
    assert [fault["param"] for fault in error["details"]["faults"]][:2] == ["owner", "regions[0]"]
    assert "canary" not in json.dumps(error)
    key = {"account": "Acme", "cap": {"amount_usd": 5}, "expires_at": "2027-01-01T00:00:00"}
    error = (await machine("POST", "/keys", key, 400))["error"]
    assert error["param"] == "cap.amount_usd"
    assert 'text with at most nine decimals, not negative, such as "0.01"' in error["message"]
    assert "with a zone, such as 2027-01-01T00:00:00Z" in error["message"]
    error = (await machine("GET", "/keys?limit=0&page=2&page=3", expects=400))["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "page")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/accounts", b"[]", 400),
        ("/accounts", b'{"name": NaN}', 400),
        ("/accounts", b'{"name": "\\ud800"}', 400),
        ("/accounts", b"[" * 10_000, 400),
        ("/providers", b'{"name": "x", "kind": "sandbox", "options": {"a": NaN}}', 400),
        ("/keys", b'{"account": "x", "models": [' + b"null," * 40_000 + b"1]}", 400),
        ("/keys", b"{" + b",".join(b'"%d": 0' % n for n in range(20_000)) + b"}", 400),
        ("/accounts", b'{"name": "' + b"x" * 2**20 + b'"}', 413),
        ("/providers:reseal", b'{"all": true}', 400),
        ("/keys/key_1/pause", b"", 404),
        ("/accounts/%00/suspend", b"", 404),
        ("/accounts/nobody%0d%0ax-evil:%201/suspend", b"", 404),
    ],
)
async def test_bodies_are_bounded_and_strict(machine: Machine, path: str, body: bytes, status: int) -> None:
    assert (await machine.client.get("/admin/v1/nowhere")).status_code == 404  # the first request makes the routes
    began = time.thread_time()
    answer = await machine.client.post(f"/admin/v1{path}", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == status, answer.text
    assert time.thread_time() - began < 1
    assert answer.json()["error"]["request_id"]


async def test_an_operator_is_invited_on_the_machine_and_the_way_in_is_shown_once(machine: Machine) -> None:
    body = {"email": "ann@example.com", "role": "finance_admin"}
    dry = await machine("POST", "/operators/invite?dry_run=1", body)
    assert (dry["path"], dry["url"]) == (None, None)
    made = [await machine("POST", "/operators/invite", body, 201, idempotency_key="k") for _ in range(2)]
    assert made[0] == made[1]
    assert made[0]["path"].startswith("/sign-in/operator/")
    assert made[0]["url"] == f"http://localhost:8001{made[0]['path']}"
    assert made[0]["path"] not in json.dumps((await machine("GET", "/audit"))["data"])
    # Nobody is an operator yet, so the role is needed again; and who is one keeps theirs.
    assert (await machine("GET", "/members"))["data"] == []
    assert (await machine("POST", "/operators/invite", {"email": "ann@example.com"}, 400))["error"]["param"] == "role"
    await machine("POST", "/operators", {"email": "ops@example.com", "role": "ops"}, 201)
    again = await machine("POST", "/operators/invite", {"email": "OPS@example.com"}, 201)
    assert again["role"] == "ops"
    await machine("POST", "/operators/invite", body | {"email": "ops@example.com"}, 409)
    await machine("POST", "/operators/invite", body | {"role": "owner"}, 400)
