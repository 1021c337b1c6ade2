"""Finds which accounts a month owes a document: an invoice where a line was drawn, else a statement of what moved.

One that was requested before, of whatever became of it, is not found again. A statement needs a billing profile, which
an invoice without one is refused for by name.
"""

from datetime import date

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import DocumentKind, month_bounds
from store.ids import AccountId

# What is booked within a day before a month began may belong to it, where clocks differ.
_OF_MONTH = """
    e.period = :period AND e.booked_at >= CAST(:since AS timestamptz) - interval '1 day'
"""
_UNREQUESTED = """
    NOT EXISTS (SELECT FROM document_requests r WHERE r.account_id = a.account_id AND r.kind = '{kind}'
        AND CAST(r.facts ->> 'period' AS date) = :period AND coalesce(r.facts ->> 'seller', '') IN ('', :seller))
"""
_IS_DRAWN = f"""
    EXISTS (SELECT FROM entries e JOIN grant_uses u ON u.entry_id = e.id JOIN grants g ON g.id = u.grant_id
        WHERE e.account_id = a.account_id AND {_OF_MONTH} AND e.kind IN ('usage', 'minimum') AND g.kind = 'line')
"""
_INVOICES = text(f"""
    SELECT DISTINCT a.account_id FROM grants a
    WHERE a.kind = 'line' AND {_UNREQUESTED.format(kind="invoice")} AND {_IS_DRAWN} ORDER BY 1
""")  # noqa: S608 - constants
_STATEMENTS = text(f"""
    SELECT a.account_id FROM (SELECT DISTINCT account_id FROM billing_profiles) a
    WHERE {_UNREQUESTED.format(kind="statement")} AND NOT {_IS_DRAWN}
        AND EXISTS (SELECT FROM entries e WHERE e.account_id = a.account_id AND {_OF_MONTH}) ORDER BY 1
""")  # noqa: S608 - constants


class Wanted(msgspec.Struct, frozen=True):
    """A document that a month still owes an account."""

    account_id: AccountId
    kind: DocumentKind


async def list_wanted(tx: AsyncConnection, period: date, seller: str) -> list[Wanted]:
    """The documents of a month by a seller that nobody has requested yet, invoices first."""
    facts = {"period": period, "seller": seller, "since": month_bounds(period)[0]}
    return [
        Wanted(AccountId(account_id), kind)
        for kind, query in ((DocumentKind.INVOICE, _INVOICES), (DocumentKind.STATEMENT, _STATEMENTS))
        for account_id in (await tx.execute(query, facts)).scalars()
    ]
