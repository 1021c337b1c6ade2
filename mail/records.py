"""Reads the outbox for operators, and lets them send a mail again or not at all."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId, MailId

_COLUMNS = "id, kind, address, staff, account_id, state, attempts, fault, run_after, created_at, sent_at"
_LIST = text(f"""
    SELECT {_COLUMNS} FROM mails
    WHERE (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:kind AS text) IS NULL OR kind = :kind)
        AND (CAST(:address AS text) IS NULL OR lower(address) = lower(:address))
        AND (CAST(:account AS uuid) IS NULL OR account_id = :account)
        AND (CAST(:before AS uuid) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
""")  # noqa: S608 - constants
_FIND = text(f"SELECT {_COLUMNS} FROM mails WHERE id = :id FOR UPDATE")  # noqa: S608 - constants
# What was of no use any more gets a day more.
_RETRY = text("""
    UPDATE mails SET state = 'waiting', fault = '', run_after = now(), until = greatest(until, now() + interval '1 day')
    WHERE id = :id
""")
_DROP = text("UPDATE mails SET state = 'dropped', fault = :fault WHERE id = :id")


class MailRecord(msgspec.Struct, frozen=True):
    """A row of the outbox, without what it says. ``address`` is empty where it is still to be found."""

    id: MailId
    kind: str
    address: str
    staff: str | None
    account_id: AccountId | None
    state: str
    attempts: int
    fault: str
    run_after: datetime
    created_at: datetime
    sent_at: datetime | None


class MailFilter(msgspec.Struct, frozen=True):
    """Which mails are listed; None: all."""

    state: str | None = None
    kind: str | None = None
    address: str | None = None
    account_id: AccountId | None = None


async def list_mails(
    tx: AsyncConnection, which: MailFilter, *, before: MailId | None = None, limit: int = 50
) -> list[MailRecord]:
    """Mails, the newest first."""
    values = {"state": which.state, "kind": which.kind, "address": which.address, "account": which.account_id}
    rows = await tx.execute(_LIST, {**values, "before": before, "limit": limit})
    return [MailRecord(**row._mapping) for row in rows]


async def find_mail(tx: AsyncConnection, mail_id: MailId) -> MailRecord | None:
    """One mail, which nobody else changes until the transaction's end."""
    row = (await tx.execute(_FIND, {"id": mail_id})).one_or_none()
    return None if row is None else MailRecord(**row._mapping)


async def retry(tx: AsyncConnection, mail_id: MailId) -> None:
    """Let a mail that waits or has failed be sent now."""
    await tx.execute(_RETRY, {"id": mail_id})


async def drop(tx: AsyncConnection, mail_id: MailId, reason: str) -> None:
    """Let a mail that waits never be sent."""
    await tx.execute(_DROP, {"id": mail_id, "fault": reason[:500]})
