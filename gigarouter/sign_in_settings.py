"""Declares the settings of what somebody gets who signs in for the first time."""

from datetime import timedelta

from pydantic import BaseModel, Field

from billing.money import NANO_PER_USD, NanoUSD
from router.admin.sign_in import FreeCredit


class SignInSettings(BaseModel):
    """Free credit; the rest of the settings inherit these."""

    free_credit_usd: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Free credit in USD that comes with a person's first account; 0: none. `up` gives 5.",
    )
    free_credit_days: int = Field(default=90, ge=1, le=3650, description="Days after which free credit expires.")

    def free_credit(self) -> FreeCredit:
        """The free credit as an amount and how long it lasts."""
        return FreeCredit(NanoUSD(self.free_credit_usd * NANO_PER_USD), timedelta(days=self.free_credit_days))
