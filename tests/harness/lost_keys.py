"""The attack on holds by lost keys: a process dies with holds, and keys of its account are gone, or are older."""

import asyncio
import random
import time

from billing.admission import Admission
from billing.projection import account_key, due_key, limits_key
from billing.reaper import reap, resync
from billing.values import Hold
from store.ids import AccountId
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer

DEADLINE_S, GRACE_S = 1.5, 0.5
# Jobs look every two seconds; here they look without a pause, so this is one more heartbeat of a generation's barrier.
SLACK_S = 6.0
STEPS = 12
KEYS = (account_key, limits_key, due_key)


def briefly(b: Billing) -> None:
    """Calls with a deadline that a test can wait for."""
    b.admission = Admission(b.projection, b.generation, GRACE_S)
    b.deadline_s = DEADLINE_S


async def copy(b: Billing, account: AccountId, subset: tuple[int, ...]) -> dict[str, bytes | None]:
    return {KEYS[place](account): await b.redis_command("DUMP", KEYS[place](account)) for place in subset}


async def put_back(b: Billing, copies: dict[str, bytes | None]) -> None:
    for key, content in copies.items():
        await b.redis_command("DEL", key)
        if content is not None:
            await b.redis_command("RESTORE", key, "0", content)


async def is_whole(b: Billing, account: AccountId) -> str:
    """What is not whole yet; nothing where Redis has what Postgres has, and holds nothing."""
    redis = await b.redis(account)
    left = [name for name in redis if name[:2] in ("h:", "d:", "q:", "a:")]
    left += [name for name, value in redis.items() if name[:2] in ("c:", "k:", "u:") and value != "0"]
    balance = await b.projection.balance(account)
    expected = (str(balance.balance), "0", str(balance.version), str(b.generation.number))
    found = (redis.get("bal"), redis.get("held"), redis.get("ver"), redis.get("gen"))
    return "" if found == expected and not left else f"{found} for {expected}; {left}"


async def are_whole_again(
    database_url: str, redis_url: str, subset: tuple[int, ...], seed: str, *, is_older: bool
) -> None:
    """Fails where the keys of ``subset``, lost or put back older, are not whole when every hold is overdue."""
    async with billing(database_url, redis_url) as dying, billing(database_url, redis_url) as living:
        briefly(dying)
        briefly(living)
        account = await an_account(dying.db, 1_000)
        payer = a_payer(account)
        numbers = random.Random(seed)
        older: dict[str, bytes | None] = {}
        lives: list[Hold] = []
        # Holds that end and holds that do not, before the copy and after it, by both processes.
        for step in range(STEPS):
            for b in (dying, living):
                hold = await b.admit(payer, 30)
                assert isinstance(hold, Hold)
                if numbers.random() < 0.6:
                    await b.charge(hold, 20)
                elif b is living:
                    lives.append(hold)
            if step == 5:
                older = await copy(living, account, subset)
        dying.die()
        await put_back(living, older if is_older else dict.fromkeys(older))
        gone_at = time.monotonic()
        again = await living.admit(payer, 1)
        for hold in [*lives, again]:
            if isinstance(hold, Hold):
                await living.charge(hold, 1)

        behind: set[AccountId] = set()
        while problem := await is_whole(living, account):
            waited_s = time.monotonic() - gone_at
            assert waited_s < DEADLINE_S + GRACE_S + SLACK_S, problem
            await reap(living.db, living.projection, DEADLINE_S + GRACE_S)
            behind = await resync(living.db, living.projection, behind)
            if not (await living.redis(account)).get("loaded"):
                # A key that is not there is unknown, until the account's next call.
                await living.admit(payer, 1)
            await asyncio.sleep(0.1)
        await living.assert_books_are_right()
