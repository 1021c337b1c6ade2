"""Pure. Defines the options of a provider of kind ``sandbox``."""

from typing import Annotated

import msgspec


class SandboxOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What its vectors look like."""

    dimensions: Annotated[
        int, msgspec.Meta(ge=1, le=65536, description="The width of a vector where the request asks for none.")
    ] = 1024
