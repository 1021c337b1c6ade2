"""The rules of prices and contracts in the state machine of money."""

from datetime import UTC, datetime, time, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from billing.contracts.minimums import charge_minimums
from billing.contracts.rules import Unused
from billing.contracts.store import NewContract, NewTerm
from billing.credits import GrantKind, grant
from billing.expiry import pay_debts
from billing.money import NanoUSD
from billing.prices import set_price
from router.admin.commitments import fund_contract
from router.admin.contracts import end_contract, make_contract
from router.changes.transaction import UnitOfWork, transact
from store.ids import ContractId
from tests.builders.billing import MODEL
from tests.builders.contracts import a_past_contract
from tests.builders.database import ACTOR
from tests.builders.stripe import Payments
from tests.harness.money_books import catch_up
from tests.harness.money_state import MONTHS, NOW, THIS_MONTH, Account, MoneyState

# Nano-dollars per million tokens, odd, and hundredths of a percent: half of the discounted prices are above their
# floor. Where it is 50 % that is taken off each is a tie, of which the even one may be above or below.
PRICES = st.integers(10**9 // 2, 10**11 // 2).map(lambda half: 2 * half + 1)
PERCENTS = st.just(5_000) | st.integers(1, 9_999)
AMOUNT = st.integers(1, 7_000_000_000)
# As likely as not more than an account has.
MINIMUM = AMOUNT | st.integers(10**10, 3 * 10**10)
LAST_MONTH = MONTHS[-1]


class ContractState(MoneyState):
    """The rules; a contract goes through the operators' own write path."""

    accounts = MoneyState.accounts

    @rule(nano_per_mtok=PRICES)
    def change_list_price(self, nano_per_mtok: int) -> None:
        """Of everybody who has no price of their own, those with a percentage off included."""

        async def story(p: Payments) -> None:
            async with p.db.transaction() as tx:
                await set_price(tx, MODEL, nano_per_mtok, datetime.now(UTC))

        self.process.run(story)
        self.listed = nano_per_mtok

    @rule(account=accounts, nano_per_mtok=PRICES)
    def negotiate_price(self, account: Account, nano_per_mtok: int) -> None:
        self.agree(account, "model", NewTerm(MODEL, nano_per_mtok))
        account.agreed.price, account.agreed.off = nano_per_mtok, None

    @rule(account=accounts, off=PERCENTS)
    def take_off_the_models_price(self, account: Account, off: int) -> None:
        self.agree(account, "model", NewTerm(MODEL, percent_off=off))
        account.agreed.price, account.agreed.off = None, off

    @rule(account=accounts, off=PERCENTS)
    def take_off_all_prices(self, account: Account, off: int) -> None:
        self.agree(account, "all", NewTerm(None, percent_off=off))
        account.agreed.off_all = off

    @rule(account=accounts, scope=st.sampled_from(["model", "all"]))
    def end_contract(self, account: Account, scope: str) -> None:
        self.agree(account, scope, None)
        if scope == "all":
            account.agreed.off_all = None
        else:
            account.agreed.price = account.agreed.off = None

    @rule(account=accounts, amount=AMOUNT, days=st.integers(1, 5))
    def pay_commitment(self, account: Account, amount: int, days: int) -> None:
        """It is credit that the customer bought, and expires with the contract."""
        until = NOW + timedelta(days=self.today + days)

        async def change(work: UnitOfWork) -> None:
            made = await make_contract(work, _contract(account, work.now, until=until, commitment=NanoUSD(amount)))
            await fund_contract(work, made.id, "tests")

        self.process.run(lambda p: transact(p.db, ACTOR, change))
        account.money.give("purchased", amount, day=self.today + days)

    @precondition(lambda self: LAST_MONTH not in self.closed)
    @rule(account=accounts, amount=MINIMUM, gift=AMOUNT)
    def charge_minimum(self, account: Account, amount: int, gift: int) -> None:
        """What last month's usage does not come to is charged, once; what gifts paid of the usage does not count."""
        if not account.has_minimum and not account.money.held:
            self.charge_month(account, amount, gift)

    def charge_month(self, account: Account, amount: int, gift: int) -> None:
        """Gifts pay nothing of it: not at once, not by the job that pays debts, and not where one is given later."""

        async def story(p: Payments) -> None:
            await catch_up(p)
            since, until = (datetime.combine(month, time(), UTC) for month in (LAST_MONTH, THIS_MONTH))
            await a_past_contract(p.db, account.id, since, until=until, minimum=amount)
            b, now = p.billing, datetime.now(UTC)
            turns = [await charge_minimums(b.db, b.admission, b.projection, b.generation, now) for _ in range(2)]
            assert turns == [1, 0]
            await pay_debts(b.db, b.admission, b.projection, b.generation)
            async with p.db.transaction() as tx:
                await grant(tx, account.id, NanoUSD(gift), GrantKind.GOODWILL, source_ref=next(self.names))

        self.process.run(story)
        account.has_minimum = True
        account.money.charge_minimum(amount, f"{LAST_MONTH:%Y-%m}")
        account.money.give("goodwill", gift)

    def open_another(self, off: int | None) -> Account:
        account = self.open_account_with_gift()
        if off is not None:
            self.agree(account, "all", NewTerm(None, percent_off=off))
            account.agreed.off_all = off
        return account

    def agree(self, account: Account, scope: str, term: NewTerm | None) -> None:
        """End what was agreed for the scope, and agree on another in its place, at one instant."""
        before = account.contracts.pop(scope, None)
        if before is None and term is None:
            return

        async def change(work: UnitOfWork) -> ContractId | None:
            if before is not None:
                await end_contract(work, before, None, "tests")
            return None if term is None else (await make_contract(work, _contract(account, work.now, term))).id

        made = self.process.run(lambda p: transact(p.db, ACTOR, change))
        if made is not None:
            account.contracts[scope] = made


def _contract(
    account: Account,
    since: datetime,
    *terms: NewTerm,
    until: datetime | None = None,
    commitment: NanoUSD | None = None,
) -> NewContract:
    return NewContract(
        account_id=account.id,
        effective_at=since,
        until=until,
        minimum=None,
        commitment=commitment,
        unused=Unused.EXPIRES,
        note="",
        reason="tests",
        terms=terms,
    )
