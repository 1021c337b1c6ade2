"""Pure but for its own file. Builds the set of probe texts, which an endpoint embeds to show its vector space.

The texts are names, numbers and scripts that implementations get wrong in different ways: blanks at the ends, texts of
equal length, one text twice, texts one word apart, code, right-to-left, long ones. The set is named by its digest,
because vectors of another set say nothing about this one.
"""

import tomllib
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Literal

import msgspec

InputType = Literal["query", "document"]

# English has more than four bytes a token in every vocabulary in use: half of what a model takes, and never too much.
BYTES_PER_TOKEN_LEAST = 2
LONGEST_BYTES = 12_000
CANARIES = 4


class ProbeText(msgspec.Struct, frozen=True):
    """One text, and the input type that it is sent with; ``group`` names what it tests."""

    group: str
    text: str
    input_type: InputType | None = None

    @property
    def digest(self) -> str:
        """The name of what is embedded, whatever its set and group."""
        return sha256(msgspec.json.encode((self.text, self.input_type))).hexdigest()[:16]


class ProbeSet(msgspec.Struct, frozen=True):
    """The probe texts of one model, in the order of a reference's rows, and the digest that names them."""

    name: str
    probes: tuple[ProbeText, ...]

    @property
    def digests(self) -> list[str]:
        """The digest of each probe text, in order."""
        return [probe.digest for probe in self.probes]

    def of(self, input_type: InputType | None) -> list[int]:
        """The rows of the texts with an input type; None: those without one."""
        return [row for row, probe in enumerate(self.probes) if probe.input_type == input_type]

    def group(self, name: str) -> list[int]:
        """The rows of the texts of a group."""
        return [row for row, probe in enumerate(self.probes) if probe.group == name]

    def canaries(self, turn: int) -> list[int]:
        """A few rows, others each turn: some texts without an input type, one query."""
        plain, queries = self.of(None), self.of("query")
        stride = len(plain) // CANARIES
        chosen = [plain[(step * stride + turn) % len(plain)] for step in range(CANARIES)]
        return sorted({*chosen, queries[turn % len(queries)]})

    def sample(self) -> list[int]:
        """The rows that are also sent as single inputs: one of each group."""
        first: dict[str, int] = {}
        for row in self.of(None):
            first.setdefault(self.probes[row].group, row)
        return sorted(first.values())


class _Pair(msgspec.Struct, frozen=True):
    query: str
    document: str


class _Long(msgspec.Struct, frozen=True):
    paragraphs: list[str]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    groups: dict[str, list[str]]
    pairs: list[_Pair]
    long: _Long


@cache
def probe_set(max_input_tokens: int) -> ProbeSet:
    """The set for a model that takes so many tokens: the same texts, the long ones shortened to what it takes."""
    source = _read()
    probes = [ProbeText(group, text) for group, texts in source.groups.items() for text in texts]
    probes += [ProbeText("long", text) for text in _long_texts(source.long.paragraphs, max_input_tokens)]
    probes += [ProbeText("pair", pair.query, "query") for pair in source.pairs]
    probes += [ProbeText("pair", pair.document, "document") for pair in source.pairs]
    digest = sha256(msgspec.json.encode(probes)).hexdigest()[:16]
    return ProbeSet(f"probes-{digest}", tuple(probes))


def _long_texts(paragraphs: list[str], max_input_tokens: int) -> list[str]:
    """About three hundred words in three orders, and one text half as long as the model's limit."""
    most = max(64, min(LONGEST_BYTES, max_input_tokens * BYTES_PER_TOKEN_LEAST))
    rotated = [" ".join(paragraphs[turn:] + paragraphs[:turn]) for turn in range(len(paragraphs))]
    times = most // len(rotated[0]) + 1
    return [_shorten(text, most) for text in rotated[1:]] + [_shorten(" ".join([rotated[0]] * times), most)]


def _shorten(text: str, most: int) -> str:
    """Shorten a text at a blank; the texts are ASCII, so that characters are bytes."""
    return text if len(text) <= most else text[:most].rpartition(" ")[0]


def _read() -> _File:
    text = files("providers.probing").joinpath("probe_texts.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _File)
