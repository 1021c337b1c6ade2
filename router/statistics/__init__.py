"""Counts how endpoints and models serve, in spans of five minutes, and says how available and how fast they are."""
