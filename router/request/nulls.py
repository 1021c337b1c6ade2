"""Leaves out fields that nobody knows and whose value is null: clients send them for what was not set. Pure.

An unknown field is refused because whoever wrote it relies on a promise; null promises nothing.
"""

from collections.abc import Collection

import msgspec

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def without_unknown_nulls(body: bytes, known: Collection[str]) -> bytes:
    """The JSON object without the fields that are null and not ``known``.

    Its values stay as they are. Raises as the decoder does; a caller bounds the number of fields.
    """
    fields = _decode_fields(body)
    return msgspec.json.encode(
        {name: value for name, value in fields.items() if name in known or bytes(value) != b"null"}
    )
