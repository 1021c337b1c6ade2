"""``make stripe-smoke``: the stories of payments at Stripe itself, with the test key in GIGAROUTER_TEST_STRIPE_KEY.

It makes customers, invoices, payments of test cards and refunds in that account's test mode, and changes nothing else.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import stripe
from sqlalchemy import text

from billing.stripe.config import API_URL
from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.builders.stripe import a_config, payments_at
from tests.harness.stripe_server import StripeServer
from tests.stripe_smoke.stories import STORIES

NAME = "GIGAROUTER_TEST_STRIPE_KEY"
# Stripe's own test cards: https://docs.stripe.com/testing
CARDS = {
    "pays": "pm_card_visa",
    "declined": "pm_card_chargeCustomerFail",
    "authentication": "pm_card_authenticationRequired",
}
CURSOR = text("INSERT INTO stripe_cursors VALUES (:name, now() + interval '9 min')")


class SavedCards:
    """Saves them by Stripe's own client."""

    def __init__(self, key: str) -> None:
        self._stripe = stripe.StripeClient(key, http_client=stripe.HTTPXClient(timeout=20))

    async def save(self, customer: str, behaviour: str) -> None:
        params: Any = {"customer": customer}
        await self._stripe.v1.payment_methods.attach_async(CARDS[behaviour], params)


async def smoke(key: str, servers: Embedded) -> None:
    servers.postgres.ensure_database("smoke")
    url = servers.postgres.url("smoke")
    await asyncio.to_thread(migrate, url)
    config = a_config(API_URL, key=key)
    with StripeServer() as unused:
        async with payments_at(url, servers.redis_url, config, unused) as p:
            # What happened in the account before is none of ours.
            async with p.db.transaction() as tx:
                for name in ("events", "transactions"):
                    await tx.execute(CURSOR, {"name": name})
            for story in STORIES:
                await story(p, SavedCards(key))
                sys.stdout.write(f"ok  {story.__name__.replace('_', ' ')}\n")


def main() -> int:
    key = os.environ.get(NAME, "")
    if not key:
        sys.stdout.write(f"Skipped: {NAME} has no key. Set it to one of Stripe's test mode, sk_test_… or rk_test_….\n")
        return 0
    if "_test_" not in key:
        sys.stdout.write(f"{NAME} is not a key of test mode, and real money is not for trying.\n")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="gr-smoke-"))
    try:
        with Embedded(folder) as servers:
            asyncio.run(smoke(key, servers))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
