"""Measures payments through real processes: ``python -m bench.payments --payments 200``.

How long a webhook takes to be answered, and how long after that answer the credit is in the balance that every `serve`
says: two of them, one `jobs`, and the tests' stand-in for Stripe over HTTP. Each payment is an account of its own; some
customers pay at the same time. Its webhooks come one after the other, as Stripe sends them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.harness.processes import Product
from tests.harness.stripe_server import KEY, StripeServer
from tests.harness.stripe_webhooks import SECRET, classic, sign

AT_ONCE, PATIENCE_S = 4, 60.0


class Shop:
    """The product and the Stripe beside it; what was measured so far."""

    def __init__(self, product: Product, stripe: StripeServer) -> None:
        self.product, self.stripe = product, stripe
        self.answered_s: list[float] = []
        self.visible_s: list[float] = []
        self.client = httpx.Client(timeout=30)

    def order(self, number: int) -> tuple[str, str]:
        """A key, and the page on which its account's order is paid."""
        key = self.product.wait_until_known(
            self.product.database.a_key(self.product.database.an_account(0, f"{number}"))
        )
        headers = {"authorization": f"Bearer {key}"}
        order = {**headers, "idempotency-key": "bench"}
        made = self.client.post(
            f"{self.product.url}/account/topups", json={"amount_usd": "25.00"}, headers=order
        ).json()
        until = time.monotonic() + PATIENCE_S
        while (url := made["url"]) is None and time.monotonic() < until:
            time.sleep(0.05)
            made = self.client.get(f"{self.product.url}/account/topups/{made['id']}", headers=headers).json()
        return key, str(url).rpartition("/")[2]

    def pay(self, key: str, session: str) -> None:
        with self.stripe.world.lock:
            first = len(self.stripe.world.events)
            self.stripe.world.pay(session)
            events = self.stripe.world.events[first:]
        for event in events:
            body = classic(event)
            headers = {"stripe-signature": sign(body)}
            began = time.perf_counter()
            answer = self.client.post(f"{self.product.serves[0].url}/v1/stripe/webhook", content=body, headers=headers)
            self.answered_s.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
        began = time.perf_counter()
        waiting = list(self.product.serves)
        while waiting and time.perf_counter() - began < PATIENCE_S:
            waiting = [one for one in waiting if self.product.account(key, one)["balance"] != "25.00"]
            time.sleep(0.01)
        self.visible_s.append(time.perf_counter() - began)


def main() -> None:
    """Run it on servers of its own."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--payments", type=int, default=200)
    count = options.parse_args().payments
    with tempfile.TemporaryDirectory(prefix="gr-payments-") as name, Embedded(Path(name) / "stores") as servers:
        migrate(servers.database_url)
        with StripeServer() as stripe:
            settings = {
                "stripe_secret_key": KEY,
                "stripe_webhook_secrets": SECRET,
                "stripe_base_url": stripe.url,
            }
            urls = servers.database_url, servers.redis_url
            with (
                Product(Path(name), *urls, serves=2, settings=settings) as product,
                ThreadPoolExecutor(AT_ONCE) as pool,
            ):
                shop = Shop(product, stripe)
                orders = list(pool.map(shop.order, range(count)))
                list(pool.map(lambda order: shop.pay(*order), orders))
        tell("webhooks answered", shop.answered_s)
        tell("credit visible in every serve after the last answer", shop.visible_s)


def tell(what: str, seconds: Sequence[float]) -> None:
    ordered = sorted(1000 * one for one in seconds)
    median, p99 = (ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] for percent in (50, 99))
    sys.stdout.write(f"{what}: {len(ordered)}, p50 {median:.0f} ms, p99 {p99:.0f} ms, worst {ordered[-1]:.0f} ms\n")


if __name__ == "__main__":
    main()
