"""Pure. The faults of billing. A refusal is a value, :class:`billing.values.Denied`.

BillingFault
├── BillingUnavailable    Redis or Postgres cannot be reached; nothing was held or charged
└── ChargeUnknown         the commit's fate is not known, or the call's right to charge was lost; deliver nothing
"""


class BillingFault(Exception):
    """Base; the text is for the log."""


class BillingUnavailable(BillingFault):
    """Redis or Postgres cannot be reached; nothing was held or charged."""


class ChargeUnknown(BillingFault):
    """The commit's fate is unknown, or the call had lost its right to be charged; its Idempotency-Key tells which."""
