"""A customer reads every change of their balance over HTTP, down to the grant that paid each call; nobody else does."""

import asyncio
import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from gigarouter.settings import Settings
from tests.builders.database import DatabaseBuilder
from tests.harness.admin_client import admin_command
from tests.harness.served_api import Credentials, ServedApi

pytestmark = pytest.mark.anyio


async def get(api: ServedApi, path: str, key: str, expects: int = 200, **query: Any) -> Any:
    answer = await api.client.get(path, params=query, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == expects, answer.text
    return answer.json()


async def all_pages(api: ServedApi, path: str, key: str, **query: Any) -> list[Any]:
    pages = [await get(api, path, key, **query)]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(await get(api, path, key, **query, cursor=cursor))
    return pages


async def test_a_customer_finds_for_each_debit_its_calls_and_for_each_call_its_grant(api: ServedApi) -> None:
    for _ in range(3):
        answer = await api.embed(api.bearer)
        assert answer.status == 200
    pages = await all_pages(api, "/v1/account/movements", api.key, limit="2")
    rows = [row for page in pages for row in page["data"]]
    assert [row["kind"] for row in rows] == ["grant", *["usage"] * (len(rows) - 1)]
    assert len(pages) == -(-len(rows) // 2) >= 2
    assert rows[0]["grant"]["kind"] == "purchased"
    first, last = pages[0], pages[-1]
    assert {name: first[name] for name in first if "ing_" in name} == {
        name: last[name] for name in last if "ing_" in name
    }
    opening, closing = Decimal(first["opening_balance_usd"]), Decimal(first["closing_balance_usd"])
    assert opening + sum(Decimal(row["balance_change_usd"]) for row in rows) == closing
    account = await get(api, "/v1/account", api.key)
    assert rows[-1]["balance_usd"] == first["closing_balance_usd"] == account["balance_usd"] == account["balance"]
    assert (account["held_usd"], account["debt_usd"]) == (account["held"], account["debt"])

    debit = await get(api, f"/v1/account/movements/{rows[1]['entry']}", api.key)
    assert (debit["balance_change_usd"], debit["balance_usd"]) == (rows[1]["balance_change_usd"], None)
    [call] = debit["calls"]
    assert Decimal(call["cost_usd"]) == -Decimal(debit["balance_change_usd"])
    explained = await get(api, f"/v1/requests/{call['request']}", api.key)
    charge = explained["charge"]
    assert charge["entry"] == rows[1]["entry"]
    assert charge["grants"] == [{"grant": rows[0]["grant"]["grant"], "kind": "purchased", "amount": charge["amount"]}]
    assert Decimal(charge["exact"]) + Decimal(charge["rounding"]) - Decimal(charge["forgiven"]) == Decimal(
        charge["amount"]
    ) + Decimal(charge["debt"])
    assert charge["entry"] in (await get(api, f"/admin/v1/requests/{call['request']}", api.operator))["charge"].values()


async def test_an_operator_reads_the_same_with_its_note_and_so_does_the_command_line(
    api: ServedApi, installation: tuple[Settings, Credentials]
) -> None:
    account = (await get(api, "/v1/account", api.key))["id"]
    seen = await get(api, f"/admin/v1/accounts/{account}/movements", api.operator)
    assert seen["object"] == "movements"
    assert {"note", "reference"} <= set(seen["data"][0])
    one = await get(api, f"/admin/v1/accounts/{account}/movements/{seen['data'][0]['entry']}", api.operator)
    assert one["entry"] == seen["data"][0]["entry"]
    url = installation[0].require_database_url()
    printed = await asyncio.to_thread(admin_command, {"DATABASE_URL": url}, "movements", "list", account)
    assert (
        printed["data"]
        == (await get(api, f"/admin/v1/accounts/{account}/movements", api.operator, limit="100"))["data"]
    )
    assert printed["closing_balance_usd"] == seen["closing_balance_usd"]


async def test_nobody_reads_anothers_movements_and_a_cursor_is_what_it_was(
    api: ServedApi, installation: tuple[Settings, Credentials]
) -> None:
    await api.embed(api.bearer)
    rows = (await get(api, "/v1/account/movements", api.key))["data"]
    database = DatabaseBuilder(installation[0].require_database_url(), installation[0].require_secret_keys()[0])
    other = await asyncio.to_thread(lambda: database.a_key(database.an_account(5_000)))
    await api.context.catch_up()
    missing = await get(api, f"/v1/account/movements/{rows[0]['entry']}", other, 404)
    assert missing["error"]["code"] == "not_found"
    [theirs] = (await get(api, "/v1/account/movements", other))["data"]
    assert theirs["entry"] not in {row["entry"] for row in rows}
    page = await get(api, "/v1/account/movements", api.key, limit="1")
    # Another account's cursor shows the reader's own rows, and none of the other's.
    for row in (await get(api, "/v1/account/movements", other, cursor=page["next_cursor"]))["data"]:
        assert row["entry"] == theirs["entry"]
    cut = json.loads(base64.urlsafe_b64decode(page["next_cursor"] + "=="))
    span, after = cut
    wrong: list[object] = [
        [],
        {},
        [span],
        [span, {**after, "at": "2026-11-01T00:00:00"}],
        [span, {**after, "entry": "x"}],
    ]
    wrong += [
        [{**span, "snapshot": one}, after] for one in ("", "1:2", "2:1:", "1:9:5,3", "1:9:9", f"1:{2**70}:", "a:b:c")
    ]
    for broken in (
        *(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in wrong),
        "x",
        "é",
    ):
        refused = await get(api, "/v1/account/movements", api.key, 400, cursor=broken)
        assert refused["error"]["param"] == "cursor"
    refused = await get(api, "/v1/account/movements", api.key, 400, period="2026-11", **{"from": "2026-11-01"})
    assert refused["error"]["param"] == "period"
