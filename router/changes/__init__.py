"""Changes what operators administer, in one way: a transaction with its audit rows, made once per Idempotency-Key."""
