"""A month under a contract: each call at its quote, the discount on the line, the minimum and the commitment on the
invoice; what is booked is a table of debits and credits.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import text

from billing.contracts.minimums import charge_minimums, list_uncharged, read_paid
from billing.contracts.prices import find_agreement
from billing.contracts.rules import percent_text
from billing.contracts.store import NewTerm, commitment_source, list_terms
from billing.credits import GrantKind, grant
from billing.debt import read_debt
from billing.documents.document import DocumentKind
from billing.documents.drafts import prepare
from billing.documents.faults import DocumentWaits
from billing.documents.issue import issue_waiting
from billing.documents.profiles import write_profile
from billing.documents.render import Renderer
from billing.documents.requests import RequestState, list_requests, preview_of, request_month
from billing.documents.store import StoredDocument, list_documents
from billing.documents.verify import verify
from billing.lines import read_exposure
from billing.money import NanoUSD, from_usd, to_usd
from billing.prices import list_prices, set_price
from billing.receivables import accrue
from billing.seal import seal
from billing.values import Hold, Quote
from router.registry.indexes import PriceIndex
from router.request.estimate import estimate
from router.values import Lane
from store.embedded import Embedded
from store.ids import AccountId, ModelId, PriceId, RequestId, new_id
from store.postgres import Database
from tests.builders.billed_month import BY, last_month
from tests.builders.billing import MODEL, Billing, billing
from tests.builders.contracts import a_past_contract
from tests.builders.database import add_account, add_credit, insert_model
from tests.builders.documents import a_buyer
from tests.builders.values import a_key, a_model, a_payer, a_request, a_usage

pytestmark = pytest.mark.anyio
LINES = text("""
    SELECT l.kind, p.amount_nano FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id
    WHERE e.account_id = :account AND e.kind = 'minimum' ORDER BY e.source_ref, p.leg
""")
MONTH = text("SELECT DISTINCT period FROM entries WHERE account_id = :account AND kind = 'minimum'")


def since() -> datetime:
    return datetime.combine(last_month(), datetime.min.time(), UTC)


async def a_contracted(b: Billing, credit: int = 0, *, line: int = 0, gift: int = 0, language: str = "en") -> AccountId:
    async with b.db.transaction() as tx:
        account = await add_account(tx, 0, "Contracted")
        for amount, kind in ((gift, GrantKind.PROMOTIONAL), (credit, GrantKind.PURCHASED), (line, GrantKind.LINE)):
            if amount:
                await add_credit(tx, account, amount, kind)
        await write_profile(tx, account, a_buyer(language=language), BY)
    return account


class Caller:
    """Calls of last month, each quoted first from what a serve process has in memory, and charged what was quoted."""

    def __init__(self, b: Billing, account: AccountId, prices: PriceIndex) -> None:
        self.b, self.account, self.prices = b, account, prices
        self.payer = a_payer(account)
        self.at = since() + timedelta(days=14)
        self.quotes: list[Quote] = []

    async def call(self, tokens: int, lane: Lane = Lane.INTERACTIVE, name: ModelId = MODEL) -> Quote:
        self.at += timedelta(seconds=1)
        key = msgspec.structs.replace(a_key(), account_id=self.account, payer=self.payer)
        model = a_model(name, special_tokens=0, max_input_tokens=300_000)
        quote = estimate(a_request(token_ids=[[1] * tokens]), model, key, self.prices, self.at, lane)
        assert quote.exact
        hold = await self.b.admission.admit(
            RequestId(new_id()), self.payer, quote, datetime.now(UTC), asyncio.get_running_loop().time() + 30, None
        )
        assert isinstance(hold, Hold), hold
        usage = a_usage(model_id=name, tokens=tokens, cost=quote.amount_max, provider_cost=NanoUSD(0))
        await self.b.charging.charge(hold, msgspec.structs.replace(usage, occurred_at=self.at))
        self.quotes.append(quote)
        return quote


async def a_caller(b: Billing, account: AccountId) -> Caller:
    async with b.db.transaction() as tx:
        return Caller(b, account, PriceIndex(await list_prices(tx), await list_terms(tx)))


async def charge(b: Billing) -> int:
    return await charge_minimums(b.db, b.admission, b.projection, b.generation, datetime.now(UTC), wait_s=0.2)


async def invoice_of(b: Billing, renderer: Renderer, account: AccountId) -> StoredDocument | str:
    """The invoice, or why there is none."""
    await b.settle()
    async with b.db.transaction() as tx:
        after = len(await list_requests(tx, account_id=account))
        await request_month(tx, DocumentKind.INVOICE, account, last_month(), "acme", BY, after=after)
    await issue_waiting(b.db, renderer)
    async with b.db.transaction() as tx:
        request = (await list_requests(tx, account_id=account))[0]
        if request.state is RequestState.REFUSED:
            return request.fault
        stored = (await list_documents(tx, account_id=account))[0]
        assert (await verify(tx, stored)).faults == ()
        return stored


async def issued(b: Billing, renderer: Renderer, account: AccountId) -> StoredDocument:
    found = await invoice_of(b, renderer, account)
    assert isinstance(found, StoredDocument), found
    return found


async def booked(b: Billing, account: AccountId) -> list[tuple[str, str]]:
    """The legs of the entries of a minimum, in USD."""
    async with b.db.transaction() as tx:
        return [(row.kind, to_usd(row.amount_nano)) for row in await tx.execute(LINES, {"account": account})]


async def test_what_was_quoted_is_what_the_invoice_has_to_the_nano(b: Billing, renderer: Renderer) -> None:
    """Random percentages and prices in both lanes, and a list price that changes after the contract was made."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for number in range(4):
        model = ModelId(f"test/dear-{number}")
        dear, changed = chance.randint(10**9, 10**10), chance.randint(10**9, 10**10)
        batch = chance.choice([None, chance.randint(10**8, 10**9)])
        account = await a_contracted(b, line=9 * 10**12)
        term = chance.choice([NewTerm(None, percent_off=0), NewTerm(model, percent_off=0), NewTerm(model, dear, batch)])
        if term.percent_off is not None:
            term = msgspec.structs.replace(term, percent_off=chance.randint(1, 9_000))
        owner = Database(b.db.url, as_owner=True)
        async with owner.transaction() as tx:
            await insert_model(tx, model)
            await set_price(tx, model, dear, since() - timedelta(days=40), batch_nano_per_mtok=batch)
        await a_past_contract(b.db, account, since(), term)
        async with owner.transaction() as tx:
            await set_price(tx, model, changed, since() + timedelta(days=14, seconds=4), batch_nano_per_mtok=batch)
        await owner.close()
        caller = await a_caller(b, account)
        for _ in range(7):
            await caller.call(chance.randint(100_000, 250_000), chance.choice(list(Lane)), model)
        draft = (await issued(b, renderer, account)).document.draft
        assert sum(line.amount_nano for line in draft.lines) == sum(q.amount_max for q in caller.quotes), seed
        charged = {quote.price.nano_per_mtok for quote in caller.quotes}
        assert {line.usage.nano_per_mtok for line in draft.lines if line.usage} == charged, seed
        for quote in caller.quotes:
            async with b.db.transaction() as tx:
                found = await find_agreement(tx, quote.price.id, quote.price.nano_per_mtok)
            assert found is not None, seed
            agreed = quote.price.agreement
            assert agreed is not None
            assert (found.term_id, found.percent_off, found.list_nano_per_mtok) == (
                *(agreed.term_id, term.percent_off, agreed.list_nano_per_mtok),
            ), seed
            words = "at the contract's price"
            if agreed.list_nano_per_mtok is not None and agreed.percent_off is not None:
                words = (
                    f"{percent_text(agreed.percent_off)} % off the list price of {to_usd(agreed.list_nano_per_mtok)}"
                )
            line = next(x for x in draft.lines if x.usage and x.usage.nano_per_mtok == quote.price.nano_per_mtok)
            assert words in line.description, seed
    await b.assert_books_are_right()


# The month's usage is 0.60; a minimum of 1.00. What the account has beside usage, and how the rest is paid.
MINIMUMS = """
prepaid 5.00            breakage 0.40  customer_credit -0.40
prepaid 0.70            breakage 0.10  customer_credit -0.10   breakage 0.30  customer_overdraft -0.30
line 5.00               breakage 0.40  customer_credit -0.40
prepaid 0.70 line 5.00  breakage 0.10  breakage 0.30  customer_credit -0.40
prepaid 5.00 gift 0.20  breakage 0.60  customer_credit -0.60
"""


@pytest.mark.parametrize("line", MINIMUMS.strip().splitlines())
async def test_a_minimum_is_charged_once_after_the_month_as_usage_would_be(
    b: Billing, renderer: Renderer, line: str
) -> None:
    words = line.split()
    numbers = {words[i]: round(float(words[i + 1]) * 10**9) for i in range(0, len(words), 2) if words[i] in NAMES}
    legs = [(words[i], words[i + 1]) for i in range(0, len(words), 2) if words[i] not in NAMES]
    account = await a_contracted(b, numbers.get("prepaid", 0), line=numbers.get("line", 0), gift=numbers.get("gift", 0))
    contract = await a_past_contract(b.db, account, since(), NewTerm(MODEL, 6_000_000_000), minimum=10**9)
    await (await a_caller(b, account)).call(100_000)
    await b.settle()
    async with b.db.transaction() as tx:
        for kind in (DocumentKind.INVOICE, DocumentKind.STATEMENT):
            wanted = preview_of(kind, account, last_month(), "acme", datetime.now(UTC))
            with pytest.raises(DocumentWaits):
                await prepare(tx, wanted, datetime.now(UTC))
        assert await list_uncharged(tx, last_month(), account) == [contract.id]
    assert await charge(b) == 1
    assert await charge(b) == 0
    await b.settle()
    found = await booked(b, account)
    assert sorted(found) == sorted((kind, to_usd(round(float(usd) * 10**9))) for kind, usd in legs)
    async with b.db.transaction() as tx:
        assert await tx.scalar(MONTH, {"account": account}) == last_month(), "it is revenue of the month"
        assert await list_uncharged(tx, last_month()) == []
        paid = await read_paid(tx, account, last_month())
        assert paid.owed == await read_debt(tx, account)
    draft = (await issued(b, renderer, account)).document.draft
    usage, minimum = draft.lines
    shortfall = 10**9 - 600_000_000 + numbers.get("gift", 0)
    assert (usage.amount_nano, minimum.amount_nano) == (600_000_000, shortfall)
    assert minimum.description.startswith("Minimum commitment: 1.00 USD a month, used 0.")
    drawn = 600_000_000 + shortfall - numbers.get("gift", 0) - numbers.get("prepaid", 0) if "line" in numbers else 0
    assert draft.net_cents * 10**7 - draft.rounding_nano == drawn
    await b.assert_books_are_right()
    if "line" in numbers:
        await seal(b.db)
        await accrue(b.db, datetime.now(UTC))
        async with b.db.transaction() as tx:
            exposure = await read_exposure(tx, account)
        assert (exposure.drawn, exposure.unbilled, exposure.billed) == (0, 0, drawn), "it is on the invoice"


NAMES = ("prepaid", "line", "gift")


async def test_a_month_that_comes_to_its_minimum_is_charged_nothing_more(b: Billing) -> None:
    account = await a_contracted(b, 10**9)
    await a_past_contract(b.db, account, since(), NewTerm(MODEL, 6_000_000_000), minimum=600_000_000)
    await (await a_caller(b, account)).call(100_000)
    await b.settle()
    assert await charge(b) == 1
    assert await booked(b, account) == []


async def test_two_processes_that_charge_minimums_at_once_charge_each_once(b: Billing, servers: Embedded) -> None:
    accounts = [await a_contracted(b, 10**8 * number) for number in range(1, 6)]
    for account in accounts:
        await a_past_contract(b.db, account, since(), minimum=3 * 10**8)
    async with billing(b.db.url, servers.redis_url) as other:
        for _ in range(5):
            await asyncio.gather(charge(b), charge(other), charge(b), return_exceptions=True)
    await charge(b)
    found = [_sums(await booked(b, account)) for account in accounts]
    assert [sums["breakage"] for sums in found] == [3 * 10**8] * 5
    assert [sums.get("customer_overdraft", 0) for sums in found] == [-2 * 10**8, -(10**8), 0, 0, 0]
    await b.settle()
    await b.assert_books_are_right()


def _sums(legs: list[tuple[str, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind, usd in legs:
        found[kind] = found.get(kind, 0) + from_usd(usd)
    return found


async def test_a_commitment_is_drawn_before_other_credit_and_is_on_the_invoice(b: Billing, renderer: Renderer) -> None:
    account = await a_contracted(b, 10**9, language="de")
    end = datetime.now(UTC) + timedelta(days=90)
    contract = await a_past_contract(
        b.db, account, since(), NewTerm(None, percent_off=1_250), until=end, commitment=100_000_000
    )
    async with b.db.transaction() as tx:
        source = commitment_source(contract.id)
        kind = GrantKind.PURCHASED
        await grant(tx, account, NanoUSD(100_000_000), kind, source_ref=source, expires_at=end)
    await b.projection.refresh(account)
    caller = await a_caller(b, account)
    quotes = [await caller.call(250_000) for _ in range(2)]
    draft = (await issued(b, renderer, account)).document.draft
    assert {quote.price.nano_per_mtok for quote in quotes} == {875_000}
    assert "12,5 % Nachlass auf den Listenpreis von 0,001 USD" in draft.lines[0].description
    assert [(one.reason.split()[-1], one.amount_nano) for one in draft.deductions] == [("Vertrags", 437_500)]
    assert draft.net_cents == 0


async def test_a_call_that_names_another_accounts_price_is_found(b: Billing, renderer: Renderer) -> None:
    account, other = await a_contracted(b, 10**9), await a_contracted(b, 10**9)
    await a_past_contract(b.db, other, since(), NewTerm(MODEL, 500))
    await (await a_caller(b, account)).call(1_000)
    stored = await issued(b, renderer, account)
    owner = Database(b.db.url, as_owner=True)
    async with owner.engine.connect() as tx:
        foreign: PriceId = await tx.scalar(
            text("SELECT id FROM contract_prices WHERE account_id = :account"), {"account": other}
        )
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(
            text("UPDATE usage_events SET price_id = :price WHERE account_id = :account"),
            {"price": foreign, "account": account},
        )
        assert "1 calls were charged another price than was in force" in (await verify(tx, stored)).faults
        await tx.rollback()
    await owner.close()
