"""Attacks on stores of their own, without a storm: wrong clocks, unfinished bodies, impostors."""

import asyncio
import random
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil

from router.api.server.guard import ARRIVING_BYTES_MAX
from router.values import EndpointState
from router.verification.report import Occasion
from tests.builders.spaces import SpaceLab
from tests.chaos.attacks.outcome import Outcome, Venues, dice_of, reason_of
from tests.chaos.table import Cell, Place
from tests.harness import compared_traffic
from tests.harness.crowd import crowd
from tests.harness.fake_upstream import Reply, Upstream, unit_vector
from tests.harness.impostors import IMPOSTORS, a_verified_space, lateness_of
from tests.harness.processes import Product
from tests.harness.raw_http import Gone, request_bytes, send
from tests.harness.verified_upstreams import WIDTH, Impostor, NamedWorker
from tests.harness.wrong_clocks import CALLS, harm_nothing

# What a serve needs for other things while bodies arrive, and what of a request is not its body.
BESIDE_BODIES_BYTES = 64 * 1024 * 1024
CALLS_BESIDE_BODIES = 20
CROWDED_S = 4.0
IMPOSTORS_EACH = 3
COMPARED = 5


def clock(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """The wrong clock is of one process; while calls run, the two processes' clocks change places."""
    hours = cell.level * dice_of(cell, seed).choice((-1, 1))
    serve, jobs = (hours, 0.0) if cell.place is Place.SERVE else (0.0, hours)
    servers, url = venues.stores()
    try:
        harm_nothing(url, servers.redis_url, timedelta(hours=serve), timedelta(hours=jobs))
    except (AssertionError, BaseExceptionGroup) as loss:
        return Outcome(CALLS, 2, [f"{hours:g} h at {cell.place}: {reason_of(loss)}"])
    return Outcome(CALLS, 2)


def bodies(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """A serve takes no more memory than its bound, and answers or refuses whoever calls beside the crowd."""
    servers, url = venues.stores()
    losses: list[str] = []
    with Upstream().in_thread() as upstream:
        product = Product(venues.new_folder(), url, servers.redis_url, jobs=False)
        product.database.an_endpoint(product.database.a_model("chaos/texts"), upstream.base_url)
        key = product.database.a_key(product.database.an_account(10**9))
        with product:
            product.wait_until_known(key)
            serve = product.serves[0]
            process = psutil.Process(serve.pid)
            request = request_bytes("/v1/embeddings", key, {"model": "chaos/texts", "input": "beside a crowd"})
            before, peak, ends = process.memory_info().rss, 0, Counter[str]()
            with crowd(serve.port, round(cell.level), "/v1/embeddings", key):
                until = time.monotonic() + CROWDED_S
                while time.monotonic() < until:
                    peak = max(peak, process.memory_info().rss)
                    if sum(ends.values()) < CALLS_BESIDE_BODIES:
                        ends[asyncio.run(_end_of(serve.port, request))] += 1
            ends[asyncio.run(_end_of(serve.port, request))] += 1
            losses += [] if serve.runs else ["the serve ended"]
        taken = peak - before
        venues.say(f"  {taken / 2**20:.0f} MiB for {cell.level:g} bodies; beside them {dict(ends)}")
        if taken > ARRIVING_BYTES_MAX + BESIDE_BODIES_BYTES:
            losses.append(f"{taken / 2**20:.0f} MiB for bodies, and the bound is {ARRIVING_BYTES_MAX / 2**20:.0f}")
        charged = product.database.value("SELECT count(*) FROM usage_events")
        if charged != ends["200"] or set(ends) - {"200", "503"}:
            losses.append(f"{charged} charged, and callers saw {dict(ends)}")
    return Outcome(round(cell.level) + sum(ends.values()), 1, losses)


async def _end_of(port: int, request: bytes) -> str:
    try:
        return str((await send(port, request)).status)
    except Gone as gone:
        return str(gone)


def impostor(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """Caught at its test, by the probes after it turned, or by real calls that are compared."""
    dice = dice_of(cell, seed)
    if cell.level == 2:
        return _compared(venues)
    names = dice.sample(sorted(IMPOSTORS), IMPOSTORS_EACH)
    losses = []
    for name in names:
        _, url = venues.stores()
        if loss := asyncio.run(_tested(url, name, turns=cell.level == 1, dice=dice)):
            losses.append(loss)
    venues.say(f"  {', '.join(names)}")
    return Outcome(len(names), len(names), losses)


async def _tested(url: str, name: str, *, turns: bool, dice: random.Random) -> str:
    """What is wrong where an impostor is live in the end."""
    lab = SpaceLab(url)
    try:
        with NamedWorker(WIDTH).in_thread() as worker, Impostor(IMPOSTORS[name][0]).in_thread() as upstream:
            upstream.always = Reply(delay_s=lateness_of(name))
            model = await a_verified_space(lab, worker)
            endpoint = await lab.a_draft(model, "impostor", upstream.base_url)
            if turns:
                upstream.is_honest = True
                if (await lab.verify(endpoint)).state is not EndpointState.LIVE:
                    return f"{name}: it was honest and did not go live"
                upstream.is_honest = False
                report = await lab.verify(endpoint, Occasion.PERIODIC)
            else:
                report = await lab.verify(endpoint)
            return "" if report.state is EndpointState.QUARANTINED else f"{name}: it is {report.state.value}"
    finally:
        await lab.close()


def _compared(venues: Venues) -> Outcome:
    servers, url = venues.stores()
    folder: Path = venues.new_folder()
    with Upstream(8).in_thread() as first, compared_traffic.Second().in_thread() as second:
        settings = {"compare_share": "1"}
        product, key = compared_traffic.a_comparing_product(servers, url, folder, first, second, **settings)
        try:
            with product:
                product.wait_until_known(key)
                second.shift = True
                right = unit_vector(compared_traffic.TEXT, 8)
                vectors = [compared_traffic.call(product, key) for _ in range(COMPARED)]
                assert all(abs(a - b) < 1e-6 for vector in vectors for a, b in zip(vector, right, strict=True))
                compared_traffic.until(product, "answers_disagreeing", 1)
                compared_traffic.until_both_are_due(product)
                assert product.database.value("SELECT count(*) FROM usage_events") == COMPARED
        except (AssertionError, BaseExceptionGroup) as loss:
            return Outcome(COMPARED, 1, [f"compared traffic: {reason_of(loss)}"])
    return Outcome(COMPARED, 1)
