"""Declares the settings of amounts above which a second operator is needed."""

from pydantic import BaseModel, Field

from billing.money import NANO_PER_USD, NanoUSD
from router.changes.second_person import SecondPersonLimits


class SecondPersonSettings(BaseModel):
    """Up to which amounts one operator acts alone; the rest of the settings inherit these."""

    second_person_refund_usd: int = Field(
        default=10_000, ge=0, description="Refunds above so many USD need a second operator; 0: none does."
    )
    second_person_grant_usd: int = Field(
        default=10_000, ge=0, description="Grants above so many USD need a second operator; 0: none does."
    )
    second_person_write_off_usd: int = Field(
        default=1_000,
        ge=0,
        description="Write-offs and credit notes of a part above so many USD need a second operator; 0: none does.",
    )
    second_person_line_usd: int = Field(
        default=50_000, ge=0, description="Credit lines above so many USD need a second operator; 0: none does."
    )

    def second_person_limits(self) -> SecondPersonLimits:
        """The limits as amounts."""
        return SecondPersonLimits(
            refund=NanoUSD(self.second_person_refund_usd * NANO_PER_USD),
            grant=NanoUSD(self.second_person_grant_usd * NANO_PER_USD),
            write_off=NanoUSD(self.second_person_write_off_usd * NANO_PER_USD),
            line=NanoUSD(self.second_person_line_usd * NANO_PER_USD),
        )
