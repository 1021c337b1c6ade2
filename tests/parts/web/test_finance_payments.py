"""Finance finds a payment, refund or dispute by what a letter says: an id, an amount, a name, a month, a state."""

from datetime import date
from urllib.parse import urlencode

import asyncpg
import pytest
from pydantic import SecretStr

from billing.stripe.search import fill_words
from gigarouter.settings import Settings
from router.identity.members import Role
from store.ids import AccountId, RefundId, TopupId, new_id, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, words_of
from tests.harness.stripe_webhooks import SECRET

pytestmark = pytest.mark.anyio

TOPUP, OTHER, REFUND = TopupId(new_id()), TopupId(new_id()), RefundId(new_id())
KINDS = ("payments", "refunds", "disputes")


@pytest.fixture(scope="module")
def payments(build: DatabaseBuilder) -> tuple[AccountId, AccountId]:
    """Two accounts that paid, the first 1,250.00 USD, of which some is refunded and disputed."""
    first, other = build.an_account(0, "Müller_& Söhne"), build.an_account(0, "Plain")
    topup = (
        "INSERT INTO topups (id, account_id, idempotency_key, amount_cents, save_card, actor, status, intent_id,"
        " charge_id, paid_cents, tax_cents, discount_cents, problem, created_at, paid_at)"
        " VALUES ($1, $2, 'k', $3, false, 'mem_1', $4, $5, $6, $3, 0, 0, $7, $8::date,"
        " CASE WHEN $4 = 'paid' THEN now() END)"
    )
    october, november = date(2026, 10, 3), date(2026, 11, 3)
    build.rows(topup, TOPUP, first, 125_000, "paid", "pi_1Abc", "ch_1Abc", "", october)
    build.rows(topup, OTHER, other, 5_000, "failed", "pi_2Def", "ch_2Def", "card_declined 100%", november)
    build.rows(
        "INSERT INTO refunds (id, topup_id, account_id, idempotency_key, wanted_cents, status, reason, actor,"
        " refund_id, created_at) VALUES ($1, $2, $3, 'k', 4200, 'requested', 'as agreed', 'mem_1', 're_9', $4::date)",
        *(REFUND, TOPUP, first, november),
    )
    for number, account in enumerate((first, other)):
        build.rows(
            "INSERT INTO disputes (id, topup_id, account_id, amount_cents, credit_cents, reason, status, opened_at)"
            " VALUES ($1, $2, $3, $4, 0, 'fraudulent', 'open', $5::date)",
            *(
                f"dp_z{9 - number}",
                TOPUP if account == first else OTHER,
                account,
                100 + number,
                (october, november)[number],
            ),
        )
    return first, other


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    secrets = {"stripe_secret_key": SecretStr("sk_test_x"), "stripe_webhook_secrets": [SecretStr(SECRET)]}
    return settings.model_copy(update=secrets)


@pytest.fixture(scope="module")
def mirrored(build: DatabaseBuilder) -> AccountId:
    return build.an_account(0, "Mirrored")


@pytest.fixture
def ops(pages: Pages) -> Reader:
    return Reader(pages.reader(an_operator(Role.OPS, now=pages.now), "olga"))


async def found(ops: Reader, kind: str, **which: str) -> str:
    return words_of(await ops.open(f"/finance/{kind}?{urlencode(which)}"))


async def test_each_is_found_by_what_is_remembered(ops: Reader, payments: tuple[AccountId, AccountId]) -> None:
    topup, other, refund = wire(TopupId, TOPUP), wire(TopupId, OTHER), wire(RefundId, REFUND)
    names = {"payments": (topup, other), "refunds": (refund, "no such"), "disputes": ("dp_z9", "dp_z8")}
    cases = [
        *(("payments", {"search": text}) for text in ("pi_1", "CH_1ABC", topup[-9:], "müller_", "1250", "1,250.00")),
        *(("payments", which) for which in ({"status": "paid"}, {"period": "2026-10"}, {"account": "Müller_& Söhne"})),
        *(("refunds", {"search": text}) for text in ("re_9", topup, "agreed", "42.00")),
        *(("refunds", which) for which in ({"status": "requested"}, {"period": "2026-Q4"})),
        *(("disputes", {"search": text}) for text in ("dp_z9", topup, "Söhne", "1.00")),
        *(("disputes", which) for which in ({"period": "2026-10"}, {"account": "Müller_& Söhne", "status": "open"})),
    ]
    for kind, which in cases:
        seen = await found(ops, kind, **which)
        assert names[kind][0] in seen, (kind, which)
        assert names[kind][1] not in seen, (kind, which)
    # A sign of LIKE is a sign like any other.
    assert other in await found(ops, "payments", search="100%")
    for kind in KINDS:
        for text in ("%", "\\", "x' OR 1=1", "9" * 200, "-1250", "٣"):
            seen = await found(ops, kind, search=text)
            assert topup not in seen or text == "%", (kind, text)
    wrong = await ops.open("/finance/payments?status=nothing&period=2026-13", status=400)
    assert 'id="e-status"' in wrong.text


async def test_words_follow_names_and_ids_and_have_an_index(
    ops: Reader, pages: Pages, build: DatabaseBuilder, payments: tuple[AccountId, AccountId]
) -> None:
    topup, owner = wire(TopupId, TOPUP), await asyncpg.connect(build.url)

    async def words() -> set[tuple[str, str]]:
        return {(row["id"], row["words"]) for row in await owner.fetch("SELECT id, words::text FROM payment_words")}

    await owner.execute("UPDATE accounts SET name = 'Ölmühle 株式会社日立' WHERE id = $1", payments[0])
    await owner.execute("UPDATE topups SET session_id = 'cs_live_Zz9' WHERE id = $1", TOPUP)
    for typed in ("olmu", "日立", "ZZ9", "live_zz9", "CS_LIVE", "olmühle 1250"):
        assert topup in await found(ops, "payments", search=typed), typed
    for typed in ("Söhne", "olmühle 1251", "cs_live_zz8"):
        assert topup not in await found(ops, "payments", search=typed), typed
    # Rows of an earlier release have no words: jobs write the same ones.
    before = await words()
    await owner.execute("DELETE FROM payment_words")
    assert topup not in await found(ops, "payments", search="olmu")
    async with pages.context.writes.db.transaction() as tx:
        assert [await fill_words(tx, 1), await fill_words(tx, 9), await fill_words(tx, 9)] == [3, 2, 0]
    assert await words() == before
    await owner.execute("SET enable_seqscan = off")
    plan = await owner.fetchval("EXPLAIN (FORMAT JSON) SELECT FROM payment_words WHERE words @@ payment_question('x')")
    assert "payment_words_words" in plan
    await owner.execute("UPDATE accounts SET name = 'Müller_& Söhne' WHERE id = $1", payments[0])
    await owner.close()


async def test_usage_at_stripe_s_meters_is_switched_on_and_off_and_says_what_waits(
    pages: Pages, ops: Reader, build: DatabaseBuilder, mirrored: AccountId
) -> None:
    assert "No account has its usage" in words_of(await ops.open("/finance/meter-mirrors"))
    account = mirrored
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))
    page = "/finance/meter-mirrors"
    await finance.write(f"{page}/on", account="Mirrored")
    owner = await asyncpg.connect(build.url)
    await owner.execute(
        "INSERT INTO metered_days (account_id, meter, day, total, fault)"
        " VALUES ($1, 'tokens', current_date, 5, '<b>no')",
        account,
    )
    await owner.close()
    listed = await ops.open(page)
    assert f"{wire(AccountId, account)} ✕ failed" in words_of(listed)
    assert "<b>no Switch off" in words_of(listed)
    assert 'href="/finance/differences?scope=meters"' in listed.text
    await finance.write(f"{page}/{wire(AccountId, account)}/off")
    assert "⊘ off" in words_of(await ops.open(page))


async def test_disputes_come_newest_first_page_by_page(ops: Reader, payments: tuple[AccountId, AccountId]) -> None:
    seen = await found(ops, "disputes")
    assert seen.index("dp_z8") < seen.index("dp_z9")
    answer = await ops.open("/finance/disputes?cursor=bm90aGluZw", status=400)
    assert "next_cursor" in words_of(answer)
