"""A budget is edited by whoever has read it as it stands: nothing is reset, and nobody is overwritten unseen."""

import asyncio

import pytest

from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio


async def test_a_budget_is_edited_with_the_version_that_was_read(api: ServedApi) -> None:
    head = {"authorization": f"Bearer {api.key}"}
    made = (await api.client.post("/v1/account/budgets", headers=head, json={"amount_usd": "5.00", "name": "a"})).json()
    path = f"/v1/account/budgets/{made['id']}"
    read = await api.client.get(path, headers=head)
    tag = read.headers["etag"]

    async def edit(match: str | None, **body: object) -> tuple[int, object]:
        sent = head | ({} if match is None else {"if-match": match})
        answer = await api.client.patch(path, headers=sent, json=body)
        found = answer.json()
        return answer.status_code, found["error"]["code"] if "error" in found else found

    assert await edit(None, amount_usd="7.00") == (428, "precondition_required")
    assert await edit('"other"', amount_usd="7.00") == (409, "version_conflict")
    # Of two who have read the same, one changes it.
    both = await asyncio.gather(*(edit(tag, amount_usd=amount) for amount in ("7.00", "9.00")))
    assert sorted(status for status, _ in both) == [200, 409]
    now = (await api.client.get(path, headers=head)).headers["etag"]
    assert now != tag
    status, edited = await edit(now, name="b", period="day")
    assert isinstance(edited, dict)
    assert (status, edited["name"], edited["period"], edited["created_at"]) == (200, "b", "day", made["created_at"])
    assert edited["amount_usd"] in ("7.00", "9.00")
    for wrong in ({"amount_usd": "0"}, {"amount_usd": None}, {"amount_usd": "NaN"}, {"key": None}, {"period": "week"}):
        assert (await edit("*", **wrong))[0] == 400, wrong
    missing = await api.client.patch(f"{path[:-4]}0000", headers=head | {"if-match": "*"}, json={"name": "c"})
    assert missing.status_code == 404
    rows = (await api.client.get("/v1/account/budgets", headers=head)).json()["data"]
    assert [row["name"] for row in rows if row["id"] == made["id"]] == ["b"]
