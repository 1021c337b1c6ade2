"""Answers of closing an account, as its customer and operators see it."""

from typing import Literal

from pydantic import Field

from billing.closing import Closing
from billing.money import NanoUSD
from router.admin.closing import Closed
from router.api.fields import AccountIdText, Instant, Usd
from router.api.forms import Answer


class ClosingOut(Answer):
    """How far the closing of an account is, and what it does with the account's money."""

    account: AccountIdText
    state: Literal["closing", "closed"] = Field(description="closing: jobs wait for what `waits_for` says.")
    waits_for: str
    reason: str
    requested_by: str
    requested_at: Instant
    closed_at: Instant | None
    refunded_usd: Usd | None = Field(description="Unused credit that is paid back; null when it is read later.")
    forfeited_usd: Usd | None = Field(description="Unused credit that ends: what was given, and what is not paid back.")
    written_off_usd: Usd | None
    keys_ended: int | None
    currency: Literal["USD"] = "USD"
    object: Literal["account.closing"] = "account.closing"


def closed_out(closed: Closed) -> ClosingOut:
    """What closing an account does, as it is answered."""
    return _out(closed.closing, closed.refunded, closed.forfeited, closed.written_off, closed.keys)


def closing_out(closing: Closing) -> ClosingOut:
    """How far a closing is."""
    return _out(closing, None, None, None, None)


def _out(
    closing: Closing,
    refunded: NanoUSD | None,
    forfeited: NanoUSD | None,
    written_off: NanoUSD | None,
    keys: int | None,
) -> ClosingOut:
    return ClosingOut(
        account=closing.account_id,
        state="closed" if closing.state == "closed" else "closing",
        waits_for=closing.waits_for,
        reason=closing.reason,
        requested_by=closing.requested_by,
        requested_at=closing.requested_at,
        closed_at=closing.closed_at,
        refunded_usd=refunded,
        forfeited_usd=forfeited,
        written_off_usd=written_off,
        keys_ended=keys,
    )
