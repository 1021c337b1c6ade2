"""Identifies a worker: the hash of what makes its vector space, and of the build that computes in it.

Two workers with the same ``space`` give vectors that may be compared; ``build_id`` tells them apart further (dtype,
device, libraries), for caches and for golden vectors that must match more closely than a space promises.
"""

import hashlib
from importlib.metadata import version

import msgspec

from providers.worker.model.profile import Profile
from providers.worker.model.tokenizer import EndRule, TokenizerPool
from providers.worker.model.weights import Source

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


class Build(msgspec.Struct, frozen=True):
    """How the numbers are computed. ``derived`` names what was done to the published weights, None for nothing."""

    dtype: str
    device: str
    attention: str
    batch_invariant: bool
    derived: str | None = None
    waiver: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """What ``/info`` answers."""

    model: str
    revision: str | None
    space: str
    build_id: str
    weights_sha256: str
    tokenizer_sha256: str
    dimensions: int
    trained_dimensions: tuple[int, ...]
    max_tokens: int
    special_tokens: int
    vocabulary_size: int
    pooling: tuple[str, ...]
    normalized: bool
    end_token: EndRule
    prompts: dict[str, str]
    build: Build
    libraries: dict[str, str]
    warnings: tuple[str, ...]


class _SpaceMaterial(msgspec.Struct, frozen=True):
    """What makes vectors comparable. float32, bfloat16 and float16 are one format; a derived variant is another."""

    weights: str
    tokenizer: str
    pooling: tuple[str, ...]
    normalized: bool
    include_prompt: bool
    lowercase: bool
    end: int | None
    prompts: dict[str, str]
    format: str


class _BuildMaterial(msgspec.Struct, frozen=True):
    space: str
    build: Build
    libraries: dict[str, str]


def identify(
    source: Source, profile: Profile, tokenizers: TokenizerPool, weights_sha256: str, build: Build
) -> Identity:
    """Gather the facts and hash them."""
    tokenizer_sha256 = hashlib.sha256((source.folder / "tokenizer.json").read_bytes()).hexdigest()
    libraries = {library: version(library) for library in LIBRARIES}
    material = _SpaceMaterial(
        weights=weights_sha256,
        tokenizer=tokenizer_sha256,
        pooling=profile.pooling,
        normalized=profile.normalized,
        include_prompt=profile.include_prompt,
        lowercase=profile.lowercase,
        end=tokenizers.end.id,
        prompts=profile.prompts,
        format=build.derived or "float",
    )
    space = f"{profile.name.rpartition('/')[2].lower()}:{_short(material)}"
    return Identity(
        model=profile.name,
        revision=source.revision,
        space=space,
        build_id=_short(_BuildMaterial(space, build, libraries)),
        weights_sha256=weights_sha256,
        tokenizer_sha256=tokenizer_sha256,
        dimensions=profile.dimensions,
        trained_dimensions=profile.trained_dimensions,
        max_tokens=tokenizers.max_tokens,
        special_tokens=tokenizers.special_tokens,
        vocabulary_size=profile.vocabulary_size,
        pooling=profile.pooling,
        normalized=profile.normalized,
        end_token=tokenizers.end,
        prompts=profile.prompts,
        build=build,
        libraries=libraries,
        warnings=profile.warnings,
    )


def _short(material: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(material, order="sorted")).hexdigest()[:16]
