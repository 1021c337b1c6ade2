"""A customer closes their own account over HTTP, and an operator sees how far that is."""

import asyncio
from typing import Any

import pytest

from gigarouter.settings import Settings
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.served_api import Credentials, ServedApi

pytestmark = pytest.mark.anyio
PATH = "/v1/account/close"


async def test_a_customer_closes_their_account_by_its_id_and_all_of_its_keys_end(
    api: ServedApi, installation: tuple[Settings, Credentials]
) -> None:
    database = DatabaseBuilder(installation[0].require_database_url(), installation[0].require_secret_keys()[0])
    account = await asyncio.to_thread(database.an_account, 25_000_000_000, "Leaving")
    key, other = [await asyncio.to_thread(database.a_key, account) for _ in range(2)]
    await api.context.catch_up()
    known = wire(AccountId, account)

    async def ask(body: dict[str, object], expects: int, query: str = "", **headers: str) -> Any:
        given = {"authorization": f"Bearer {key}", "idempotency-key": "leaving"} | headers
        answer = await api.client.post(f"{PATH}{query}", json=body, headers=given)
        assert answer.status_code == expects, answer.text
        return answer.json()

    assert (await ask({"confirm": known.replace("acct_", "acct_0")[:37]}, 400))["error"]["param"] == "confirm"
    # No payments are configured here, and this credit was paid for: it says what to do.
    refused = (await ask({"confirm": known}, 400))["error"]
    assert refused["details"] == {"forfeited_usd": "25.00"}
    assert "no payments are configured" in refused["message"]
    would = await ask({"confirm": known, "forfeit": True}, 200, "?dry_run=1")
    assert (would["forfeited_usd"], would["keys_ended"], would["state"]) == ("25.00", 2, "closing")
    assert (await ask({"confirm": known, "forfeit": True}, 200))["forfeited_usd"] == "25.00"
    await api.context.catch_up()
    for ended in (key, other):
        answer = await api.client.get("/v1/account", headers={"authorization": f"Bearer {ended}"})
        assert answer.status_code == 401
    seen = await api.client.get(
        f"/admin/v1/accounts/{known}/closing", headers={"authorization": f"Bearer {api.operator}"}
    )
    assert (seen.json()["account"], seen.json()["reason"]) == (known, "closed by the customer")
    resumed = await api.client.post(
        f"/admin/v1/accounts/{known}/resume", headers={"authorization": f"Bearer {api.operator}"}
    )
    assert resumed.status_code == 409
