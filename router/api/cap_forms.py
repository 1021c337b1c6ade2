"""Forms of caps: what may be set of one, and how it is answered with what is left of it."""

from pydantic import Field

from billing.cap_rules import CapUse
from billing.values import Cap, CapPeriod, CapScope
from router.api.fields import Instant, Usd, UsdNotNegative
from router.api.forms import Answer, Body, Form

# What changes of a cap by itself, as calls are charged and time goes by.
VOLATILE = frozenset({"spent_usd", "left_usd", "resets_at"})


class CapForm(Form):
    """The most that may be spent per period."""

    amount_usd: UsdNotNegative = Field(description="How much, in USD.")
    period: CapPeriod = Field(CapPeriod.MONTH, description="Per what: total, or a month or a day of UTC.")


class CapsSet(Body):
    """All caps of an account."""

    caps: tuple[CapForm, ...] = Field(description="At most one cap of each period; an empty list: none.")


class CapOut(CapForm, Answer):
    """A cap with what is left of it."""

    period: CapPeriod = Field(description="Per what: total, or a month or a day of UTC.")
    spent_usd: Usd = Field(
        description="What calls of the present period were charged, those from before the cap was set among them. A "
        "call in flight counts from its charge on, which is before its answer."
    )
    left_usd: Usd = Field(
        description="The amount less what is spent, never below 0. Calls in flight may hold some of it until they are "
        "charged what they cost."
    )
    resets_at: Instant | None = Field(description="When the next period begins, in UTC; null for a total cap.")


def cap_of(form: CapForm, scope: CapScope = CapScope.KEY) -> Cap:
    """The cap that a form says."""
    return Cap(form.amount_usd, form.period, scope)


def cap_out(use: CapUse) -> CapOut:
    """A cap as it is answered."""
    return CapOut(
        amount_usd=use.cap.amount,
        period=use.cap.period,
        spent_usd=use.spent,
        left_usd=use.left,
        resets_at=use.resets_at,
    )
