"""Declares what may be set on a provider and on an endpoint, now and later. Pure.

A field is declared here once: its column has its name, and the manifest derives its field from it
(:mod:`router.manifest.fields`).
"""

from typing import Final

import msgspec


class ProviderSpec(msgspec.Struct, frozen=True):
    """What may be set on a provider, now and later. ``options`` are the kind's own, nothing secret.

    ``regions``: where it may process a call; empty: not known. ``collects_data``: whether it may use inputs for more
    than the answer. ``retention_days``: how long it keeps them; None: not known.
    """

    base_url: str | None = None
    enabled: bool = True
    options: dict[str, object] = {}
    regions: tuple[str, ...] = ()
    collects_data: bool = True
    retention_days: int | None = None


class EndpointSpec(msgspec.Struct, frozen=True):
    """What may be set on an endpoint, now and later. ``cost_nano_per_mtok`` is what the provider charges us."""

    upstream_model: str
    cost_nano_per_mtok: int = 0
    priority: int = 100
    asks_base64: bool = True
    native_input_type: bool = False
    max_batch: int | None = None
    weight: int = 100
    numerics: str | None = None
    max_batch_tokens: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


# An edit of one of these may change who answers, so that the provider's endpoints have to be verified again.
VERIFIED_PROVIDER_FIELDS: Final = ("base_url", "options")
# An edit of one of these changes which vectors come back, so that they have to be verified again.
VERIFIED_FIELDS: Final = ("native_input_type", "numerics")
