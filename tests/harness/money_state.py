"""The state that the rules of the state machine of money share: the product, the model, and what ties them together."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant
from typing_extensions import override

from billing.contracts.store import list_terms
from billing.credits import GrantKind
from billing.prices import list_prices
from billing.stripe.topups import Topup
from billing.values import Denial, Denied, Hold, Payer, Quote, Usage
from router.registry.indexes import PriceIndex
from router.request.estimate import estimate
from router.response.tokens import compute_usage
from store.ids import AccountId, ContractId, RequestId, new_id
from tests.builders.billing import MODEL, an_account
from tests.builders.stripe import Payments
from tests.builders.values import a_delivery, a_key, a_model, a_payer, a_request, unit_rows
from tests.harness.money_books import assert_all_right, catch_up, read_agreed, read_lines, read_money
from tests.harness.money_model import Money
from tests.harness.money_prices import Agreed, Charged
from tests.harness.payments_thread import PaymentsThread
from tests.harness.stripe_server import StripeServer

LONGEST_S = 80.0
# Of the list, per million tokens: a call of some ten thousand tokens costs as much as an account has credit.
# Odd, so that half of it is a tie, which half-even rounds up.
LIST_PRICE = 50_000_000_003
SIGN_UP = 5_000_000_000
SERVED = a_model(MODEL, special_tokens=0, max_input_tokens=100_000)
NOW = datetime.now(UTC)
THIS_MONTH = NOW.date().replace(day=1)
MONTHS = [(THIS_MONTH - timedelta(days=27 + 30 * back)).replace(day=1) for back in range(3, -1, -1)]


class Account(msgspec.Struct):
    """An account, what the model says of it, its payments, its one key, and its contract for each scope."""

    id: AccountId
    money: Money
    payer: Payer
    agreed: Agreed = msgspec.field(default_factory=Agreed)
    contracts: dict[str, ContractId] = msgspec.field(default_factory=dict)
    cap: int | None = None
    topups: list[Topup] = []
    spent: int = 0
    disputed: bool = False
    has_minimum: bool = False


class Call(msgspec.Struct):
    """A call in flight."""

    account: Account
    hold: Hold
    price: Charged

    @property
    def amount(self) -> int:
        return self.price.cost


class Done(msgspec.Struct):
    """A call that was charged, and the month of its instant."""

    account: AccountId
    month: date
    charged: Charged


class MoneyState(RuleBasedStateMachine):
    """What the rules share; ``urls`` makes a fresh database and an empty Redis for each run."""

    accounts, calls, disputes = Bundle("accounts"), Bundle("calls"), Bundle("disputes")
    urls: Iterator[tuple[str, str]]

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Account] = []
        self.done: dict[RequestId, Done] = {}
        self.listed = LIST_PRICE
        self.today = 0
        self.closed: set[date] = set()
        self.names = (f"fact-{n}" for n in itertools.count(1))
        self.stripe = StripeServer()
        self.stripe.__enter__()
        self.process = PaymentsThread(self.stripe, *next(self.urls))

    @override
    def teardown(self) -> None:
        try:
            self.process.run(assert_all_right)
            self.process.run(self.calls_are_explained)
            self.process.close()
        finally:
            self.stripe.__exit__(None, None, None)

    def open_account_with_gift(self) -> Account:
        """Each has what is given at sign-up."""

        async def story(p: Payments) -> AccountId:
            return await an_account(p.db, SIGN_UP, GrantKind.PROMOTIONAL)

        made = self.process.run(story)
        self.known.append(Account(made, Money(), a_payer(made)))
        self.known[-1].money.give("promotional", SIGN_UP)
        return self.known[-1]

    def nothing_in_flight(self) -> bool:
        return not any(account.money.held for account in self.known)

    def admit(self, account: Account, tokens: int) -> Call | None:
        """Quote as ``POST /v1/quote`` and the call itself do, from what a serve process reads, and hold that."""
        price = msgspec.structs.replace(account.agreed.price_of(self.listed), tokens=tokens)
        amount = price.cost

        async def story(p: Payments) -> object:
            await catch_up(p)
            quote = quote_of(p, account, await read_prices(p), tokens)
            assert (quote.exact, quote.price.nano_per_mtok, quote.amount_max) == (True, price.nano_per_mtok, amount)
            admit = p.billing.admission.admit
            return await admit(RequestId(new_id()), account.payer, quote, datetime.now(UTC), _in_a_minute(), None)

        answer = self.process.run(story)
        cap = account.cap
        if isinstance(answer, Denied):
            is_over = cap is not None and account.spent + account.money.held + amount > cap
            assert {Denial.CREDIT: amount > account.money.free, Denial.CAP: is_over}[answer.reason], answer
            return None
        assert isinstance(answer, Hold)
        assert amount <= account.money.free, "credit is never passed"
        assert cap is None or account.spent + account.money.held + amount <= cap, "a cap is never passed"
        account.money.held += amount
        return Call(account, answer, price)

    def charge(self, call: Call, share: int, month: date, *, twice: bool = False) -> None:
        """So many percent of the tokens that were quoted are billed."""
        charged = msgspec.structs.replace(call.price, tokens=call.price.tokens * share // 100)
        cost = charged.cost

        async def story(p: Payments) -> None:
            for _ in range(1 + twice):
                await p.billing.charging.charge(call.hold, usage(call.hold, charged.tokens, month))

        self.process.run(story)
        self.done[call.hold.id] = Done(call.account.id, month, charged)
        booked = THIS_MONTH if month in self.closed else month
        call.account.money.spend(cost, f"{booked:%Y-%m}")
        call.account.money.held -= call.amount
        call.account.spent += cost

    @invariant()
    def everybody_is_quoted_what_was_agreed(self) -> None:
        async def story(p: Payments) -> list[int]:
            prices = await read_prices(p)
            return [quote_of(p, account, prices, 1).price.nano_per_mtok for account in self.known]

        agreed = [account.agreed.price_of(self.listed).nano_per_mtok for account in self.known]
        assert self.process.run(story) == agreed

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        found = self.process.run(read_money)
        for account in self.known:
            money = account.money
            expected = {kind: money.left(kind) for kind in GrantKind if money.left(kind)}
            assert found.credit.get(account.id, {}) == expected
            assert found.debt.get(account.id, 0) == money.debt
            assert found.owed.get(account.id, 0) == money.owed
            assert found.used.get(account.id, {}) == {month: cost for month, cost in money.used.items() if cost}
        expected_calls = {id: (one.charged.nano_per_mtok, one.charged.cost) for id, one in self.done.items()}
        assert found.calls == expected_calls

    async def calls_are_explained(self, p: Payments) -> None:
        """Each call names what made its price, and the months' invoices have a line for each price."""
        sums: dict[tuple[AccountId, date], dict[int, list[int]]] = {}
        for request_id, one in self.done.items():
            assert await read_agreed(p, request_id) == one.charged.agreed
            line = sums.setdefault((one.account, one.month), {}).setdefault(one.charged.nano_per_mtok, [0, 0, 0])
            for place, number in enumerate((1, one.charged.tokens, one.charged.cost)):
                line[place] += number
        for (account, month), lines in sums.items():
            assert await read_lines(p, account, month) == {(price, *line) for price, line in lines.items()}


async def read_prices(p: Payments) -> PriceIndex:
    """The prices as a serve process has them."""
    async with p.db.transaction() as tx:
        return PriceIndex(await list_prices(tx), await list_terms(tx))


def quote_of(p: Payments, account: Account, prices: PriceIndex, tokens: int) -> Quote:
    """What a call of the account is quoted, as by ``POST /v1/quote``."""
    key = msgspec.structs.replace(a_key(), account_id=account.id, payer=account.payer)
    return estimate(a_request(token_ids=[[1] * tokens]), SERVED, key, prices, p.db.clock.now())


def usage(hold: Hold, tokens: int, month: date) -> Usage:
    """What the call is billed with, as a serve process computes it from the provider's count."""
    at = datetime.now(UTC) if month == THIS_MONTH else datetime(month.year, month.month, 9, tzinfo=UTC)
    delivery = msgspec.structs.replace(a_delivery(unit_rows(1, 8)), tokens=tokens)
    return compute_usage(delivery, a_request("a"), SERVED, hold, at)


def _in_a_minute() -> float:
    return asyncio.get_running_loop().time() + 60
