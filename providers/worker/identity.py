"""Who this worker is: the material of its vector space, and of the build that computes in it.

Two workers with the same ``space`` give vectors that may be compared; ``build`` tells them apart further (dtype,
device, libraries), for caches and for golden vectors that must match more closely than a space promises.
"""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec

from providers.worker.profile import Profile
from providers.worker.tokens import EndRule

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


class Identity(msgspec.Struct, frozen=True):
    """What ``/info`` answers."""

    model: str
    revision: str | None
    space: str
    build: str
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
    dtype: str
    format: str
    device: str
    attention: str
    libraries: dict[str, str]
    warnings: tuple[str, ...]
    batch_invariant: bool


class _SpaceMaterial(msgspec.Struct, frozen=True):
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
    dtype: str
    device: str
    attention: str
    libraries: dict[str, str]


def identify(
    *,
    name: str,
    revision: str | None,
    folder: Path,
    weights_sha256: str,
    profile: Profile,
    end: EndRule,
    max_tokens: int,
    special_tokens: int,
    dtype: str,
    number_format: str,
    device: str,
    attention: str,
    batch_invariant: bool,
) -> Identity:
    """Put the facts together and hash them. float32, bfloat16 and float16 are one format, quantized another."""
    tokenizer = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    libraries = {library: version(library) for library in LIBRARIES}
    space = (
        name.rpartition("/")[2].lower()
        + ":"
        + _short(
            _SpaceMaterial(
                weights=weights_sha256,
                tokenizer=tokenizer,
                pooling=profile.pooling,
                normalized=profile.normalized,
                include_prompt=profile.include_prompt,
                lowercase=profile.lowercase,
                end=end.id,
                prompts=profile.prompts,
                format=number_format,
            )
        )
    )
    device_name = f"{device} ({platform.machine()})"
    return Identity(
        model=name,
        revision=revision,
        space=space,
        build=_short(_BuildMaterial(space, dtype, device_name, attention, libraries)),
        weights_sha256=weights_sha256,
        tokenizer_sha256=tokenizer,
        dimensions=profile.dimensions,
        trained_dimensions=profile.trained_dimensions,
        max_tokens=max_tokens,
        special_tokens=special_tokens,
        vocabulary_size=profile.vocabulary_size,
        pooling=profile.pooling,
        normalized=profile.normalized,
        end_token=end,
        prompts=profile.prompts,
        dtype=dtype,
        format=number_format,
        device=device_name,
        attention=attention,
        libraries=libraries,
        warnings=profile.warnings,
        batch_invariant=batch_invariant,
    )


def _short(material: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(material, order="sorted")).hexdigest()[:16]
