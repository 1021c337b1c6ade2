"""Compares the ledger with what Stripe and providers say, and keeps the differences as a queue for people."""
