"""Answers in place of an operation: a proposal, or the dry run of a money write with the entries that it would book.

What an operation only asks jobs for is booked by them later, and is not among the entries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from billing.ledger import BookedLeg
from billing.money import NanoUSD, to_usd
from router.api.forms import Answer
from router.changes.idempotency import StoredOutcome
from store.ids import AccountId, wire

# The headers of the answer that the operation would have given.
_KEPT = ("etag", "x-gigarouter-dry-run", "x-gigarouter-second-person")


class Proposed(Exception):
    """Ends a request that was stored as a proposal, which the application answers."""

    def __init__(self, outcome: StoredOutcome) -> None:
        super().__init__("proposed")
        self.outcome = outcome


class DryRan(Exception):
    """A dry run of a money write has ended: the application answers its outcome in place of the operation."""

    def __init__(self, outcome: StoredOutcome) -> None:
        super().__init__()
        self.outcome = outcome


def with_entries(answer: Answer, booked: Sequence[BookedLeg], headers: Mapping[str, str]) -> StoredOutcome:
    """The answer of a dry run with ``entries``, a row for each leg that would be booked."""
    facts = msgspec.json.decode(answer.model_dump_json(), type=dict[str, Any])
    body = msgspec.json.encode(facts | {"entries": [_row(leg) for leg in booked]})
    return StoredOutcome(200, [(name, headers[name]) for name in _KEPT if name in headers], body)


def _row(leg: BookedLeg) -> dict[str, object]:
    """A leg as an accountant reads it."""
    return {
        "entry": leg.entry,
        "kind": leg.kind,
        "source": leg.source_ref,
        "month": f"{leg.period:%Y-%m}",
        "ledger_account": " ".join(filter(None, (leg.ledger_account, leg.detail))),
        "account": None if leg.account_id is None else wire(AccountId, leg.account_id),
        "debit_usd": to_usd(NanoUSD(-leg.amount)) if leg.amount < 0 else None,
        "credit_usd": to_usd(leg.amount) if leg.amount > 0 else None,
    }
