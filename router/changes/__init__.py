"""The one way in which anything administered is changed: transaction, audit row, idempotency."""
