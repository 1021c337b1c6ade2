"""The texts that endpoints are probed with, and the comparison of two sets of their vectors."""
