"""What can embed: one protocol and the kinds that speak it. Knows no key, no money, no customer, and not the router."""

from providers.protocol import Attempt, FloatMatrix, Provider, Vectors

__all__ = ["Attempt", "FloatMatrix", "Provider", "Vectors"]
