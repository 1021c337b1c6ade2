"""Tells customers by mail what happened to their account: one row for each fact, which a job claims, sends and marks.

Addresses are those of the billing profile at that moment and are not kept here. Sends nothing itself. A mail that was
sent by a process that died before it marked it is sent again, with the same Message-ID.
"""

from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId, new_id

# Whoever sends a mail has it for so long; a failure waits twice as long as the one before, at most six hours.
LEASE, FIRST_PAUSE, LAST_PAUSE, GIVEN_UP_AFTER = (
    timedelta(minutes=5),
    timedelta(minutes=1),
    timedelta(hours=6),
    timedelta(days=7),
)


class MailKind(StrEnum):
    """What is told."""

    RECHARGE_CONFIRM = "recharge_confirm"
    RECHARGE_OFF = "recharge_off"
    RECHARGE_CEILING = "recharge_ceiling"
    CREDIT_EXPIRES = "credit_expires"
    SPEND_ALERT = "spend_alert"
    SPEND_FORECAST = "spend_forecast"


# Subject and sentences of each kind.
WORDS: dict[MailKind, tuple[str, str]] = {
    MailKind.RECHARGE_CONFIRM: (
        "Confirm the payment of {amount} USD",
        "The credit of your account fell below {threshold} USD, and your bank wants you to confirm the payment of "
        "{amount} USD by which it is recharged. Confirm it here until {until}:\n\n{url}\n\nNothing was charged, and "
        "nothing is tried again until you have confirmed. After that day auto-recharge is switched off.",
    ),
    MailKind.RECHARGE_OFF: (
        "Auto-recharge is switched off",
        "Auto-recharge of your account was switched off. {reason}\n\nCalls stop when the credit is used up. Top up by "
        "hand, or switch auto-recharge on again: it does not come back by itself.",
    ),
    MailKind.RECHARGE_CEILING: (
        "Auto-recharge has reached the most of this month",
        "The credit of your account is below its threshold, and auto-recharge may buy no more in {month}: at most "
        "{month_max} USD in a month, as you set it.\n\nCalls stop when the credit is used up. Top up by hand, or set a "
        "higher amount.",
    ),
    MailKind.SPEND_ALERT: (
        "{percent} % of a {what} is spent",
        "{spent} USD is spent: {percent} % of the {what} is reached. {then} {until}",
    ),
    MailKind.SPEND_FORECAST: (
        "A {what} will not last",
        "{spent} USD is spent. At this pace it will be {forecast} USD by the end of the period, more than the {what}. "
        "{until}",
    ),
    MailKind.CREDIT_EXPIRES: (
        "{amount} USD of your credit expires on {day}",
        "{amount} USD of the {kind} credit of your account expires on {day} (UTC), in {days} days. It is spent before "
        "credit of the same kind that expires later.",
    ),
}

_ADD = text("""
    INSERT INTO account_mails (id, account_id, source_ref, kind, facts)
    VALUES (:id, :account, :source, :kind, CAST(:facts AS jsonb)) ON CONFLICT (source_ref) DO NOTHING
""")
_CLAIM = text("""
    UPDATE account_mails SET run_after = now() + :lease, attempts = attempts + 1 WHERE id = (
        SELECT id FROM account_mails WHERE state = 'waiting' AND run_after <= now()
        ORDER BY run_after, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, account_id, kind, facts::text AS facts, attempts, created_at
""")
_GIVE_UP = text(
    "UPDATE account_mails SET state = 'failed', fault = coalesce(nullif(fault, ''), 'no mail server was set')"
    " WHERE state = 'waiting' AND created_at < now() - CAST(:age AS interval)"
)
_SENT = text(
    "UPDATE account_mails SET state = 'sent', sent_at = now(), fault = '' WHERE id = :id AND state = 'waiting'"
)
_FAILED = text(
    "UPDATE account_mails SET fault = :fault, run_after = now() + :pause,"
    " state = CASE WHEN :final THEN 'failed' ELSE state END WHERE id = :id AND state = 'waiting'"
)


class AccountMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that is to be sent, for the so many-th time."""

    id: UUID
    account_id: AccountId
    kind: MailKind
    facts: dict[str, str]
    attempts: int
    created_at: datetime


async def add_mail(
    tx: AsyncConnection, account_id: AccountId, kind: MailKind, source_ref: str, facts: dict[str, str]
) -> None:
    """Have an account told something, once per ``source_ref``."""
    WORDS[kind][1].format(**facts)  # a fact that is missing is found here, and not when it is sent
    row = {"id": new_id(), "account": account_id, "source": source_ref, "kind": kind.value}
    await tx.execute(_ADD, {**row, "facts": msgspec.json.encode(facts).decode()})


async def claim_mail(tx: AsyncConnection) -> AccountMail | None:
    """The next mail, which nobody else has for some minutes; what waited for a week is given up."""
    await tx.execute(_GIVE_UP, {"age": GIVEN_UP_AFTER})
    row = (await tx.execute(_CLAIM, {"lease": LEASE})).one_or_none()
    if row is None:
        return None
    return AccountMail(
        id=row.id,
        account_id=AccountId(row.account_id),
        kind=MailKind(row.kind),
        facts=msgspec.json.decode(row.facts, type=dict[str, str]),
        attempts=row.attempts,
        created_at=row.created_at,
    )


async def mark_sent(tx: AsyncConnection, mail: AccountMail) -> None:
    """The mail server took it."""
    await tx.execute(_SENT, {"id": mail.id})


async def mark_failed(tx: AsyncConnection, mail: AccountMail, fault: str, *, is_final: bool) -> None:
    """It was not sent; it is tried again later, unless that is final."""
    pause = min(FIRST_PAUSE * 2 ** min(mail.attempts - 1, 10), LAST_PAUSE)
    await tx.execute(_FAILED, {"id": mail.id, "fault": fault[:500], "pause": pause, "final": is_final})


def message_of(mail: AccountMail, addresses: tuple[str, ...], sender: str) -> EmailMessage:
    """What is sent. The same mail has the same Message-ID however often it is sent."""
    subject, sentences = WORDS[mail.kind]
    message = EmailMessage()
    message["Subject"] = subject.format(**mail.facts)
    message["From"] = sender
    message["To"] = ", ".join(addresses)
    message["Message-ID"] = f"<{mail.id.hex}@{sender.rpartition('@')[2].rstrip('>')}>"
    message["Date"] = format_datetime(mail.created_at)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(sentences.format(**mail.facts) + "\n")
    return message
