"""Pure. Says whether a document adds up: lines, cents, net, rounding, tax, balances."""

from billing.documents.document import Document, DocumentKind, Draft, exact_line
from billing.documents.rounding import NANO_PER_CENT, cents_of, share_cents, tax_cents


def total_faults(document: Document) -> list[str]:
    """How a document differs from itself: each line from its own figures, cents from their sum, tax from its rate.

    The tax of a payment is what was paid, which its provider may have rounded otherwise; that of a part is its share.
    """
    draft = document.draft
    if draft.kind is DocumentKind.STATEMENT:
        statement = draft.statement
        moved = sum(one.amount_nano for one in statement.movements) if statement else 0
        is_right = statement is not None and statement.opening_nano + moved == statement.closing_nano
        return [] if is_right else ["opening and movements are not the closing balance"]
    amounts = [*(line.amount_nano for line in draft.lines), *(-one.amount_nano for one in draft.deductions)]
    shares = [*(line.cents for line in draft.lines), *(-one.cents for one in draft.deductions)]
    checks = (
        (
            all(exact_line(line.usage) == line.amount_nano * 1_000_000 for line in draft.lines if line.usage),
            "a line is not tokens by price with its own rounding",
        ),
        (share_cents(amounts) == shares, "cents of lines are not their shares"),
        (cents_of(sum(amounts)) == draft.net_cents, "the net is not the sum of its lines"),
        (draft.net_cents * NANO_PER_CENT - sum(amounts) == draft.rounding_nano, "the rounding is another"),
        (
            draft.tax is not None
            and abs(tax_cents(draft.net_cents, draft.tax.rate) - draft.tax_cents) <= _tax_tolerance(draft),
            "the tax is not the net by its rate",
        ),
    )
    return [fault for is_right, fault in checks if not is_right]


def _tax_tolerance(draft: Draft) -> int:
    """By how many cents the tax may differ from the net by its rate."""
    # Stripe's rate may have more decimals than ours, such as 8.875 %, and several taxes that are rounded each.
    slack = 2 + abs(draft.net_cents) // 20_000 if draft.tax is not None and draft.tax.decided_by else 0
    if draft.is_share:
        return 2 + slack
    return 1 + slack if draft.paid_by else slack
