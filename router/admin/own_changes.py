"""Bounds how often an account's own keys change a thing: each change is a row of the audit, which stays."""

from sqlalchemy import text

from router.changes.transaction import UnitOfWork
from router.errors import Conflict
from store.ids import AccountId

CHANGES_A_DAY_MAX = 50
_COUNT = text(
    "SELECT count(*) FROM audit WHERE account_id = :account AND action LIKE :action AND at > now() - interval '1 day'"
)


async def require_few_changes(work: UnitOfWork, account_id: AccountId, noun: str, what: str) -> None:
    """Raise ``Conflict`` where ``noun``'s actions of an account were fifty within a day; ``what`` names them."""
    values = {"account": account_id, "action": f"{noun}.%"}
    if (await work.connection.execute(_COUNT, values)).scalar_one() >= CHANGES_A_DAY_MAX:
        raise Conflict(f"The account's {what} were changed {CHANGES_A_DAY_MAX} times within a day. Try tomorrow.")
