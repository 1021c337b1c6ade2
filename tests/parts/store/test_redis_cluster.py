"""A real Redis Cluster of three primaries: keys find their owners, follow them when they move, outlive a lost node."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from store.checks import check_redis
from store.faults import UnsafeServer
from store.redis_client import RedisClient, RedisUnavailable, Script
from tests.harness.redis_cluster import Node, RedisCluster

pytestmark = pytest.mark.anyio

COUNT = Script("return redis.call('INCR', KEYS[1])")
KEYS = [f"key {number}" for number in range(60)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(cluster: RedisCluster) -> None:
    for node in cluster.nodes:
        node.client.flushall()


@asynccontextmanager
async def hot_of(url: str) -> AsyncIterator[tuple[RedisClient, list[str]]]:
    """Connected; beside it the identities that it was let through with."""
    identities: list[str] = []

    async def connected(identity: str) -> None:
        identities.append(identity)

    redis = RedisClient(url, (COUNT,), connected)
    async with asyncio.TaskGroup() as group:
        keeps = group.create_task(redis.run())
        assert await redis.wait_connected(10)
        yield redis, identities
        keeps.cancel()


async def counted(redis: RedisClient, keys: list[str]) -> list[int]:
    return list(await asyncio.gather(*(redis.call(COUNT, [key], []) for key in keys)))


async def eventually(redis: RedisClient, key: str) -> int:
    """What COUNT says once the key can be asked for again; an election that is lost is held again after 8 s."""
    async with asyncio.timeout(60):
        while True:
            try:
                return int(await redis.call(COUNT, [key], []))
            except RedisUnavailable:
                await asyncio.sleep(0.05)


def asked(node: Node) -> int:
    """How many scripts it was sent, those that it redirected included."""
    stats = node.client.info("commandstats")["cmdstat_evalsha"]
    return int(stats["calls"]) + int(stats["rejected_calls"])


def other_than(cluster: RedisCluster, node: Node) -> Node:
    return next(each for each in cluster.nodes if each is not node)


async def test_every_key_is_asked_for_at_its_owner(cluster: RedisCluster) -> None:
    async with hot_of(cluster.url) as (redis, identities):
        assert await counted(redis, KEYS) == [1] * len(KEYS)
        assert sorted([key.decode() async for key in redis.keys("key *")]) == sorted(KEYS)
        assert await redis.command("GET", KEYS[0]) == b"1"
        assert await asyncio.gather(*redis.command_all("PING")) == [b"PONG"] * 3
        assert all(node.client.dbsize() for node in cluster.nodes)
        assert len(identities) == 1


async def test_any_node_by_any_name_leads_to_the_same_cluster(cluster: RedisCluster) -> None:
    found: set[str] = set()
    for url in (cluster.url, f"redis://localhost:{cluster.nodes[2].port}/0"):
        async with hot_of(url) as (redis, identities):
            assert await counted(redis, KEYS)
            # The node that was asked by another name is not taken for one more.
            await asyncio.sleep(0.5)
            found.update(identities)
    assert len(found) == 1


async def test_scripts_that_were_flushed_are_loaded_again(cluster: RedisCluster) -> None:
    async with hot_of(cluster.url) as (redis, _):
        for node in cluster.nodes:
            node.client.script_flush()
        assert await counted(redis, KEYS) == [1] * len(KEYS)
        assert await counted(redis, KEYS) == [2] * len(KEYS)


async def test_a_key_is_followed_while_its_slot_moves_and_after(cluster: RedisCluster) -> None:
    async with hot_of(cluster.url) as (redis, identities):
        key = KEYS[0]
        assert await counted(redis, [key]) == [1]
        source, slot = cluster.node_of(key), cluster.slot_of(key)
        target = other_than(cluster, source)
        cluster.begin_move(slot, source, target)
        assert await counted(redis, [key, key]) == [2, 3]
        cluster.end_move(slot, target)
        assert await counted(redis, [key]) == [4]
        # Soon it is asked for there straight: the old owner is not asked any more.
        await asyncio.sleep(1)
        before = asked(source)
        assert await counted(redis, [key]) == [5]
        assert asked(source) == before
        assert len(set(identities)) == 1
        cluster.begin_move(slot, target, source)
        cluster.end_move(slot, source)


async def test_only_the_keys_of_a_lost_node_are_refused_until_it_is_back(cluster: RedisCluster) -> None:
    async with hot_of(cluster.url) as (redis, identities):
        await counted(redis, KEYS)
        lost = cluster.nodes[1]
        gone = [key for key in KEYS if cluster.node_of(key) is lost]
        rest = [key for key in KEYS if key not in gone]
        lost.kill()
        await asyncio.sleep(0.2)
        for key in gone:
            with pytest.raises(RedisUnavailable):
                await redis.call(COUNT, [key], [])
        assert await counted(redis, rest) == [2] * len(rest)
        assert redis.is_open
        lost.start()
        cluster.wait_until_whole()
        # It has forgotten all, and nobody was let through to it before its new identity was handed over.
        assert await eventually(redis, gone[0]) == 1
        assert len(set(identities)) == 2
        assert await counted(redis, rest) == [3] * len(rest)


async def test_a_replica_that_takes_over_is_followed(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        replica = cluster.add_replica(cluster.nodes[0])
        async with hot_of(cluster.url) as (redis, identities):
            key = next(key for key in KEYS if cluster.node_of(key) is cluster.nodes[0])
            assert await counted(redis, [key]) == [1]
            await asyncio.sleep(0.5)
            cluster.nodes[0].kill()
            # Replicated before the death, so it counts on; the set of primaries is another.
            assert await eventually(redis, key) == 2
            assert cluster.node_of(key) is replica
            assert len(set(identities)) == 2


async def test_a_silent_node_is_given_up(cluster: RedisCluster) -> None:
    async with hot_of(cluster.url) as (redis, _):
        silent = cluster.nodes[2]
        key = next(key for key in KEYS if cluster.node_of(key) is silent)
        waits = redis.call(COUNT, [key], [])
        await waits
        silent.freeze()
        try:
            with pytest.raises(RedisUnavailable):
                async with asyncio.timeout(20):
                    await redis.call(COUNT, [key], [])
        finally:
            silent.thaw()
        assert await eventually(redis, key) >= 2


async def test_a_command_without_a_key_has_no_owner(cluster: RedisCluster) -> None:
    async with hot_of(cluster.url) as (redis, _):
        with pytest.raises(AssertionError, match="no one owner"):
            await redis.command("FLUSHALL")


async def test_every_primary_must_be_fit(cluster: RedisCluster) -> None:
    await check_redis(cluster.url)
    for node, policy in itertools.product(cluster.nodes, ["allkeys-lru"]):
        node.client.config_set("maxmemory-policy", policy)
        with pytest.raises(UnsafeServer, match=f"Redis at 127.0.0.1:{node.port} runs with maxmemory-policy {policy}"):
            await check_redis(cluster.url)
        node.client.config_set("maxmemory-policy", "noeviction")
    await check_redis(cluster.url)
