"""Speaks to whatever can embed, by one protocol and several kinds. Knows no key, money, customer or router."""

from providers.protocol import Attempt, FloatMatrix, Provider, Vectors

__all__ = ["Attempt", "FloatMatrix", "Provider", "Vectors"]
