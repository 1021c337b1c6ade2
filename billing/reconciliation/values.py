"""Pure. What a comparison finds: kinds of differences, and a difference before it is in the queue."""

from enum import StrEnum

import msgspec

from billing.money import NanoUSD


class Kind(StrEnum):
    """What is not one."""

    NOT_BOOKED = "not_booked"
    UNKNOWN_KIND = "unknown_kind"
    ENTRY_MISSING = "entry_missing"
    ENTRY_DIFFERS = "entry_differs"
    NOT_AT_STRIPE = "not_at_stripe"
    CHANGED_AT_STRIPE = "changed_at_stripe"
    PAYOUT_NOT_AT_BANK = "payout_not_at_bank"
    BALANCE_DIFFERS = "balance_differs"
    OTHER_CURRENCY = "other_currency"
    BILLED_MORE = "billed_more"
    BILLED_LESS = "billed_less"
    NOT_BILLED = "not_billed"
    UNKNOWN_MODEL = "unknown_model"
    METER_DIFFERS = "meter_differs"


class Found(msgspec.Struct, frozen=True):
    """A difference as a comparison finds it: ``amount`` is what the ledger lacks of what others say, in nano-USD."""

    kind: Kind
    object: str
    amount: NanoUSD
    message: str
