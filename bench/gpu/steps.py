"""The steps by name."""

from collections.abc import Callable

from bench.gpu.attention import attention
from bench.gpu.card import card
from bench.gpu.correctness import correctness, float32
from bench.gpu.faults import device_assert, terminate
from bench.gpu.formats import formats
from bench.gpu.graphs import compile_model, graphs
from bench.gpu.load import http_load, load
from bench.gpu.memory import memory
from bench.gpu.session import Figures, Session
from bench.gpu.speed import against, speed
from bench.gpu.timeline import timeline


def build(session: Session) -> Figures:
    """Make the folder, then load it the worker's own way, which warms up and measures."""
    folder = session.folder
    yield "folder", {"bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors"))}
    warm = session.ready.warmup
    yield (
        "warm",
        {
            "tokens_per_s": warm.tokens_per_s,
            "invariant": warm.batch_invariant,
            "pack_tokens": warm.limits.pack_tokens,
            "interactive_tokens": warm.limits.interactive_tokens,
            "packs": session.ready.encoder.packs,
            "attention": session.ready.identity.build.attention,
        },
    )


STEPS: dict[str, Callable[[Session], Figures]] = {
    "card": card,
    "build": build,
    "correctness": correctness,
    "float32": float32,
    "attention": attention,
    "speed": speed,
    "against": against,
    "timeline": timeline,
    "graphs": graphs,
    "compile": compile_model,
    "formats": formats,
    "load": load,
    "memory": memory,
    "assert": device_assert,
    "terminate": terminate,
    "http": http_load,
}
