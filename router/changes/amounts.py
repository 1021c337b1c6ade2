"""Writes amounts among a change's facts as the API writes all money: decimal text in USD, named ``…usd…``. Pure.

Commands hand over domain values, whose amounts are integers of nano-USD; audit rows of earlier releases have those.
The SQL function ``facts_in_usd`` (migration 0083) does the same for exports, which Postgres writes by itself.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from billing.money import NanoUSD, to_usd

# Rows of earlier releases have the caps of an account by the bare names of their periods.
_CAPS, _PERIODS = "caps.set", ("total", "month", "day")


def facts_in_usd(action: str, facts: Any) -> Any:  # noqa: ANN401 - JSON
    """The facts of a change before or after it, with amounts in USD."""
    if action == _CAPS and isinstance(facts, Mapping):
        facts = {f"{name}_nano" if name in _PERIODS else name: value for name, value in facts.items()}
    return in_usd(facts)


def in_usd(facts: Any) -> Any:  # noqa: ANN401 - JSON
    """JSON with each ``…nano…`` that is an integer as ``…usd…``, and each cap's amount; the same for what has none."""
    match facts:
        case {"amount": amount, "period": str()} if _is_amount(amount):
            others = {name: value for name, value in facts.items() if name != "amount"}
            return {"amount_usd": to_usd(NanoUSD(amount)), **in_usd(others)}
        case Mapping():
            return dict(_fact(str(name), value) for name, value in facts.items())
        case list() | tuple():
            return [in_usd(value) for value in facts]
        case _:
            return facts


def _fact(name: str, value: object) -> tuple[str, Any]:
    parts = name.split("_")
    if "nano" in parts and (value is None or _is_amount(value)):
        renamed = "_".join("usd" if part == "nano" else part for part in parts)
        return renamed, None if value is None else to_usd(NanoUSD(value))
    return name, in_usd(value)


def _is_amount(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
