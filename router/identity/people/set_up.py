"""What is set up of signing in: the credit of a first account, and other services that say who somebody is.

Apart from the clients of these services, since every process reads settings and few sign anybody in: they and what
checks passkeys were a tenth of the start of each.
"""

from datetime import timedelta
from typing import Final

import msgspec

from billing.money import NanoUSD

GITHUB: Final = "https://github.com"


class FreeCredit(msgspec.Struct, frozen=True):
    """What somebody gets with their first account; an amount of 0: nothing."""

    amount: NanoUSD = NanoUSD(0)
    lasts: timedelta = timedelta(days=90)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is set up. ``issuer`` is its address; GitHub's API has one of its own, ``api_url``."""

    slug: str
    label: str
    issuer: str
    client_id: str
    client_secret: str
    api_url: str = ""
