"""Two serves, jobs, Redis and Postgres on virtual time; one of them falls silent, and Redis forgets all meanwhile.

The serves run the product's own billing. Accounts are spent to the end again and again, and many calls last longer than
a barrier waits. All chance comes from one seed.
"""

import asyncio
from collections import Counter
from enum import StrEnum
from random import Random
from typing import Any, cast
from uuid import UUID

import msgspec

from billing import lost_holds
from billing.admission import GRACE_S, Admission
from billing.charging import Charging
from billing.errors import BillingUnavailable, ChargeRefused, ChargeUnknown
from billing.generation import Generation
from billing.money import NanoUSD
from billing.projection import Projection, account_key
from billing.reaper import reap, resync
from billing.values import Denied, Quote
from store.ids import AccountId, RequestId
from store.redis_client import RedisUnavailable
from tests.builders.billing import PRICE, usage_of
from tests.builders.values import a_payer
from tests.harness.simulation.postgres_model import PostgresModel, SimulatedDatabase
from tests.harness.simulation.redis_model import RedisModel, SimulatedClient
from tests.harness.simulation.virtual_time import Link, VirtualLoop

COST, LANES, DEADLINE_S = 10, 8, 20.0
ACCOUNTS = [AccountId(UUID(int=number)) for number in (1, 2)]
SILENT_AT_S, SETTLED_WITHIN_S = 10.0, DEADLINE_S + GRACE_S + 15.0


class Silence(StrEnum):
    """Who falls silent, and how."""

    SERVE_FROZEN = "serve frozen"
    SERVE_CUT = "serve cut off from postgres"
    SERVE_MUTE = "postgres hears nothing of serve"
    SERVE_DEAF = "serve hears nothing of postgres"
    SERVE_CUT_FROM_REDIS = "serve cut off from redis"
    SERVE_DEAF_TO_REDIS = "serve hears nothing of redis"
    SERVE_CUT_FROM_BOTH = "serve cut off from postgres and redis"
    JOBS_FROZEN = "jobs frozen"
    JOBS_CUT = "jobs cut off from postgres"
    JOBS_MUTE = "jobs not heard by postgres"
    JOBS_DEAF = "jobs hear nothing of postgres"
    REDIS_FROZEN = "redis frozen"
    POSTGRES_FROZEN = "postgres frozen"


class Report(msgspec.Struct):
    """What a run saw."""

    answered: int = 0
    refused: int = 0
    overdraft: int = 0
    breaches: list[str] = []


class _Process:
    """One process: the product's billing over links of its own."""

    def __init__(self, world: "World", name: str, kind: str) -> None:
        loop = world.loop
        self.name = name
        self.to_postgres, self.to_redis = Link(world.postgres.gate), Link(world.redis.gate)
        self.db = cast("Any", SimulatedDatabase(loop, self.to_postgres, world.postgres))
        self.generation = Generation(self.db, kind)
        self.projection = Projection(self.db, self.generation)
        client = SimulatedClient(loop, self.to_redis, world.redis, self.generation.on_connect)
        self.projection.redis = cast("Any", client)
        self.charging = Charging(self.db, self.projection, self.generation, "commit")
        self.admission = Admission(self.projection, self.generation)
        runs = [client.run(), self.generation.run(), self.projection.run(), self.charging.run()]
        runs.append(lost_holds.watch(self.projection, self.generation))
        self.tasks = [loop.start(name, run) for run in runs]


class World:
    """One run. ``has_leases`` False shows what would happen without the fence at the commit."""

    def __init__(self, loop: VirtualLoop, seed: int, *, has_leases: bool) -> None:
        self.loop = loop
        self.random = Random(seed)
        self.report = Report()
        self.postgres = PostgresModel(loop.time, has_leases=has_leases)
        self.redis = RedisModel(loop.time)
        self.is_over = False
        self._calls = 0
        self._charged: Counter[RequestId] = Counter()
        for account in ACCOUNTS:
            self.postgres.grant(account, 20 * COST)
        self.serves = [_Process(self, f"serve-{number}", "serve") for number in range(2)]
        self.jobs = _Process(self, "jobs", "jobs")

    async def run(self, silence: Silence, duration_s: float, wipes: int) -> Report:
        tasks = [self.loop.start(serve.name, self._lane(serve)) for serve in self.serves for _ in range(LANES)]
        tasks += [self.loop.start("jobs", self._repair()), self.loop.start("", self._top_up())]
        await asyncio.sleep(SILENT_AT_S)
        self._set(silence, is_silent=True)
        instants = sorted(self.random.uniform(0, duration_s + 2) for _ in range(wipes))
        forgets = [(at, self.random.choice((self.redis.flush, self.redis.restart))) for at in instants]
        passed_s = 0.0
        for at, forget in [*((a, f) for a, f in forgets if a < duration_s), (duration_s, None)]:
            await asyncio.sleep(at - passed_s)
            passed_s = at
            if forget is not None:
                forget()
        self._set(silence, is_silent=False)
        for at, forget in ((a, f) for a, f in forgets if a >= duration_s):
            await asyncio.sleep(at - passed_s)
            passed_s = at
            forget()
        await asyncio.sleep(15)
        self.is_over = True
        await self._settle()
        for task in [*tasks, *(task for process in (*self.serves, self.jobs) for task in process.tasks)]:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.report.breaches.append(f"a task has ended: {task.exception()!r}")
            task.cancel()
        self.report.overdraft = self.postgres.overdraft
        return self.report

    def _set(self, silence: Silence, *, is_silent: bool) -> None:
        is_open, who = not is_silent, self.jobs if silence.value.startswith("jobs") else self.serves[0]
        match silence:
            case Silence.SERVE_FROZEN | Silence.JOBS_FROZEN:
                (self.loop.freeze if is_silent else self.loop.thaw)(who.name)
            case Silence.REDIS_FROZEN:
                self.redis.gate.set(is_open=is_open)
            case Silence.POSTGRES_FROZEN:
                self.postgres.gate.set(is_open=is_open)
            case _:
                self._cut(silence, who, is_open=is_open)

    @staticmethod
    def _cut(silence: Silence, who: "_Process", *, is_open: bool) -> None:
        to_postgres = {Silence.SERVE_CUT, Silence.SERVE_MUTE, Silence.SERVE_CUT_FROM_BOTH}
        to_postgres |= {Silence.JOBS_CUT, Silence.JOBS_MUTE}
        from_postgres = {Silence.SERVE_CUT, Silence.SERVE_DEAF, Silence.SERVE_CUT_FROM_BOTH}
        from_postgres |= {Silence.JOBS_CUT, Silence.JOBS_DEAF}
        to_redis = {Silence.SERVE_CUT_FROM_REDIS, Silence.SERVE_CUT_FROM_BOTH}
        for gate, silences in (
            (who.to_postgres.to_server, to_postgres),
            (who.to_postgres.from_server, from_postgres),
            (who.to_redis.to_server, to_redis),
            (who.to_redis.from_server, to_redis | {Silence.SERVE_DEAF_TO_REDIS}),
        ):
            if silence in silences:
                gate.set(is_open=is_open)

    async def _lane(self, serve: _Process) -> None:
        while not self.is_over:
            await self.call(serve, self.random.choice(ACCOUNTS))
            await asyncio.sleep(self.random.uniform(0.05, 0.5))

    async def call(self, serve: _Process, account: AccountId) -> bool:
        """One call as the pipeline makes it; whether it was answered."""
        self._calls += 1
        request_id = RequestId(UUID(int=(1 << 64) + self._calls))
        quote = Quote(tokens_max=COST, amount_max=NanoUSD(COST), price=PRICE, exact=True)
        now, deadline_at = serve.db.clock.now(), self.loop.time() + DEADLINE_S
        try:
            hold = await serve.admission.admit(request_id, a_payer(account), quote, now, deadline_at, None)
        except BillingUnavailable:
            self.report.refused += 1
            return False
        if isinstance(hold, Denied):
            return False
        is_long = self.random.random() < 0.3
        await asyncio.sleep(self.random.uniform(3, DEADLINE_S) if is_long else self.random.uniform(0.02, 1))
        try:
            await serve.charging.charge(hold, usage_of(COST, now))
        except (ChargeRefused, ChargeUnknown, BillingUnavailable) as fault:
            self.report.refused += 1
            ended = self.postgres.ended.get(request_id)
            if isinstance(fault, ChargeRefused) and ended is not None and ended.outcome == "charged":
                self.report.breaches.append(f"{request_id} was charged and its caller was told that it was not")
            return False
        finally:
            serve.admission.release(hold)
        self.report.answered += 1
        if self.postgres.ended[request_id].outcome != "charged":
            self.report.breaches.append(f"{request_id} was answered and not charged")
        return True

    async def _repair(self) -> None:
        """What jobs do."""
        behind: set[AccountId] = set()
        while True:
            try:
                if self.jobs.generation.number:
                    await reap(self.jobs.db, self.jobs.projection, DEADLINE_S + GRACE_S)
                    behind = await resync(self.jobs.db, self.jobs.projection, behind)
            except RedisUnavailable:
                pass
            await asyncio.sleep(2)

    async def _top_up(self) -> None:
        while not self.is_over:
            await asyncio.sleep(self.random.uniform(1, 4))
            self.postgres.grant(self.random.choice(ACCOUNTS), self.random.randrange(1, 10) * COST)

    async def _settle(self) -> None:
        """Every serve answers again, and then Redis is what Postgres is, with nothing held."""
        for account in ACCOUNTS:
            self.postgres.grant(account, 1_000 * COST)
        for serve in self.serves:
            for account in ACCOUNTS:
                until = self.loop.time() + SETTLED_WITHIN_S
                while not await self.call(serve, account):
                    if self.loop.time() > until:
                        self.report.breaches.append(f"{serve.name} does not serve again")
                        return
                    await asyncio.sleep(0.5)
        until = self.loop.time() + SETTLED_WITHIN_S
        while self.loop.time() < until and any(self._unsettled(account) for account in ACCOUNTS):  # noqa: ASYNC110
            await asyncio.sleep(1)
        self.report.breaches += filter(None, map(self._unsettled, ACCOUNTS))

    def _unsettled(self, account: AccountId) -> str:
        fields = {
            name.decode(): value.decode()
            for name, value in self.redis.hashes.get(account_key(account).encode(), {}).items()
        }
        credit = self.postgres.accounts[account]
        expected = (str(credit.posted_nano), str(credit.version), "0")
        found = (fields.get("bal"), fields.get("ver"), fields.get("held"))
        left = [name for name in fields if name[:2] in ("h:", "d:", "q:")]
        return "" if found == expected and not left else f"{account}: Redis has {found}, Postgres {expected}; {left}"


def simulate(silence: Silence, duration_s: float, seed: int, *, wipes: int = 2, has_leases: bool = True) -> Report:
    """One run, to the end."""
    loop = VirtualLoop()
    try:
        world = World(loop, seed, has_leases=has_leases)
        return loop.run_until_complete(world.run(silence, duration_s, wipes))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
