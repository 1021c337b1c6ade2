"""A customer reads what is left of their credit in the order in which the next calls spend it."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from billing.credits import GrantKind, grant
from billing.money import NanoUSD
from store.ids import AccountId
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

# In any order; days until it expires, and where it stands in the order of spending.
GIVEN = [
    ("purchased, expires", GrantKind.PURCHASED, 90, 4),
    ("goodwill", GrantKind.GOODWILL, None, 3),
    ("gift, late", GrantKind.PROMOTIONAL, 60, 2),
    ("gift, soon", GrantKind.PROMOTIONAL, 30, 1),
]


async def test_credit_is_listed_as_it_is_spent(api: ServedApi) -> None:
    db = api.context.db
    async with db.transaction() as tx:
        account = AccountId(await tx.scalar(text("SELECT id FROM accounts ORDER BY created_at LIMIT 1")))
        now = db.clock.now()
        for source, kind, days, _ in GIVEN:
            expires_at = now + timedelta(days=days) if days else None
            await grant(tx, account, NanoUSD(1_000), kind, source_ref=source, expires_at=expires_at)
    headers, found, cursor = {"authorization": f"Bearer {api.key}"}, [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = await api.client.get("/v1/account/grants", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [row["source"] for row in page["data"]]
        if not page["has_more"]:
            break
        cursor = page["next_cursor"]
    expected = [source for source, *_ in sorted(GIVEN, key=lambda one: one[3])]
    assert found[: len(expected)] == expected
    assert len(found) == len(set(found)) == len(expected) + 1  # and what the account had, which does not expire
