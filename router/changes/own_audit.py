"""Reads the audit as the people of an account see it: what was changed in their account, and by whom.

Operators and processes are not named, and of what they change only kinds that are the account's own matter are shown
with what they changed.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.tables import Json
from store.ids import AccountId, AuditId

# What is shown with before and after, whoever changed it.
OWN = (
    *("key.", "key_policy.", "management_key.", "member.", "invitation.", "budget.", "caps.", "webhook."),
    "license.accept",
)
# What is shown; before and after of these where the account's own did it.
SHOWN = (
    *OWN,
    *("billing_profile.", "recharge.", "topup.", "refund.", "evidence.send", "account.", "credit.grant", "contract."),
    *("session.", "passkey.", "device.", "view."),
)
OPERATOR, PROCESS = "operator", "process"

_LIST = text("""
    SELECT a.*, m.email, coalesce(k.name, g.name) AS key_name, m.id IS NOT NULL AS is_member
    FROM audit a
        LEFT JOIN members m ON m.account_id = a.account_id
            AND m.id = CASE WHEN a.actor LIKE 'mem\\_%' THEN CAST(substr(a.actor, 5) AS uuid) END
        LEFT JOIN keys k ON k.id = CASE WHEN a.actor LIKE 'key\\_%' THEN CAST(substr(a.actor, 5) AS uuid) END
        LEFT JOIN management_keys g ON g.id =
            CASE WHEN a.actor LIKE 'mgmt\\_%' THEN CAST(substr(a.actor, 6) AS uuid) END
    WHERE a.account_id = :account AND a.action LIKE ANY(CAST(:shown AS text[]))
        AND (CAST(:before_at AS timestamptz) IS NULL OR (a.at, a.id) < (:before_at, CAST(:before_id AS uuid)))
        AND (CAST(:since AS timestamptz) IS NULL OR a.at >= :since)
        AND (CAST(:until AS timestamptz) IS NULL OR a.at < :until)
        AND (CAST(:subject AS text) IS NULL OR a.subject = :subject)
        AND (CAST(:actor AS text) IS NULL OR a.actor = :actor)
        AND (CAST(:action AS text) IS NULL OR a.action LIKE :action)
    ORDER BY a.at DESC, a.id DESC LIMIT :most
""")


class OwnFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which changes of an account. ``action`` is one, such as ``key.create``, or a kind, such as ``key``."""

    account_id: AccountId
    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class OwnChange(msgspec.Struct, frozen=True):
    """A change as the account's own see it; ``actor`` is an id of the account's, ``operator`` or ``process``."""

    id: AuditId
    at: datetime
    actor: str
    actor_name: str | None
    action: str
    subject: str
    before: Json | None
    after: Json | None


async def list_own_changes(
    connection: AsyncConnection, which: OwnFilter, *, before: tuple[datetime, AuditId] | None, most: int
) -> list[OwnChange]:
    """List the changes of an account, the newest first; ``before`` is the last one of the page before."""
    action = which.action
    values: dict[str, object] = {
        "account": which.account_id,
        "shown": [_pattern(prefix) for prefix in SHOWN],
        "before_at": None if before is None else before[0],
        "before_id": None if before is None else before[1],
        "since": which.since,
        "until": which.until,
        "subject": which.subject,
        "actor": which.actor,
        "action": None if action is None else _pattern(action if "." in action else f"{action}."),
        "most": most,
    }
    return [_change(row) for row in await connection.execute(_LIST, values)]


def _pattern(prefix: str) -> str:
    escaped = prefix.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return f"{escaped}%" if prefix.endswith(".") else escaped


def _change(row: Row[Any]) -> OwnChange:
    is_own = row.is_member or row.actor.startswith(("key_", "mgmt_"))
    actor = row.actor if is_own else PROCESS if row.actor.startswith("process:") else OPERATOR
    has_details = is_own or row.action.startswith(OWN)
    return OwnChange(
        id=AuditId(row.id),
        at=row.at,
        actor=actor,
        actor_name=(row.email or row.key_name) if is_own else None,
        action=row.action,
        subject=row.subject,
        before=row.before if has_details else None,
        after=row.after if has_details else None,
    )
