"""The request: from bytes in to bytes out. The line is in :mod:`router.line`, its HTTP in :mod:`router.edge`.

Knows no Stripe, no invoice, and no SQL of the ledger.
"""
