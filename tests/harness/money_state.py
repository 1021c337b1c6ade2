"""The state that the rules of the state machine of money share: the product, the model, and what ties them together."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant
from typing_extensions import override

from billing.credits import GrantKind
from billing.money import NanoUSD, Price
from billing.stripe.topups import Topup
from billing.values import Denial, Denied, Hold, Payer, Quote
from store.ids import AccountId, RequestId, new_id
from tests.builders.billing import PRICE, an_account, usage_of
from tests.builders.stripe import Payments
from tests.builders.values import a_payer
from tests.harness.money_books import assert_all_right, catch_up, read_money
from tests.harness.money_model import Money
from tests.harness.payments_thread import PaymentsThread
from tests.harness.stripe_server import StripeServer

LONGEST_S = 80.0
NOW = datetime.now(UTC)
THIS_MONTH = NOW.date().replace(day=1)
MONTHS = [(THIS_MONTH - timedelta(days=27 + 30 * back)).replace(day=1) for back in range(3, -1, -1)]


class Account(msgspec.Struct):
    """An account, what the model says of it, its payments, and its one key."""

    id: AccountId
    money: Money
    payer: Payer
    cap: int | None = None
    topups: list[Topup] = []
    spent: int = 0
    disputed: bool = False


class Call(msgspec.Struct):
    """A call in flight."""

    account: Account
    hold: Hold
    amount: int


class MoneyState(RuleBasedStateMachine):
    """What the rules share; ``urls`` makes a fresh database and an empty Redis for each run."""

    accounts, calls, disputes = Bundle("accounts"), Bundle("calls"), Bundle("disputes")
    urls: Iterator[tuple[str, str]]

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Account] = []
        self.prices: dict[RequestId, int] = {}
        self.price: Price = PRICE
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
            self.process.close()
        finally:
            self.stripe.__exit__(None, None, None)

    def open_another(self) -> Account:
        async def story(p: Payments) -> AccountId:
            return await an_account(p.db, 0)

        made = self.process.run(story)
        self.known.append(Account(made, Money(), a_payer(made)))
        return self.known[-1]

    def nothing_in_flight(self) -> bool:
        return not any(account.money.held for account in self.known)

    def admit(self, account: Account, amount: int) -> Call | None:
        async def story(p: Payments) -> object:
            await catch_up(p)
            request, quote = RequestId(new_id()), Quote(1, NanoUSD(amount), self.price)
            admit = p.billing.admission.admit
            return await admit(request, account.payer, quote, datetime.now(UTC), _in_a_minute(), None)

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
        self.prices[answer.id] = self.price.nano_per_mtok
        return Call(account, answer, amount)

    def charge(self, call: Call, cost: int, month: date, *, twice: bool = False) -> None:
        async def story(p: Payments) -> None:
            for _ in range(1 + twice):
                await p.billing.charging.charge(call.hold, usage(cost, month))

        self.process.run(story)
        booked = THIS_MONTH if month in self.closed else month
        call.account.money.spend(cost, f"{booked:%Y-%m}")
        call.account.money.held -= call.amount
        call.account.spent += cost

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
        assert found.prices.items() <= self.prices.items()


def usage(cost: int, month: date) -> Any:
    at = datetime.now(UTC) if month == THIS_MONTH else datetime(month.year, month.month, 9, tzinfo=UTC)
    return msgspec.structs.replace(usage_of(1, at), cost=NanoUSD(cost))


def _in_a_minute() -> float:
    return asyncio.get_running_loop().time() + 60
