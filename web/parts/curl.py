"""Writes an operation as `curl` calls it, for whoever would rather type it or put it into a script. Pure."""

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec


def curl(
    method: str, path: str, *, body: Mapping[str, Any] | None = None, if_match: str | None = None, writes: bool = True
) -> str:
    """The call, with the address and the operator's key from the environment. ``path`` has its values filled in."""
    parts = [f'curl -X {method} "$GIGAROUTER_ADMIN_URL{quote(path, safe="/:")}"']
    parts.append('-H "Authorization: Bearer $GIGAROUTER_OPERATOR_KEY"')
    if writes:
        parts.append('-H "Idempotency-Key: $(uuidgen)"')
    if if_match:
        parts.append(f"-H {shlex.quote(f'If-Match: {if_match}')}")
    if body is not None:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {shlex.quote(msgspec.json.encode(body).decode())}")
    return " \\\n  ".join(parts)
