"""Shows the price of a call or of a quote: a list price, or one that a contract of the account made. Pure."""

import msgspec

from billing.contracts.rules import percent_text
from billing.money import Agreement, to_usd
from store.ids import ContractId, PriceId, wire


class PriceInForceOut(msgspec.Struct, frozen=True):
    """The price in force, in USD: a list price, or the one that a contract of the account made.

    Of a contract's, ``list_per_million_tokens`` and ``percent_off`` are null where the price itself was agreed.
    """

    id: str
    per_million_tokens: str
    contract: str | None = None
    list_per_million_tokens: str | None = None
    percent_off: str | None = None


def price_out(price_id: PriceId, nano_per_mtok: int, agreement: Agreement | None) -> PriceInForceOut:
    """Convert a call's price to its form in the API."""
    price = PriceInForceOut(wire(PriceId, price_id), to_usd(nano_per_mtok))
    if agreement is None:
        return price
    percent, listed = agreement.percent_off, agreement.list_nano_per_mtok
    return msgspec.structs.replace(
        price,
        contract=wire(ContractId, agreement.contract_id),
        list_per_million_tokens=None if listed is None else to_usd(listed),
        percent_off=None if percent is None else percent_text(percent),
    )
