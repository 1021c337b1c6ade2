"""The request: from bytes in to bytes out. The line is in :mod:`router.pipeline`, its HTTP in :mod:`router.api`.

Knows no Stripe, no invoice, and no SQL of the ledger.
"""
