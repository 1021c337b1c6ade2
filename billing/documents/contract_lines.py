"""Says on a document what a contract made of a month: prices of usage, and what a minimum adds to it."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.minimums import MinimumsPaid, list_uncharged
from billing.contracts.prices import list_charged
from billing.contracts.rules import percent_text
from billing.documents.document import Draft, LineUsage, month_bounds
from billing.documents.faults import DocumentWaits
from billing.documents.words import WORDS, write_decimal, write_nano
from billing.money import to_usd
from store.ids import AccountId, ContractId, wire


async def describe_usage(tx: AsyncConnection, account_id: AccountId, draft: Draft) -> Callable[[LineUsage], str]:
    """A description for each line of usage, which names the contract's term where one made the line's price."""
    language = draft.buyer.language
    words = WORDS[language]
    charged = await list_charged(tx, account_id, *month_bounds(draft.since))
    agreements = {(one.model, one.nano_per_mtok): one.agreement for one in charged}

    def describe(usage: LineUsage) -> str:
        plain = words["usage_of"].format(model=usage.model)
        agreement = agreements.get((usage.model, usage.nano_per_mtok))
        if agreement is None:
            return plain
        if agreement.percent_off is None or agreement.list_nano_per_mtok is None:
            return words["negotiated"].format(usage=plain)
        percent = write_decimal(percent_text(agreement.percent_off), language)
        listed = write_decimal(to_usd(agreement.list_nano_per_mtok), language)
        return words["discounted"].format(usage=plain, percent=percent, listed=listed)

    return describe


async def wait_for_minimums(tx: AsyncConnection, account_id: AccountId, draft: Draft) -> None:
    """Raise :class:`DocumentWaits` while a minimum of the month is not charged, which takes some minutes after it."""
    if waiting := await list_uncharged(tx, draft.since, account_id):
        raise DocumentWaits(f"the minimum of {wire(ContractId, waiting[0])} is not charged yet")


def minimum_lines(paid: MinimumsPaid, draft: Draft) -> list[tuple[str, int, None]]:
    """A line for each minimum that usage did not come to."""
    language = draft.buyer.language
    return [
        (
            WORDS[language]["minimum"].format(
                minimum=write_nano(one.minimum, language), used=write_nano(one.used, language)
            ),
            one.shortfall,
            None,
        )
        for one in paid.minimums
    ]
