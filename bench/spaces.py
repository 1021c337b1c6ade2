"""``python -m bench.spaces``: how far honest copies of a model are apart, and how close impostors come.

The thresholds of ``providers/probing/agreement.py`` stand between the two; ``docs/spaces.md`` has a run's table. A
space whose model is much deeper than those here deserves a run of its own: ``--model <folder>``.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.missing import modules_required

with modules_required():
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from providers.probing.agreement import Numerics, compare
    from providers.probing.probe_texts import ProbeSet, probe_set
    from providers.protocol import FloatMatrix
    from providers.worker.start import LoadedModel
    from tests.builders import tiny_model
    from tests.harness import wrong_models
    from tests.harness.wrong_models import MAX_TOKENS, Embed


class Figure(msgspec.Struct, frozen=True):
    """One way of serving a model against its reference."""

    model: str
    served: str
    worst: float
    middle: float
    norm: float
    overlap: float
    rank: float


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", action="append", help="a model's folder; by default a real one and random ones")
    given = options.parse_args().model
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = [Path(one) for one in given] if given else _models(Path(folder))
        for model in models:
            for figure in _figures(model, Path(folder) / f"variants-{model.name}"):
                numbers = f"{figure.worst:9.2e} {figure.middle:9.2e} {figure.norm:8.1e} {figure.overlap:6.3f}"
                sys.stdout.write(f"{figure.model:<16} {figure.served:<38} {numbers} {figure.rank:8.5f}\n")
                sys.stdout.flush()
    return 0


def _models(folder: Path) -> list[Path]:
    random = [tiny_model.build(folder / f"qwen3-{n}-layers", layers=n, max_tokens=MAX_TOKENS) for n in (2, 8, 28)]
    return [wrong_models.real_model(), *random]


def _figures(folder: Path, variants: Path) -> Iterator[Figure]:
    reference = _loaded(folder)
    probes = probe_set(min(512, reference.identity.max_tokens))
    expected = _answered(wrong_models.honest(reference), probes)
    for name, embed in _ways(folder, variants, reference):
        answered = _answered(embed, probes)
        got = compare(expected, answered, Numerics.INT8)
        yield Figure(
            folder.name if folder.name != "model" else "MiniLM-L6",
            name,
            1 - (got.cosine_min or 0.0),
            1 - (got.cosine_median or 0.0),
            got.norm_error or 0.0,
            got.overlap or 0.0,
            got.rank or 0.0,
        )


def _ways(folder: Path, variants: Path, ready: LoadedModel) -> Iterator[tuple[str, Embed]]:
    """Honest ones first."""
    honest = wrong_models.honest
    yield "float32, one by one", _one_by_one(honest(ready))
    for dtype in ("float32", "bfloat16", "float16"):
        yield f"{dtype}, padded (sentence-transformers)", _padded(folder, dtype)
    yield "float32, matrices in TF32", honest(_loaded(wrong_models.changed(folder, variants / "tf32", _in_tf32)))
    yield "bfloat16, packed (worker)", honest(_loaded(folder, "bfloat16"))
    for name, change in (("int8", wrong_models.in_int8), ("fp8", wrong_models.in_fp8), ("int4", wrong_models.in_int4)):
        copy = wrong_models.changed(folder, variants / name, change)
        yield f"{name} weights", honest(_loaded(copy))
        yield f"{name} weights, bfloat16", honest(_loaded(copy, "bfloat16"))
    yield (
        "weights 5 % off",
        honest(_loaded(wrong_models.changed(folder, variants / "retrained", wrong_models.retrained))),
    )
    causal = ready.identity.pooling == ("lasttoken",)
    for mode in ("mean_tokens", "cls_token", "max_tokens"):
        if mode.split("_", maxsplit=1)[0] not in ready.identity.pooling:
            yield f"pooling {mode}", honest(_loaded(wrong_models.pooling_as(folder, variants / mode, mode)))
    yield "last token missing", honest(ready, rows=wrong_models.without_end)
    yield "no mask in a batch", honest(ready, rows=wrong_models.without_mask(0, left=causal))
    yield "not normalized", honest(ready, normalized=False)
    yield "prompt 'query: '", wrong_models.prompted(honest(ready), "query: ")
    yield "a blank before each text", wrong_models.prompted(honest(ready), " ")
    yield "dimensions permuted", wrong_models.permuted(honest(ready))
    yield "filled up with zeros", wrong_models.filled_up(honest(ready))
    yield "two rows swapped", wrong_models.swapped(honest(ready))


def _loaded(folder: Path, dtype: str = "float32") -> LoadedModel:
    return wrong_models.loaded(folder, dtype)


def _padded(folder: Path, dtype: str) -> Embed:
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})

    def embed(texts: list[str]) -> FloatMatrix:
        return np.asarray(model.encode(texts, convert_to_numpy=True), dtype=np.float32)

    return embed


def _one_by_one(embed: Embed) -> Embed:
    return lambda texts: np.concatenate([embed([text]) for text in texts])


def _answered(embed: Embed, probes: ProbeSet) -> FloatMatrix:
    return embed([probe.text for probe in probes.probes])


def _in_tf32(weight: torch.Tensor) -> torch.Tensor:
    """Ten bits after the point, as tensor cores take them."""
    return (weight.view(torch.int32) + 0x1000).bitwise_and(~0x1FFF).view(torch.float32)


if __name__ == "__main__":
    raise SystemExit(main())
