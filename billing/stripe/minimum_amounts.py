"""Pure. The least that Stripe takes in one payment, by currency, in the currency's smallest unit.

From https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, as of November 2026. Documents are in USD;
the other currencies are here for whoever adds one.
"""

from billing.money import NanoUSD, to_usd
from billing.stripe.values import CURRENCY, nano_of

MINIMUMS: dict[str, int] = {
    "usd": 50,
    "aed": 200,
    "aud": 50,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "inr": 50,
    "jpy": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
}


def minimum_fault(amount: NanoUSD) -> str:
    """Why an amount is collected by nobody; nothing where it is enough."""
    least = nano_of(MINIMUMS[CURRENCY])
    return f"{to_usd(amount)} USD are less than Stripe collects, {to_usd(least)}" if 0 < amount < least else ""
