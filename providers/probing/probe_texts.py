"""The probe set: what an endpoint is asked to embed to show which vector space it serves. Pure, but for its own file.

Names, numbers and scripts that implementations get wrong in different ways: blanks at the ends, texts of equal length,
one text twice, texts one word apart, code, right-to-left, long ones. The set is named by its digest, because vectors of
another set say nothing about this one.
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


class Probe(msgspec.Struct, frozen=True):
    """One text, and the input type that it is sent with; ``group`` says what it tries."""

    group: str
    text: str
    input_type: InputType | None = None

    @property
    def digest(self) -> str:
        """Names what is embedded, in whatever set and group it stands."""
        return sha256(msgspec.json.encode((self.text, self.input_type))).hexdigest()[:16]


class ProbeSet(msgspec.Struct, frozen=True):
    """The probes of one model, in the order of a reference's rows, and the digest that names them."""

    name: str
    probes: tuple[Probe, ...]

    @property
    def digests(self) -> list[str]:
        """Of each probe, in order."""
        return [probe.digest for probe in self.probes]

    def of(self, input_type: InputType | None) -> list[int]:
        """Where the probes of an input type stand; None: those without."""
        return [row for row, probe in enumerate(self.probes) if probe.input_type == input_type]

    def group(self, name: str) -> list[int]:
        """Where the probes of a group stand."""
        return [row for row, probe in enumerate(self.probes) if probe.group == name]

    def canaries(self, turn: int) -> list[int]:
        """A few rows, others each turn: some texts without an input type, one query."""
        plain, queries = self.of(None), self.of("query")
        stride = len(plain) // CANARIES
        chosen = [plain[(step * stride + turn) % len(plain)] for step in range(CANARIES)]
        return sorted({*chosen, queries[turn % len(queries)]})

    def sample(self) -> list[int]:
        """The rows that are also sent alone: one of each group."""
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
    """The set for a model that takes so many tokens: the same texts, the long ones cut to what it surely takes."""
    source = _read()
    probes = [Probe(group, text) for group, texts in source.groups.items() for text in texts]
    probes += [Probe("long", text) for text in _long_texts(source.long.paragraphs, max_input_tokens)]
    probes += [Probe("pair", pair.query, "query") for pair in source.pairs]
    probes += [Probe("pair", pair.document, "document") for pair in source.pairs]
    digest = sha256(msgspec.json.encode(probes)).hexdigest()[:16]
    return ProbeSet(f"probes-{digest}", tuple(probes))


def _long_texts(paragraphs: list[str], max_input_tokens: int) -> list[str]:
    """About three hundred words in three orders, and one text half as long as the model's limit."""
    most = max(64, min(LONGEST_BYTES, max_input_tokens * BYTES_PER_TOKEN_LEAST))
    whole = [" ".join(paragraphs[turn:] + paragraphs[:turn]) for turn in range(len(paragraphs))]
    times = most // len(whole[0]) + 1
    return [_cut(text, most) for text in whole[1:]] + [_cut(" ".join([whole[0]] * times), most)]


def _cut(text: str, most: int) -> str:
    """At a blank; the texts are ASCII, so that characters are bytes."""
    return text if len(text) <= most else text[:most].rpartition(" ")[0]


def _read() -> _File:
    text = files("providers.probing").joinpath("probe_texts.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _File)
