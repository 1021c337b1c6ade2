"""Switches auto-recharge on by a customer's consent, and off by whoever wants it off, through the audit.

There is no way for an operator, a payment or a job to switch it on.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.stripe import recharges
from billing.stripe.config import StripeConfig
from billing.stripe.recharge_rules import WORDING, Rule, words_of
from billing.stripe.recharges import CONSENTS_A_DAY, NothingSaved, RuleChanged, StoredRule, TooManyConsents
from billing.stripe.values import nano_of
from router.admin.accounts import require_account
from router.admin.payments import ANOTHER_REQUEST, require_stripe
from router.changes.audit import Actor, Change, record_changes
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, IdempotencyMismatch, InvalidRequest, NotFound
from store.ids import AccountId, wire

BY_CUSTOMER = "You switched it off."


async def consent(
    tx: AsyncConnection,
    config: StripeConfig | None,
    account_id: AccountId,
    rule: Rule,
    *,
    wording: str,
    consented_by: str,
    actor: str,
    key: str,
) -> StoredRule:
    """Switch auto-recharge on, once per key, by a person's consent to the present words.

    Raises ``PaymentsNotConfigured``, ``InvalidRequest``, ``Conflict``, ``IdempotencyMismatch``.
    """
    limits = require_stripe(config)
    least, most = to_usd(nano_of(limits.topup_min)), to_usd(nano_of(limits.topup_max))
    if not limits.topup_min <= rule.amount <= limits.topup_max:
        raise InvalidRequest(f"A recharge is between {least} and {most} USD.", param="amount_usd")
    if rule.threshold > limits.topup_max:
        raise InvalidRequest(f"A threshold is at most {most} USD.", param="threshold_usd")
    if rule.month_max < rule.amount:
        raise InvalidRequest("The most in a month is at least one recharge.", param="month_max_usd")
    if wording != WORDING:
        raise InvalidRequest(
            f"The words have changed. Show these to the person, and send wording {WORDING!r}: {words_of(rule)}",
            param="wording",
            details={"wording": WORDING, "words": words_of(rule)},
        )
    try:
        stored, is_new = await recharges.consent(tx, account_id, rule, consented_by=consented_by, actor=actor, key=key)
    except RuleChanged:
        raise IdempotencyMismatch(ANOTHER_REQUEST, param="Idempotency-Key") from None
    except TooManyConsents:
        raise Conflict(
            f"Auto-recharge was set {CONSENTS_A_DAY} times within a day, and stays as it is. It can be switched off."
        ) from None
    except NothingSaved:
        raise Conflict(
            "No card of this account is saved at Stripe. Save one with a top-up that has save_card, or in the portal: "
            "POST /v1/account/portal."
        ) from None
    if is_new:
        await record_changes(tx, Actor(actor), [_change("recharge.on", stored)])
    return stored


async def switch_off_by_customer(tx: AsyncConnection, account_id: AccountId, actor: str) -> None:
    """Switch auto-recharge off; nothing where it is off."""
    off = await recharges.switch_off(tx, account_id, actor=actor, reason=BY_CUSTOMER)
    if off is not None:
        await record_changes(tx, Actor(actor), [_change("recharge.off", off)])


async def switch_off(work: UnitOfWork, account_id: AccountId, reason: str) -> StoredRule:
    """The same for an operator; the customer is told why. Raises ``NotFound``, ``Conflict`` where it is off."""
    await require_account(work, account_id)
    if await recharges.read_rule(work.connection, account_id) is None:
        raise NotFound("The account never had auto-recharge.", param="account")
    off = await recharges.switch_off(work.connection, account_id, actor=work.actor, reason=reason)
    if off is None:
        raise Conflict("Auto-recharge of the account is off.")
    await recharges.mail_off(work.connection, off)
    work.record_change(_change("recharge.off", off))
    return off


def _change(action: str, stored: StoredRule) -> Change:
    """Amounts and the version; who consented, and to which words, is in the rule itself."""
    facts: dict[str, object] = {
        "version": stored.version,
        "threshold_usd": to_usd(nano_of(stored.threshold_cents)),
        "amount_usd": to_usd(nano_of(stored.amount_cents)),
        "month_max_usd": to_usd(nano_of(stored.month_max_cents)),
    }
    return Change(action, wire(AccountId, stored.account_id), stored.account_id, after=facts, reason=stored.reason)
