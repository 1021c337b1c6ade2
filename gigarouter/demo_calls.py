"""Writes the log of the demo's made-up calls, so that the pages of calls show what those of usage do.

A call that was charged has the id, key, model, tokens and cost of its usage event. Beside them are some that were
refused, failed or given up, which cost nothing. Each says of itself that it is made up.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from sqlalchemy import text

from gigarouter.demo import MODEL
from router import errors
from router.api.error_envelope import ROWS
from router.explain.call_log import COLUMNS, row_of
from router.explain.explanation import (
    Candidate,
    CostBound,
    ExplainedAttempt,
    Explanation,
    Fault,
    PriceUsed,
    Timings,
    encode_explanation,
)
from router.explain.receipts import KEPT_DAYS
from store.ids import AccountId, EndpointId, KeyId, PriceId, RequestId, new_id
from store.postgres import Database

# What each call says of itself, where others have the policy that ordered their endpoints.
MADE_UP = "made up for the demo"
# Of so many calls one more did not get through.
REFUSED_ONE_IN = 25
CLIENT_GONE = 499
_WEEKS = text("SELECT make_route_weeks(CAST(:first AS date), :weeks)")
_USED = text("""
    INSERT INTO key_uses (key_id, used_at, client) VALUES (:key, :at, 'demo')
    ON CONFLICT (key_id) DO UPDATE SET used_at = greatest(key_uses.used_at, EXCLUDED.used_at)
""")


class DemoCall(msgspec.Struct, frozen=True):
    """A call that never was. ``cost_nano`` is what it was charged."""

    request: RequestId
    at: datetime
    key: KeyId
    inputs: int
    tokens: int
    latency_ms: int
    cost_nano: int
    provider_cost_nano: int


class DemoSeller(msgspec.Struct, frozen=True):
    """Who would have served the calls, and at which price."""

    price: PriceId
    nano_per_mtok: int
    endpoint: EndpointId
    provider_name: str
    space: str


class _Ending(msgspec.Struct, frozen=True):
    """How a call that was not answered ended; without an error the client hung up."""

    error: type[errors.Refusal] | None
    message: str = ""
    model: str = MODEL
    is_attempted: bool = False
    share: float = 1.0


_ENDINGS = (
    _Ending(errors.RequestLimit, "The key's requests per minute are used up.", share=4.0),
    _Ending(errors.InputTooLong, "Input 3 has 9,120 tokens; the model takes at most 512.", share=2.0),
    _Ending(errors.ModelNotFound, "There is no model 'text-embedding-demo'.", model="", share=2.0),
    _Ending(errors.DimensionsUnsupported, "The model's vectors cannot be shortened to 100 dimensions.", share=1.0),
    _Ending(errors.AllAttemptsFailed, "No provider answered in time.", is_attempted=True, share=1.5),
    _Ending(None, is_attempted=True, share=0.5),
)


async def write_calls(
    db: Database, account: AccountId, seller: DemoSeller, calls: Sequence[DemoCall], chance: Random
) -> int:
    """Write the log of an account's calls, and when each key was used last; returns how many rows it has."""
    now = db.clock.now()
    refused = [_refused(call, account, seller, chance) for call in calls if chance.random() < 1 / REFUSED_ONE_IN]
    found = [*(_answered(call, account, seller) for call in calls), *refused]
    # What is older than the log goes with its next turn.
    rows = [_row(one) for one in found if one.at > now - timedelta(days=KEPT_DAYS)]
    async with db.transaction() as tx:
        await tx.execute(_WEEKS, {"first": (now - timedelta(days=KEPT_DAYS)).date(), "weeks": KEPT_DAYS // 7 + 2})
        for key, at in _last_used(calls):
            await tx.execute(_USED, {"key": key, "at": at})
    connection = await db.connect(command_timeout_s=60)
    try:
        await connection.copy_records_to_table("routes", records=rows, columns=COLUMNS)
    finally:
        await connection.close()
    return len(rows)


def _row(explanation: Explanation) -> tuple[Any, ...]:
    return row_of(explanation, encode_explanation(explanation))


def _last_used(calls: Iterable[DemoCall]) -> Iterable[tuple[KeyId, datetime]]:
    return {call.key: call.at for call in sorted(calls, key=lambda call: call.at)}.items()


def _answered(call: DemoCall, account: AccountId, seller: DemoSeller) -> Explanation:
    total_us = call.latency_ms * 1000
    return Explanation(
        request_id=call.request,
        at=call.at,
        status=200,
        account=account,
        key=call.key,
        model=MODEL,
        inputs=call.inputs,
        policy=MADE_UP,
        space=seller.space,
        candidates=(_candidate(seller, is_chosen=True),),
        attempts=(_attempt(seller, total_us, "answered"),),
        price=PriceUsed(seller.price, seller.nano_per_mtok),
        bound=CostBound(call.tokens, call.cost_nano, exact=True, held=True),
        tokens=call.tokens,
        provider_tokens=call.tokens,
        cost_nano=call.cost_nano,
        provider_cost_nano=call.provider_cost_nano,
        timings=Timings(total_us, total_us // 10, total_us * 9 // 10, total_us),
    )


def _refused(near: DemoCall, account: AccountId, seller: DemoSeller, chance: Random) -> Explanation:
    """A call of the same key a moment before another."""
    [ending] = chance.choices(_ENDINGS, [one.share for one in _ENDINGS])
    at = near.at - timedelta(milliseconds=chance.randint(1, 900))
    total_us = 30_000_000 if ending.is_attempted and ending.error else chance.randint(300, 2_500)
    attempts = (_attempt(seller, total_us, "canceled" if ending.error is None else "TimedOut"),)
    return Explanation(
        request_id=RequestId(new_id(at)),
        at=at,
        status=CLIENT_GONE if ending.error is None else ROWS[ending.error].status,
        account=account,
        key=near.key,
        model=ending.model,
        inputs=near.inputs,
        policy=MADE_UP,
        space=seller.space if ending.model else "",
        candidates=(_candidate(seller, is_chosen=False),) if ending.is_attempted else (),
        attempts=attempts if ending.is_attempted else (),
        timings=Timings(total_us),
        error=None if ending.error is None else Fault(ending.error.code, f"{ending.message} This call was {MADE_UP}."),
    )


def _candidate(seller: DemoSeller, *, is_chosen: bool) -> Candidate:
    return Candidate(seller.endpoint, seller.provider_name, "live", MODEL, place=1, chosen=is_chosen)


def _attempt(seller: DemoSeller, total_us: int, outcome: str) -> ExplainedAttempt:
    began_us = total_us // 10
    return ExplainedAttempt(
        seller.endpoint, seller.provider_name, MADE_UP, began_us, total_us * 9 // 10 - began_us, outcome
    )
