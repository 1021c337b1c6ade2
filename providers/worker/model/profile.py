"""Reads how a model folder wants to be used: pooling, normalization, prompts, longest input. Reads no weights.

The files are those of sentence-transformers: ``modules.json``, ``1_Pooling/config.json``,
``sentence_bert_config.json``, ``config_sentence_transformers.json``. A folder without them is a bare transformers
model: mean pooling for encoders, last token for decoders, normalized.
"""

from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from providers.worker.errors import ModelBroken
from providers.worker.model.family import is_family

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]

# In the order in which sentence-transformers concatenates them.
_FLAGS: tuple[tuple[str, Pooling], ...] = (
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
)
_MODULES = {"Transformer", "Pooling", "Normalize"}
_T = TypeVar("_T")


class Profile(msgspec.Struct, frozen=True):
    """How vectors are made of hidden states.

    ``pooling`` has several entries where a model concatenates them. ``trained_dimensions`` are the Matryoshka points it
    was trained for, empty where the model cannot be shortened. ``prompts`` maps a name (``query``, ``document``, …) to
    the text put before an input.
    """

    name: str
    pooling: tuple[Pooling, ...]
    normalized: bool
    include_prompt: bool
    prompts: dict[str, str]
    max_tokens: int | None
    lowercase: bool
    hidden_size: int
    vocabulary_size: int
    positions: int | None
    layers: int
    model_type: str
    trained_dimensions: tuple[int, ...]
    adds_end_token: bool
    warnings: tuple[str, ...] = ()

    @property
    def dimensions(self) -> int:
        """The native width of a vector."""
        return self.hidden_size * len(self.pooling)


class _Module(msgspec.Struct):
    path: str
    type: str


class _Config(msgspec.Struct):
    hidden_size: int
    vocab_size: int
    model_type: str
    num_hidden_layers: int
    max_position_embeddings: int | None = None
    architectures: list[str] = []
    quantization_config: dict[str, object] | None = None


class _SentenceConfig(msgspec.Struct):
    prompts: dict[str, str | None] = {}
    matryoshka_dims: list[int] = []


class _TransformerConfig(msgspec.Struct):
    max_seq_length: int | None = None
    do_lower_case: bool = False


class _TokenizerConfig(msgspec.Struct):
    add_eos_token: bool = False


def read_profile(folder: Path, name: str) -> Profile:
    """Read the folder's files. Raises ModelBroken with the file that is missing or wrong."""
    config = _read(folder, "config.json", _Config)
    sentence = _read(folder, "config_sentence_transformers.json", _SentenceConfig, optional=True)
    modules = _modules(folder)
    pooling, include_prompt, warnings = _pooling(folder, modules, config)
    transformer = _read(
        folder, _path(modules, "Transformer") + "sentence_bert_config.json", _TransformerConfig, optional=True
    )
    return Profile(
        name=name,
        pooling=pooling,
        normalized=not modules or any(_kind(module) == "Normalize" for module in modules),
        include_prompt=include_prompt,
        prompts={key: text or "" for key, text in sentence.prompts.items()},
        max_tokens=transformer.max_seq_length,
        lowercase=transformer.do_lower_case,
        hidden_size=config.hidden_size,
        vocabulary_size=config.vocab_size,
        positions=config.max_position_embeddings,
        layers=config.num_hidden_layers,
        model_type=config.model_type,
        trained_dimensions=_trained(name, sentence, config.hidden_size),
        adds_end_token=_read(folder, "tokenizer_config.json", _TokenizerConfig, optional=True).add_eos_token,
        warnings=warnings,
    )


def is_quantized(folder: Path) -> bool:
    """Whether ``config.json`` declares quantized weights."""
    return _read(folder, "config.json", _Config).quantization_config is not None


def _modules(folder: Path) -> list[_Module]:
    if not (folder / "modules.json").exists():
        return []
    modules = _read(folder, "modules.json", list[_Module])
    unknown = sorted({_kind(module) for module in modules} - _MODULES)
    if unknown:
        raise ModelBroken(f"{folder / 'modules.json'} asks for {', '.join(unknown)}, which this worker does not have.")
    if _kind(modules[0]) != "Transformer" or modules[0].path not in ("", "."):
        raise ModelBroken(f"{folder / 'modules.json'} does not start with a Transformer in the folder itself.")
    return modules


def _pooling(
    folder: Path, modules: list[_Module], config: _Config
) -> tuple[tuple[Pooling, ...], bool, tuple[str, ...]]:
    """The modes, whether the prompt is pooled too, and warnings."""
    path = _path(modules, "Pooling")
    if not path:
        causal = any(name.endswith("ForCausalLM") for name in config.architectures) or config.model_type.startswith(
            "qwen"
        )
        return (("lasttoken",) if causal else ("mean",)), True, ()
    raw = _read(folder, path + "config.json", dict[str, object])
    declared = raw.get("pooling_mode")
    names = [declared] if isinstance(declared, str) else list(declared) if isinstance(declared, list) else []
    if not names:
        names = [mode for flag, mode in _FLAGS if raw.get(flag)] or ["mean"]
    modes: dict[object, Pooling] = {mode: mode for _, mode in _FLAGS}
    if any(name not in modes for name in names):
        raise ModelBroken(f"{folder / path}config.json asks for a pooling that this worker does not have: {names}.")
    width = raw.get("embedding_dimension", raw.get("word_embedding_dimension"))
    warnings: tuple[str, ...] = ()
    if width != config.hidden_size:
        # F2LLM-v2-4B-Preview declares 1024 there and is 2560 wide: the weights are right.
        warnings = (
            f"{path}config.json declares width {width}, the model is {config.hidden_size} wide; the model is right.",
        )
    return tuple(modes[name] for name in names), raw.get("include_prompt") is not False, warnings


def _trained(name: str, sentence: _SentenceConfig, hidden_size: int) -> tuple[int, ...]:
    """The Matryoshka points: declared ones, or F2LLM-v2's (powers of two from 8 below the width, and the width)."""
    if sentence.matryoshka_dims:
        return tuple(sorted(sentence.matryoshka_dims))
    if is_family(name):
        return (*(1 << power for power in range(3, 16) if 1 << power < hidden_size), hidden_size)
    return ()


def _kind(module: _Module) -> str:
    return module.type.rpartition(".")[2]


def _path(modules: list[_Module], kind: str) -> str:
    """The folder of the first module of that kind, with its slash; empty where there is none."""
    return next((f"{module.path}/" for module in modules if _kind(module) == kind and module.path), "")


def _read(folder: Path, file: str, shape: type[_T], *, optional: bool = False) -> _T:
    path = folder / file
    if optional and not path.exists():
        return shape()
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape, strict=False)
    except FileNotFoundError:
        raise ModelBroken(f"{path} is missing.") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}.") from None
