"""Sends a call to endpoints until one gives a checked answer: attempts, retries, hedges, quotas."""
