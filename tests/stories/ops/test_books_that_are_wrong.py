"""A ledger that somebody changed behind the product's back is told, with the accounts that are wrong."""

from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.harness.admin_client import Operator, an_operator
from tests.harness.processes import Product


@pytest.fixture
def product(servers: Embedded, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    with Product(tmp_path_factory.mktemp("books"), database_url, servers.redis_url, jobs=False) as running:
        yield running


@pytest.fixture
def finance(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "finance_admin")


def test_a_running_credit_that_is_not_its_postings_is_named(product: Product, finance: Operator) -> None:
    account = product.database.an_account(1_000_000_000)
    assert finance("GET", "/ledger:trial-balance")["balanced"]
    product.database.rows("ALTER TABLE ledger_accounts DISABLE TRIGGER USER")
    product.database.rows(
        "UPDATE ledger_accounts SET posted_nano = posted_nano + 1, version = version + 1 WHERE account_id = $1"
        " AND kind = 'customer_credit'",
        account,
    )
    answer = finance("GET", "/ledger:trial-balance")
    assert (answer["balanced"], answer["drifted_credits"]) == (False, [wire(AccountId, account)])
    assert answer["total_usd"] == "0.00"
