"""Keeps the rules of auto-recharge and its attempts: a rule is switched on by a person's consent and by nothing else.

Nothing here speaks to Stripe, so `serve` may import it. What jobs do with an attempt is
:mod:`billing.stripe.recharge_steps`.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.stripe import work
from billing.stripe.recharge_rules import WORDING, Need, RechargeStatus, Rule, need_of, words_of
from billing.stripe.topups import Topup
from billing.stripe.values import Cents, nano_of
from mail import enqueue
from mail.kinds import PaymentFailed, RechargeDone, RechargeLimitReached, RechargeOff
from store.ids import AccountId, TopupId, new_id, wire
from store.postgres import Database

# Whoever decides about an account's recharges, and whoever credits one, does it with this lock.
LOCK_ACCOUNT = text("SELECT FROM accounts WHERE id = :account FOR NO KEY UPDATE")
_RULE = text("SELECT * FROM recharge_rules WHERE account_id = :account ORDER BY version DESC LIMIT 1")
_RULES = text("""
    SELECT DISTINCT ON (account_id) * FROM recharge_rules
    WHERE (CAST(:after AS uuid) IS NULL OR account_id > CAST(:after AS uuid)) 
    ORDER BY account_id, version DESC LIMIT :most
""")
_BY_KEY = text("SELECT * FROM recharge_rules WHERE account_id = :account AND idempotency_key = :key")
_ADD_RULE = text("""
    INSERT INTO recharge_rules (account_id, version, is_on, threshold_cents, amount_cents, month_max_cents,
        consented_by, wording, words, actor, reason, idempotency_key)
    VALUES (:account, :version, :is_on, :threshold, :amount, :month_max,
        :consented_by, :wording, :words, :actor, :reason, :key)
""")
_TODAY = text(
    "SELECT count(*) FROM recharge_rules WHERE account_id = :account AND is_on"
    " AND created_at > now() - interval '1 day'"
)
CONSENTS_A_DAY = 50
_ERASE = text("UPDATE recharge_rules SET consented_by = 'erased' WHERE account_id = :account AND is_on")
# What is lent is no credit of the account's own, and is not what a threshold is about.
_CREDIT = """
    coalesce((SELECT posted_nano FROM ledger_accounts l WHERE l.account_id = a.id AND l.kind = 'customer_credit'), 0)
    - coalesce((SELECT sum(remaining_nano) FROM grants g
        WHERE g.account_id = a.id AND g.kind = 'line' AND g.remaining_nano > 0), 0)::bigint
"""
_BOUGHT = """
    coalesce((SELECT sum(t.amount_cents) FROM recharges r JOIN topups t ON t.id = r.topup_id
        WHERE r.account_id = a.id AND r.status NOT IN ('failed', 'canceled')
            AND r.created_at >= date_trunc('month', now(), 'UTC')), 0)::bigint
"""
_STATE = text(
    f"SELECT a.status = 'active' AS is_active, {_CREDIT} AS credit, {_BOUGHT} AS bought"  # noqa: S608 - constants
    " FROM accounts a WHERE a.id = :account"
)
_UNDER_WAY = "('new', 'open', 'declined', 'action', 'processing')"
_LOW = text(f"""
    SELECT a.id FROM recharge_rules r JOIN accounts a ON a.id = r.account_id
    WHERE r.is_on AND NOT EXISTS (
            SELECT FROM recharge_rules n WHERE n.account_id = r.account_id AND n.version > r.version)
        AND {_CREDIT} < r.threshold_cents * 10000000
        AND NOT EXISTS (SELECT FROM recharges u WHERE u.account_id = a.id AND u.status IN {_UNDER_WAY})
    ORDER BY a.id
""")  # noqa: S608 - constants
_CLOSED = text("""
    SELECT a.id FROM recharge_rules r JOIN accounts a ON a.id = r.account_id AND a.status = 'closed'
    WHERE r.is_on AND NOT EXISTS (
        SELECT FROM recharge_rules n WHERE n.account_id = r.account_id AND n.version > r.version)
""")
_OPEN = text(f"SELECT * FROM recharges WHERE account_id = :account AND status IN {_UNDER_WAY}")  # noqa: S608
_ORDER = text("""
    INSERT INTO topups (id, account_id, idempotency_key, amount_cents, save_card, is_recharge, actor)
    VALUES (:topup, :account, :key, :amount, false, true, 'process:jobs')
""")
_START = text("""
    INSERT INTO recharges (topup_id, account_id, rule_version, credit_nano) VALUES (:topup, :account, :version, :credit)
""")
_FIND = {
    "topup": text("SELECT * FROM recharges WHERE topup_id = :value"),
    "invoice": text("SELECT * FROM recharges WHERE invoice_id = :value"),
}
_DUE = text(f"""
    SELECT r.topup_id FROM recharges r
    LEFT JOIN stripe_work w ON w.subject = 'recharge:topup_' || replace(r.topup_id::text, '-', '')
    WHERE r.status IN {_UNDER_WAY} AND r.look_at <= now() AND (w.subject IS NULL OR w.requested = w.done) LIMIT 500
""")  # noqa: S608 - constants
_HAS_SAVED = text("""
    SELECT EXISTS (SELECT FROM topups WHERE account_id = :account AND save_card AND status = 'paid')
        OR EXISTS (SELECT FROM portal_links WHERE account_id = :account AND status = 'made')
""")


class StoredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an account's rule; of one that is off, ``reason`` says why. Amounts are cents."""

    account_id: AccountId
    version: int
    is_on: bool
    threshold_cents: Cents
    amount_cents: Cents
    month_max_cents: Cents
    consented_by: str
    wording: str
    words: str
    actor: str
    reason: str
    idempotency_key: str | None
    created_at: datetime

    @property
    def rule(self) -> Rule:
        """What was consented to."""
        return Rule(threshold=self.threshold_cents, amount=self.amount_cents, month_max=self.month_max_cents)


class Recharge(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt; its amount, and what was paid, are in the top-up of the same id."""

    topup_id: TopupId
    account_id: AccountId
    rule_version: int
    credit_nano: int
    status: RechargeStatus
    tries: int
    attempt: int
    look_at: datetime
    invoice_id: str | None
    problem: str
    created_at: datetime
    changed_at: datetime

    @property
    def reference(self) -> str:
        """The top-up's id as Stripe and customers see it."""
        return wire(TopupId, self.topup_id)


class AccountNeed(msgspec.Struct, frozen=True):
    """Whether an account needs a recharge now, and by which facts."""

    need: Need
    stored: StoredRule | None
    credit_nano: int
    bought_cents: Cents


class RuleChanged(ValueError):
    """The idempotency key belongs to another consent."""


class TooManyConsents(ValueError):
    """The rule was changed so often that it stays as it is for today."""


class NothingSaved(ValueError):
    """Stripe has no means of payment of this account's."""


async def read_rule(tx: AsyncConnection, account_id: AccountId) -> StoredRule | None:
    """The newest version of an account's rule; None where there never was one."""
    row = (await tx.execute(_RULE, {"account": account_id})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), StoredRule)


async def list_rules(tx: AsyncConnection, *, after: AccountId | None, most: int) -> list[StoredRule]:
    """List the newest version of each account's rule, by account."""
    rows = await tx.execute(_RULES, {"after": after, "most": most})
    return [msgspec.convert(dict(row._mapping), StoredRule) for row in rows]


async def consent(
    tx: AsyncConnection, account_id: AccountId, rule: Rule, *, consented_by: str, actor: str, key: str
) -> tuple[StoredRule, bool]:
    """Switch auto-recharge on by a person's consent, once per idempotency key; and whether this call did.

    A repeated request changes nothing, also where the rule was switched off meanwhile. Raises :class:`RuleChanged`,
    :class:`TooManyConsents`, :class:`NothingSaved`.
    """
    await tx.execute(LOCK_ACCOUNT, {"account": account_id})
    before = (await tx.execute(_BY_KEY, {"account": account_id, "key": key})).first()
    if before is not None:
        first = msgspec.convert(dict(before._mapping), StoredRule)
        if (first.rule, first.consented_by) not in ((rule, consented_by), (rule, "erased")):
            raise RuleChanged
        newest = await read_rule(tx, account_id)
        assert newest is not None, "there is at least this one; this is a bug"
        return newest, False
    if int(await tx.scalar(_TODAY, {"account": account_id}) or 0) >= CONSENTS_A_DAY:
        raise TooManyConsents
    if not await tx.scalar(_HAS_SAVED, {"account": account_id}):
        raise NothingSaved
    facts = {"consented_by": consented_by, "wording": WORDING, "words": words_of(rule), "actor": actor, "key": key}
    return await _add(tx, account_id, rule, is_on=True, reason="", **facts), True


async def switch_off(tx: AsyncConnection, account_id: AccountId, *, actor: str, reason: str) -> StoredRule | None:
    """Switch auto-recharge off; None where it was off. An attempt under way is canceled by jobs, unless it is paid."""
    await tx.execute(LOCK_ACCOUNT, {"account": account_id})
    before = await read_rule(tx, account_id)
    if before is None or not before.is_on:
        return None
    facts = {"consented_by": "", "wording": "", "words": "", "actor": actor, "key": None}
    off = await _add(tx, account_id, before.rule, is_on=False, reason=reason[:500], **facts)
    if (under_way := await find_under_way(tx, account_id)) is not None:
        await work.request(tx, f"recharge:{under_way.reference}")
    return off


async def mail_off(tx: AsyncConnection, off: StoredRule) -> None:
    """Have the customer told that it is off, and why; once."""
    source = f"recharge-off:{wire(AccountId, off.account_id)}:{off.version}"
    await enqueue(tx, RechargeOff(reason=off.reason), off.account_id, dedupe=source)


async def mail_done(tx: AsyncConnection, recharge: Recharge, topup: Topup) -> None:
    """Have the customer told that credit was bought; once."""
    stored = await read_rule(tx, recharge.account_id)
    assert stored is not None, "the attempt is by a rule; this is a bug"
    threshold = to_usd(nano_of(stored.threshold_cents))
    done = RechargeDone(amount_usd=to_usd(nano_of(topup.amount_cents)), threshold_usd=threshold)
    await enqueue(tx, done, recharge.account_id, dedupe=f"recharge-done:{recharge.reference}")


async def mail_declined(tx: AsyncConnection, recharge: Recharge, amount: Cents, reason: str, again: datetime) -> None:
    """Have the customer told that a payment was declined, and when it is tried again; the first time of an attempt."""
    mail = PaymentFailed(amount_usd=to_usd(nano_of(amount)), reason=reason, next_try=again)
    await enqueue(tx, mail, recharge.account_id, dedupe=f"recharge-declined:{recharge.reference}")


async def erase_consents(tx: AsyncConnection, account_id: AccountId) -> None:
    """Erase the names of who consented; the words and the amounts stay."""
    await tx.execute(_ERASE, {"account": account_id})


async def find_recharge(tx: AsyncConnection, by: str, value: object) -> Recharge | None:
    """An attempt by its ``topup``, or by Stripe's ``invoice``."""
    row = (await tx.execute(_FIND[by], {"value": value})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), Recharge)


async def find_under_way(tx: AsyncConnection, account_id: AccountId) -> Recharge | None:
    """The attempt of an account that is under way."""
    row = (await tx.execute(_OPEN, {"account": account_id})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), Recharge)


async def read_need(tx: AsyncConnection, account_id: AccountId, *, without: int = 0) -> AccountNeed:
    """Whether an account needs a recharge; ``without`` so many cents that count among this month's already."""
    stored = await read_rule(tx, account_id)
    row = (await tx.execute(_STATE, {"account": account_id})).one()
    rule = stored.rule if stored is not None and stored.is_on else None
    need = need_of(rule, row.credit, bought_cents=row.bought - without, is_active=row.is_active)
    return AccountNeed(need, stored, row.credit, Cents(row.bought))


async def start_needed(db: Database) -> int:
    """Order a recharge for each account whose credit fell below its threshold; returns how many were ordered.

    However many processes do this at once, an account has one: they take turns by its lock, and by the index.
    """
    async with db.transaction() as tx:
        low = [AccountId(account_id) for account_id in (await tx.execute(_LOW)).scalars()]
    started = 0
    for account_id in low:
        async with db.transaction() as tx:
            started += await _start(tx, account_id)
    return started


async def closed_accounts(tx: AsyncConnection) -> list[AccountId]:
    """The accounts that were closed while auto-recharge was on; nothing is bought for them since."""
    return [AccountId(account_id) for account_id in (await tx.execute(_CLOSED)).scalars()]


async def request_due(db: Database) -> None:
    """Have those attempts worked on whose time to be looked at again has come."""
    async with db.transaction() as tx:
        for topup_id in (await tx.execute(_DUE)).scalars().all():
            await work.request(tx, f"recharge:{wire(TopupId, topup_id)}")


async def _start(tx: AsyncConnection, account_id: AccountId) -> bool:
    await tx.execute(LOCK_ACCOUNT, {"account": account_id})
    if await find_under_way(tx, account_id) is not None:
        return False
    found = await read_need(tx, account_id)
    if found.stored is None or found.need is Need.NONE:
        return False
    if found.need is Need.CEILING:
        month = str(await tx.scalar(text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')")))
        source = f"recharge-ceiling:{wire(AccountId, account_id)}:{found.stored.version}:{month}"
        reached = RechargeLimitReached(month=month, month_max_usd=to_usd(nano_of(found.stored.month_max_cents)))
        await enqueue(tx, reached, account_id, dedupe=source)
        return False
    topup_id = TopupId(new_id())
    reference = wire(TopupId, topup_id)
    order = {"topup": topup_id, "account": account_id, "key": f"recharge:{reference}"}
    await tx.execute(_ORDER, {**order, "amount": found.stored.amount_cents})
    start = {"topup": topup_id, "account": account_id, "version": found.stored.version, "credit": found.credit_nano}
    await tx.execute(_START, start)
    await work.request(tx, f"recharge:{reference}")
    return True


async def _add(
    tx: AsyncConnection, account_id: AccountId, rule: Rule, *, is_on: bool, reason: str, **facts: str | None
) -> StoredRule:
    before = await read_rule(tx, account_id)
    version = before.version + 1 if before else 1
    amounts = {"threshold": rule.threshold, "amount": rule.amount, "month_max": rule.month_max}
    more = {"account": account_id, "version": version, "is_on": is_on, "reason": reason}
    await tx.execute(_ADD_RULE, {**facts, **amounts, **more})
    added = await read_rule(tx, account_id)
    assert added is not None, "it was just added; this is a bug"
    return added
