"""A ``serve`` falls silent with calls in flight, Redis is wiped meanwhile, and another ``serve`` spends the account.

Credit for so many calls pays exactly so many, whatever the first one does when it is back.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.links import Cut, PostgresLink
from tests.harness.processes import Product
from tests.harness.raw_http import request_bytes, send
from tests.harness.silent_serve import ANSWERED_AFTER_S, CALLS, COST_NANO, TOKENS, Attack

BODY = {"model": "tests/counted", "input": list(range(TOKENS))}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def link(module_database_url: str) -> Iterator[PostgresLink]:
    with PostgresLink(module_database_url) as link:
        yield link


@pytest.fixture(scope="module")
def product(
    servers: Embedded,
    module_database_url: str,
    upstream: Upstream,
    link: PostgresLink,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Product]:
    """Two serves; the first one reaches Postgres through a link that can be cut."""
    servers.redis.command("FLUSHALL")
    folder = tmp_path_factory.mktemp("silent")
    product = Product(folder, module_database_url, servers.redis_url, serves=2, serve_database_urls={0: link.url})
    model = product.database.a_model("tests/counted", nano_per_mtok=1_000_000, vocabulary=1_000)
    product.database.an_endpoint(model, upstream.base_url)
    with product:
        yield product


@pytest.mark.parametrize("silence", ["frozen", *Cut])
def test_credit_is_spent_once_however_a_serve_falls_silent(
    product: Product, servers: Embedded, upstream: Upstream, link: PostgresLink, silence: str
) -> None:
    account = product.database.an_account(CALLS * COST_NANO)
    key = product.wait_until_known(product.database.a_key(account))
    upstream.always = Scripted(delay_s=ANSWERED_AFTER_S)
    silent, other = product.serves

    def fall_silent() -> None:
        if isinstance(silence, Cut):
            link.cut(silence)
        else:
            silent.signal(signal.SIGSTOP)

    def wake() -> None:
        silent.signal(signal.SIGCONT)
        link.mend()

    attack = Attack(
        key, "tests/counted", silent.port, other.port, fall_silent, wake, lambda: servers.redis.command("FLUSHALL")
    )
    first, second = asyncio.run(attack.run())
    statuses, others = Counter(reply.status for reply in first), Counter(reply.status for reply in second)
    # Where Postgres heard the silent serve for a while, it charged those calls, and the other spent what was left.
    assert statuses[200] + others[200] == CALLS
    assert (statuses[503], others[402]) == (CALLS - statuses[200], CALLS - others[200]), (statuses, others)
    assert others[200] == CALLS or silence is Cut.FROM_SERVER
    booked = product.database.rows(
        "SELECT charged_nano, overdraft_nano FROM usage_events WHERE account_id = $1", account
    )
    assert [tuple(row) for row in booked] == [(COST_NANO, 0)] * CALLS
    # It serves again, without a hand, and Redis holds nothing more.
    silent.wait_until_ready()
    product.wait_until_known(key)
    account_now = product.account(key, silent)
    assert (account_now["balance"], account_now["held"]) == ("0.00", "0.00")


def test_a_serve_that_cannot_reach_postgres_sends_nothing_to_an_endpoint(
    product: Product, upstream: Upstream, link: PostgresLink
) -> None:
    key = product.wait_until_known(product.database.a_key(product.database.an_account(100 * COST_NANO)))
    upstream.always = Scripted()
    silent = product.serves[0]
    assert asyncio.run(send(silent.port, request_bytes("/v1/embeddings", key, BODY))).status == 200
    before = len(upstream.calls)
    link.cut(Cut.BOTH)
    time.sleep(3)
    reply = asyncio.run(send(silent.port, request_bytes("/v1/embeddings", key, BODY), timeout_s=60))
    link.mend()
    assert reply.status == 503
    assert len(upstream.calls) == before
    silent.wait_until_ready()
