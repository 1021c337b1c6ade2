"""Where the time of a step goes: kernels, copies, and the host, by torch's profiler."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch.profiler import ProfilerActivity, profile

from bench.gpu.records import Values
from bench.gpu.session import Figures, Session
from providers.worker.model.tokenizer import Encoded

STEPS = 5
TOP = 6
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")


def timeline(session: Session) -> Figures:
    """A lone query, a few of them, many short texts, and a whole pack of middling ones."""
    shapes = [(16, 1), (16, 32), (16, max(1, session.budget // 16)), (256, max(1, session.budget // 256))]
    for length, rows in shapes:
        pack = session.random_rows(length, rows)
        yield f"{rows} of {length} tokens", _of_pack(session, pack)


def _of_pack(session: Session, pack: Sequence[Encoded]) -> Values:
    encoder = session.ready.encoder
    step_s = session.timed(lambda: encoder.embed(pack), session.amount.repeats)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if session.on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(STEPS):
            encoder.embed(pack)
        session.synchronize()
    rows = list(profiler.key_averages())
    on_device = [row for row in rows if row.device_type.name == "CUDA"]
    copies = [row for row in on_device if row.key.startswith(("Memcpy", "Memset"))]
    kernels = [row for row in on_device if not row.key.startswith(("Memcpy", "Memset"))]
    launches = sum(row.count for row in rows if row.key.startswith(LAUNCHES))
    kernels_ms, copies_ms = _device_ms(kernels), _device_ms(copies)
    step_ms = 1e3 * step_s
    slowest = sorted(kernels or rows, key=_self_us, reverse=True)[:TOP]
    return {
        # Timed without the profiler, which slows the host but not the kernels.
        "step_ms": step_ms,
        "kernels_ms": kernels_ms,
        "copies_ms": copies_ms,
        "host_ms": max(0.0, step_ms - kernels_ms - copies_ms),
        "launches": launches / STEPS,
        "slowest": "; ".join(f"{row.key[:60]} {_self_us(row) / 1e3 / STEPS:.3f} ms" for row in slowest),
    }


def _device_ms(rows: Iterable[Any]) -> float:
    """Per step."""
    return float(sum(row.self_device_time_total for row in rows)) / 1e3 / STEPS


def _self_us(row: Any) -> float:
    return float(row.self_device_time_total or row.self_cpu_time_total)
