"""Pure. The faults of billing. A refusal is a value, :class:`billing.values.Denied`.

BillingFault
├── BillingUnavailable    Redis or Postgres cannot be reached; nothing was held or charged
├── ChargeRefused         the call lost its right to charge while it ran; nothing was charged, deliver nothing
└── ChargeUnknown         the commit's fate is not known, or the call was ended before; deliver nothing
"""


class BillingFault(Exception):
    """Base; the text is for the log."""


class BillingUnavailable(BillingFault):
    """Redis or Postgres cannot be reached; nothing was held or charged."""


class ChargeRefused(BillingFault):
    """The process was silent for so long that others gave its holds away; nothing was charged and nothing will be."""


class ChargeUnknown(BillingFault):
    """The commit's fate is unknown, or the call was ended before it; its Idempotency-Key tells which."""
