"""Reads the audit as the people of an account see it: what was changed in their account, and by whom.

Operators and processes are not named, and of what they change only kinds that are the account's own matter are shown
with what they changed.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.amounts import facts_in_usd
from router.tables import Json
from store.ids import AccountId, AuditId, MemberId, wire

# What is shown with before and after, whoever changed it.
OWN = (
    "key.",
    "key_policy.",
    "trial.",
    "management_key.",
    "member.",
    "invitation.",
    "budget.",
    "caps.",
    "webhook.",
    "license.accept",
    "view.",
)
# What is shown; before and after of these where the account's own did it.
SHOWN = (
    *OWN,
    *("billing_profile.", "recharge.", "topup.", "refund.", "evidence.send", "account.", "credit.grant", "contract."),
    *("session.", "passkey.", "device."),
)
OPERATOR, PROCESS = "operator", "process"

_WHO = """
        LEFT JOIN LATERAL (
            SELECT one.id, one.email FROM members one WHERE one.account_id = a.account_id AND (
                one.id = CASE WHEN a.actor LIKE 'mem\\_%' THEN CAST(substr(a.actor, 5) AS uuid) END
                OR one.person_id = CASE WHEN a.actor LIKE 'person\\_%' THEN CAST(substr(a.actor, 8) AS uuid) END
            ) ORDER BY one.id DESC LIMIT 1
        ) m ON true
        LEFT JOIN keys k ON k.id = CASE WHEN a.actor LIKE 'key\\_%' THEN CAST(substr(a.actor, 5) AS uuid) END
        LEFT JOIN management_keys g ON g.id =
            CASE WHEN a.actor LIKE 'mgmt\\_%' THEN CAST(substr(a.actor, 6) AS uuid) END
"""
_MEMBER = "'mem_' || encode(uuid_send(m.id), 'hex')"
_LIST = text(f"""
    SELECT a.*, m.email, coalesce(k.name, g.name) AS key_name, m.id AS member_id
    FROM audit a {_WHO}
    WHERE a.account_id = :account AND a.action LIKE ANY(CAST(:shown AS text[]))
        AND (CAST(:before_at AS timestamptz) IS NULL OR (a.at, a.id) < (:before_at, CAST(:before_id AS uuid)))
        AND (CAST(:since AS timestamptz) IS NULL OR a.at >= :since)
        AND (CAST(:until AS timestamptz) IS NULL OR a.at < :until)
        AND (CAST(:subject AS text) IS NULL OR a.subject = :subject)
        AND (CAST(:actor AS text) IS NULL OR a.actor = :actor OR {_MEMBER} = :actor)
        AND (CAST(:action AS text) IS NULL OR a.action LIKE :action)
    ORDER BY a.at DESC, a.id DESC LIMIT :most
""")  # noqa: S608 - constants
_IS_OWN = "(m.id IS NOT NULL OR a.actor LIKE 'key\\_%' OR a.actor LIKE 'mgmt\\_%')"
_HAS_DETAILS = f"({_IS_OWN} OR a.action LIKE ANY($3::text[]))"
# The same of all times, as cells of CSV but for before and after. $1 is the account, $2 and $3 are
# :func:`own_audit_patterns`.
OWN_AUDIT_ROWS = f"""
    SELECT 'audit_' || encode(uuid_send(a.id), 'hex') AS id,
        to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
        CASE WHEN m.id IS NOT NULL THEN {_MEMBER} WHEN {_IS_OWN} THEN a.actor
            WHEN a.actor LIKE 'process:%' THEN '{PROCESS}' ELSE '{OPERATOR}' END AS actor,
        CASE WHEN {_IS_OWN} THEN csv_cell(coalesce(m.email, k.name, g.name)) END AS actor_name,
        a.action, csv_cell(a.subject) AS subject,
        CASE WHEN {_HAS_DETAILS} THEN a.before::text END AS before,
        CASE WHEN {_HAS_DETAILS} THEN a.after::text END AS after
    FROM audit a {_WHO}
    WHERE a.account_id = $1 AND a.action LIKE ANY($2::text[]) ORDER BY a.at, a.id
"""  # noqa: S608 - constants


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


def own_audit_patterns() -> tuple[list[str], list[str]]:
    """What is shown, and of what before and after are whoever did it, as patterns of LIKE."""
    return [_pattern(prefix) for prefix in SHOWN], [_pattern(prefix) for prefix in OWN]


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
    # Whoever opens an account is a person before they are its member.
    is_own = row.member_id is not None or row.actor.startswith(("key_", "mgmt_"))
    named = row.actor if row.member_id is None else wire(MemberId, row.member_id)
    actor = named if is_own else PROCESS if row.actor.startswith("process:") else OPERATOR
    has_details = is_own or row.action.startswith(OWN)
    return OwnChange(
        id=AuditId(row.id),
        at=row.at,
        actor=actor,
        actor_name=(row.email or row.key_name) if is_own else None,
        action=row.action,
        subject=row.subject,
        before=facts_in_usd(row.action, row.before) if has_details else None,
        after=facts_in_usd(row.action, row.after) if has_details else None,
    )
