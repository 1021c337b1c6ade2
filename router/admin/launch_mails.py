"""Keeps the choice of a mail at launch in step with what its readers left: mails of models are for an account's owners.

Who chooses the mail as an owner takes mails about models again that they had left. When the last owner leaves them,
the account's choices end, so that neither a page nor the API promises a mail that nobody would get.
"""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mail.stopped import EVERYTHING, StopReason
from mail.values import Topic
from router.identity.members import Role
from store.ids import AccountId, MemberId

_TOPICS = [EVERYTHING, Topic.MODELS.value]
# The addresses of an account's owners that take mails about models.
_TAKES = """m.role = :role AND m.removed_at IS NULL AND NOT EXISTS (
    SELECT FROM stopped_addresses s WHERE s.address = lower(m.email) AND s.topic = ANY(:topics))"""
_COUNT = text(f"SELECT count(*) FROM members m WHERE m.account_id = ANY(:accounts) AND {_TAKES}")  # noqa: S608
_TAKE_AGAIN = text("""
    DELETE FROM stopped_addresses s USING members m
    WHERE m.id = :member AND m.role = :role AND m.removed_at IS NULL AND s.address = lower(m.email)
        AND s.topic = :topic AND s.reason = :reason
""")
_END = text(
    "DELETE FROM launch_mails l WHERE EXISTS ("  # noqa: S608
    " SELECT FROM members o WHERE o.account_id = l.account_id AND lower(o.email) = lower(:address)"
    " AND o.role = :role AND o.removed_at IS NULL)"
    f" AND NOT EXISTS (SELECT FROM members m WHERE m.account_id = l.account_id AND {_TAKES})"
)
_OWNER = {"role": Role.OWNER.value, "topics": _TOPICS}


async def count_addresses(tx: AsyncConnection, accounts: Collection[AccountId]) -> int:
    """How many addresses of these accounts a mail about a model goes to."""
    return int(await tx.scalar(_COUNT, {"accounts": list(accounts), **_OWNER}) or 0)


async def take_again(tx: AsyncConnection, member_id: MemberId) -> None:
    """Let an owner get mails about models again who had left them; what bounced or was stopped by us stays so."""
    which = {"member": member_id, "role": Role.OWNER.value, "topic": Topic.MODELS.value}
    await tx.execute(_TAKE_AGAIN, {**which, "reason": StopReason.UNSUBSCRIBED.value})


async def end_unread(tx: AsyncConnection, address: str) -> None:
    """End the choices of accounts whose last owner with mails about models was at this address."""
    await tx.execute(_END, {"address": address, **_OWNER})
