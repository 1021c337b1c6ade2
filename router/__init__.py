"""Serves embedding calls, bytes in to bytes out: :mod:`router.pipeline` runs one, :mod:`router.api` speaks HTTP.

Knows no Stripe, no invoice, and no SQL of the ledger.
"""
