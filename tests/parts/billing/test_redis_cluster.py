"""Holds and charges on a real Redis Cluster: accounts on every primary, one of which is lost, wiped or flushed."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from billing.projection import account_key
from billing.reaper import accounts_in_redis, mismatches, reap
from billing.values import Denied, Hold
from store.ids import AccountId
from store.redis_client import RedisUnavailable
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer
from tests.harness.redis_cluster import Node, RedisCluster

ACCOUNTS = 24
CREDIT = 1_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster_url(cluster: RedisCluster) -> str:
    """The cluster, emptied (data, scripts) before this test."""
    for node in cluster.nodes:
        node.client.flushall()
        node.client.script_flush()
    return cluster.url


async def accounts_everywhere(b: Billing, cluster: RedisCluster) -> dict[AccountId, Node]:
    """Accounts with credit, and the node of each; every node has some."""
    accounts = [await an_account(b.db, CREDIT) for _ in range(ACCOUNTS)]
    nodes = {account: cluster.node_of(account_key(account)) for account in accounts}
    assert len({node.port for node in nodes.values()}) == len(cluster.nodes)
    return nodes


async def held(b: Billing, account: AccountId, amount: int) -> Hold:
    hold = await b.admit(a_payer(account), amount)
    assert isinstance(hold, Hold)
    return hold


async def admitted(b: Billing, nodes: dict[AccountId, Node], amount: int) -> int:
    """How many accounts may hold so much; all are asked at once, since credit that is held is waited for."""
    answers = await asyncio.gather(*(b.admit(a_payer(account), amount) for account in nodes))
    return sum(isinstance(answer, Hold) for answer in answers)


async def until_connected(b: Billing, nodes: dict[AccountId, Node]) -> None:
    """Until every account's node answers again, and the generation that this began is entered."""
    assert b.projection.redis is not None
    async with asyncio.timeout(30):
        for account in nodes:
            while True:
                try:
                    await b.projection.redis.command("EXISTS", account_key(account))
                    break
                except RedisUnavailable:
                    await asyncio.sleep(0.05)
    assert await b.generation.ready(10)


def test_calls_of_many_accounts_are_held_and_charged_on_every_primary(
    database_url: str, cluster: RedisCluster, cluster_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            nodes = await accounts_everywhere(b, cluster)
            holds = await asyncio.gather(*(held(b, account, 400) for account in nodes))
            await asyncio.gather(*(b.charge(hold, 300) for hold in holds))
            await b.projection.flush()
            for account in nodes:
                redis = await b.redis(account)
                assert (redis["bal"], redis["held"], redis["ver"]) == ("700", "0", "2")
                assert isinstance(await b.admit(a_payer(account), 701), Denied)
            assert await mismatches(b.db, b.projection) == []
            assert {account async for account in accounts_in_redis(b.projection)} == set(nodes)
            assert b.projection.script_faults == 0

    asyncio.run(story())


def test_concurrent_calls_never_overspend(database_url: str, cluster: RedisCluster, cluster_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as one, billing(database_url, cluster_url) as other:
            nodes = await accounts_everywhere(one, cluster)
            payers = [a_payer(account) for account in nodes for _ in range(6)]
            answers = await asyncio.gather(
                *(b.admit(payer, 300) for payer in payers for b in (one, other)),
            )
            admitted = Counter(answer.payer.account_id for answer in answers if isinstance(answer, Hold))
            assert admitted == dict.fromkeys(nodes, CREDIT // 300)

    asyncio.run(story())


def test_a_primary_that_is_wiped_begins_a_generation_with_every_live_hold(
    database_url: str, cluster: RedisCluster, cluster_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            nodes = await accounts_everywhere(b, cluster)
            holds = await asyncio.gather(*(held(b, account, 900) for account in nodes))
            before = b.generation.number
            cluster.nodes[1].kill()
            cluster.nodes[1].start()
            cluster.wait_until_whole()
            await until_connected(b, nodes)
            assert b.generation.number == before + 1
            # The holds are alive on the node that forgot them and on those that did not.
            assert await admitted(b, nodes, 101) == 0
            await asyncio.gather(*(b.charge(hold, 900) for hold in holds))
            await b.projection.flush()
            for account in nodes:
                redis = await b.redis(account)
                assert (redis["bal"], redis["held"]) == ("100", "0")
            assert await mismatches(b.db, b.projection) == []

    asyncio.run(story())


def test_a_primary_that_lost_its_keys_and_kept_its_name_is_found_out(
    database_url: str, cluster: RedisCluster, cluster_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            nodes = await accounts_everywhere(b, cluster)
            await asyncio.gather(*(held(b, account, 900) for account in nodes))
            before = b.generation.number
            cluster.nodes[2].client.flushall()
            assert await admitted(b, nodes, 101) == 0
            assert b.generation.number == before + 1

    asyncio.run(story())


def test_while_a_primary_is_away_the_accounts_of_the_others_are_served(
    database_url: str, cluster: RedisCluster, cluster_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            nodes = await accounts_everywhere(b, cluster)
            holds = {account: await held(b, account, 100) for account in nodes}
            before, lost = b.generation.number, cluster.nodes[0]
            lost.kill()
            try:
                await asyncio.sleep(0.3)
                await asyncio.gather(*(b.charge(hold, 100) for hold in holds.values()))
                for account, node in nodes.items():
                    if node is not lost:
                        assert isinstance(await b.admit(a_payer(account), 900), Hold)
                assert b.generation.number == before
            finally:
                lost.start()
                cluster.wait_until_whole()
            await until_connected(b, nodes)
            # What was committed while it was away is in the balance that the lost accounts are loaded with.
            for account, node in nodes.items():
                if node is lost:
                    assert isinstance(await b.admit(a_payer(account), 901), Denied)
                    assert isinstance(await b.admit(a_payer(account), 900), Hold)

    asyncio.run(story())


def test_flushed_scripts_are_noticed_by_nobody(database_url: str, cluster: RedisCluster, cluster_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            nodes = await accounts_everywhere(b, cluster)
            holds = await asyncio.gather(*(held(b, account, 400) for account in nodes))
            for node in cluster.nodes:
                node.client.script_flush()
            await asyncio.gather(*(b.charge(hold, 400) for hold in holds))
            for account in nodes:
                await held(b, account, 600)
            assert b.projection.script_faults == 0

    asyncio.run(story())


def test_an_account_moves_to_another_primary_with_its_holds(
    database_url: str, cluster: RedisCluster, cluster_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            account = await an_account(b.db, CREDIT)
            hold = await held(b, account, 900)
            before, key = b.generation.number, account_key(account)
            slot, source = cluster.slot_of(key), cluster.node_of(key)
            target = next(node for node in cluster.nodes if node is not source)
            cluster.begin_move(slot, source, target)
            await held(b, account, 50)
            cluster.end_move(slot, target)
            await held(b, account, 50)
            assert isinstance(await b.admit(a_payer(account), 1), Denied)
            await b.charge(hold, 900)
            await b.projection.flush()
            redis = await b.redis(account)
            assert (redis["bal"], redis["held"]) == ("100", "100")
            assert b.generation.number == before
            cluster.begin_move(slot, target, source)
            cluster.end_move(slot, source)

    asyncio.run(story())


def test_overdue_holds_of_every_primary_are_reaped(database_url: str, cluster: RedisCluster, cluster_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, cluster_url) as b:
            nodes = await accounts_everywhere(b, cluster)
            for account in nodes:
                b.projection.abandon((await held(b, account, 900)).id)
                await b.make_overdue(account)
            assert await reap(b.db, b.projection, 80) == ACCOUNTS
            await b.projection.flush()
            for account in nodes:
                await held(b, account, CREDIT)

    asyncio.run(story())
