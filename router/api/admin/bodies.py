"""The form of a body that several nouns have: none at all."""

import msgspec


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or an empty object."""
