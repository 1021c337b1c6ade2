"""Reads litellm's price map from its package, without importing it: each embedding model and what it costs there.

Numbers are taken as the text of the file: an amount never passes through a float.
"""

from decimal import ROUND_CEILING, Context, Decimal
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec

FILE = "model_prices_and_context_window_backup.json"
# Nano-USD per million tokens in a dollar per token.
_SCALE = 15
_EXACT = Context(prec=200)


class MapEntry(msgspec.Struct, frozen=True):
    """One embedding model of the map; amounts in USD per unit, None where the map has none.

    ``litellm_provider`` may have a suffix (``vertex_ai-embedding-models``), which :attr:`vendor` drops.
    """

    litellm_provider: str
    key: str = ""
    output_vector_size: Decimal | None = None
    max_input_tokens: Decimal | None = None
    max_tokens: Decimal | None = None
    input_cost_per_token: Decimal | None = None
    input_cost_per_character: Decimal | None = None
    input_cost_per_query: Decimal | None = None
    input_cost_per_image: Decimal | None = None
    input_cost_per_video_per_second: Decimal | None = None
    input_cost_per_audio_per_second: Decimal | None = None
    supports_embedding_image_input: bool = False
    supports_multimodal: bool = False
    deprecation_date: str | None = None
    source: str | None = None

    @property
    def vendor(self) -> str:
        """The provider's name in litellm's calls."""
        return self.litellm_provider.partition("-")[0]

    @property
    def dimensions(self) -> int | None:
        """The width of a vector; None where the map has none."""
        return _count(self.output_vector_size)

    @property
    def input_tokens(self) -> int | None:
        """The most tokens of one input; the map writes 0 where it does not know."""
        return _count(self.max_input_tokens) or _count(self.max_tokens)

    @property
    def other_units(self) -> tuple[str, ...]:
        """The units other than tokens by which the vendor charges."""
        units = ("query", "image", "video_per_second", "audio_per_second", "character")
        return tuple(unit.replace("_", " ") for unit in units if getattr(self, f"input_cost_per_{unit}"))


class PriceMap(msgspec.Struct, frozen=True):
    """The embedding models of the map, by key, and the release of litellm that has the map.

    ``others``: the keys of models that make something else than vectors.
    """

    release: str
    entries: tuple[MapEntry, ...]
    others: frozenset[str] = frozenset()


class _Mode(msgspec.Struct):
    mode: object = None

    @property
    def is_embedding(self) -> bool:
        return self.mode == "embedding"


def read() -> PriceMap:
    """Read the map of the installed litellm. Raises ``FileNotFoundError`` where litellm is not installed."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("litellm is not installed")
    text = (Path(spec.submodule_search_locations[0]) / FILE).read_bytes()
    return PriceMap(version("litellm"), parse(text), other_keys(text))


def parse(text: bytes) -> tuple[MapEntry, ...]:
    """Parse the map's text into its embedding models. Raises ``ValueError`` where it is no map."""
    entries = []
    for key, raw in sorted(msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items()):
        # The file's first entry is a description in words, and what else it holds is none of our business.
        if msgspec.json.decode(raw, type=_Mode).is_embedding:
            entries.append(msgspec.structs.replace(msgspec.json.decode(raw, type=MapEntry), key=key))
    return tuple(entries)


def other_keys(text: bytes) -> frozenset[str]:
    """The keys of the map's models that make something else than vectors. Raises ``ValueError`` where it is no map."""
    modes = msgspec.json.decode(text, type=dict[str, _Mode])
    return frozenset(key for key, entry in modes.items() if entry.mode is not None and not entry.is_embedding)


def nano_per_mtok(usd_per_token: Decimal) -> tuple[int, bool]:
    """Convert USD per token to nano-USD per million tokens, rounded up, and say whether that is exact.

    ``2e-08`` is 20,000,000: $0.02 per million tokens.
    """
    scaled = usd_per_token.scaleb(_SCALE, _EXACT)
    whole = scaled.to_integral_value(ROUND_CEILING)
    return int(whole), whole == scaled


def _count(number: Decimal | None) -> int | None:
    """A positive whole number; None for any other."""
    return int(number) if number is not None and number > 0 and number == number.to_integral_value() else None
