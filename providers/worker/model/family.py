"""Pure. The F2LLM-v2 family: its shapes, as published, and what is known of each. :mod:`.roofline` computes with them.

Sources: table 1 of arXiv 2603.19223; the revisions are the ones that mteb's evaluation pins.
"""

import re

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """One size of the family. ``disputed``: sources of its license contradict each other; one forbids derivatives."""

    name: str
    hidden: int
    mlp: int
    layers: int
    heads: int
    parameters: int
    key_heads: int = 8
    head_width: int = 128
    disputed: bool = False

    @property
    def computed(self) -> int:
        """The parameters that each token is multiplied with: all but the embedding table."""
        attention = 2 * self.hidden * self.head_width * (self.heads + self.key_heads)
        norms = 2 * self.hidden + 2 * self.head_width
        return self.layers * (attention + 3 * self.hidden * self.mlp + norms) + self.hidden


SHAPES = (
    Shape("80M", 320, 2048, 8, 16, 80_084_288),
    Shape("160M", 640, 1536, 9, 16, 159_185_024),
    Shape("330M", 896, 2560, 16, 16, 334_349_184),
    Shape("0.6B", 1024, 3072, 28, 16, 596_049_920),
    Shape("1.7B", 2048, 6144, 28, 16, 1_720_574_976),
    Shape("4B", 2560, 9728, 36, 32, 4_022_468_096, disputed=True),
    Shape("8B", 4096, 12288, 36, 32, 7_568_405_504, disputed=True),
    Shape("14B", 5120, 17408, 40, 40, 13_990_394_880),
)


def shape_of(name: str) -> Shape | None:
    """The size that a model's name claims to be; None for a model of another family."""
    match = re.search(r"f2llm-v2-(\d+(?:\.\d+)?[mb])(?![a-z0-9])", name, re.IGNORECASE)
    size = match.group(1).upper() if match else None
    return next((shape for shape in SHAPES if shape.name == size), None)


def is_family(name: str) -> bool:
    """Whether the name is of this family, whatever the size."""
    return "f2llm-v2" in name.lower()
