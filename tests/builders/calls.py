"""Fills an account with ten days of calls, charged and logged, and one that its license refuses; without a loop."""

from datetime import datetime, timedelta
from typing import Any

from router.explain.call_log import COLUMNS, duration_class
from store.ids import AccountId, KeyId, RequestId, new_id, wire
from tests.builders.database import DatabaseBuilder

MODELS = [
    "codefuse-ai/F2LLM-v2-4B",
    "acme/a-model-with-a-name-of-eighty-characters-without-any-space-in-it-whatsoever-xx",
]
CALLS = 40
CHARGE = """
WITH ended AS (INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at) VALUES ($1, 'charged', $3, $2))
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, held_nano, provider_cost_nano,
    latency_ms, attempts)
VALUES ($1, $2, $3, $4, $5, $1, $1, 's', 1, 7, $1, 10, $6, $6, 0, $6, 0, 90, 1)
"""
LOG = f"INSERT INTO routes ({', '.join(COLUMNS)}) VALUES ({', '.join(f'${n + 1}' for n in range(len(COLUMNS)))})"


class Filled:
    """An account with calls of ten days; ``keys``: one with a name that looks like markup, one that is revoked."""

    def __init__(self, build: DatabaseBuilder, account: AccountId, now: datetime) -> None:
        self.account = account
        self.base = f"/accounts/{wire(AccountId, account)}"
        self.keys = [build.a_key_and_its_id(account)[1] for _ in range(2)]
        build.rows("UPDATE keys SET name = '<b>one</b>' WHERE id = $1", self.keys[0])
        build.rows("UPDATE keys SET name = ' ', revoked_at = now() WHERE id = $1", self.keys[1])
        [prefix] = build.rows("SELECT handle FROM keys WHERE id = $1", self.keys[1])
        self.prefix = prefix["handle"][:4] + "…"
        self.spent = 0
        for number in range(CALLS):
            at = now - timedelta(hours=6 * number)
            request, cost = new_id(at), 1_000_000_007 * (number + 1)
            self.spent += cost
            build.rows(CHARGE, request, at, account, self.keys[number % 2], MODELS[number % 2], cost)
            self._log(build, request, at, self.keys[number % 2], MODELS[number % 2], cost=cost)
        self.refused = RequestId(new_id(now))
        self._log(build, self.refused, now, self.keys[0], MODELS[0], code="license_restricted")

    def _log(
        self, build: DatabaseBuilder, request: Any, at: datetime, key: KeyId, model: str, cost: int = 0, code: str = ""
    ) -> None:
        error = f', "error": {{"code": "{code}", "message": "Its license forbids <i>that</i>."}}' if code else ""
        route = (
            f'{{"request_id": "{request}", "at": "{at.isoformat()}", "status": {403 if code else 200}, "account":'
            f' "{self.account}", "key": "{key}", "model": "{model}", "inputs": 1,'
            f' "timings": {{"total_us": 90000}}{error}}}'
        )
        outcome, tokens, paid = ("refused", None, None) if code else ("answered", 7, cost)
        values = (request, self.account, route, at, key, model, "interactive", outcome, code, 90, duration_class(90))
        build.rows(LOG, *values, tokens, paid, 1)
