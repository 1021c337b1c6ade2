"""Turns a checked answer into billed tokens and into the bytes that the customer gets."""
