"""What billing can fail with. A refusal is a value (:class:`billing.values.Denied`); these are faults.

BillingFault
├── BillingUnavailable    Redis or Postgres cannot be reached; nothing was held or charged
└── ChargeUnknown         the commit's fate is not known, or the call's right to charge was lost; deliver nothing
"""


class BillingFault(Exception):
    """Base; the text is for the log."""


class BillingUnavailable(BillingFault):
    """A store is out of reach."""


class ChargeUnknown(BillingFault):
    """Not charged as far as we know; the same Idempotency-Key tells."""
