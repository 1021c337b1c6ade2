"""What a customer's own program needs to call us."""

from pathlib import Path

import msgspec

DIMENSIONS = 8
NEWEST_NPM = "openai@7.57.0"


class Compat(msgspec.Struct, frozen=True):
    """What a customer's program needs, and where programs of other ecosystems are kept between runs."""

    base_url: str
    key: str
    model: str
    cache: Path
