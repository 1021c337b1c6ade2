"""The device: what it is, and how fast it multiplies in this run, which is what utilization is measured against."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from bench.gpu.records import Values
from bench.gpu.session import Figures, Session
from providers.worker.model import varlen

LIBRARIES = ("torch", "transformers", "sentence-transformers", "tokenizers", "safetensors", "numpy", "triton")


def card(session: Session) -> Figures:
    """Name, memory, versions, what the attention kernel takes, and the peak."""
    yield "device", _device(session)
    versions: Values = {name: _version(name) for name in LIBRARIES}
    yield "versions", versions | {"python": platform.python_version()}
    yield "kernel", {"takes": ", ".join(sorted(varlen.parameters_of(varlen.installed_kernel())))}
    yield "peak", peak(session)


def peak(session: Session) -> Values:
    """A square product in bfloat16 of random numbers: the best and the middle of ten, after three that warm up."""
    side = session.amount.peak
    left = torch.randn(side, side, device=session.device, dtype=torch.bfloat16)
    right = torch.randn(side, side, device=session.device, dtype=torch.bfloat16)
    for _ in range(3):
        torch.mm(left, right)
    taken = [session.timed(lambda: torch.mm(left, right), 1) for _ in range(10)]
    rate = 2 * side**3 / 1e12
    return {"side": side, "tflops": rate / sorted(taken)[len(taken) // 2], "tflops_best": rate / min(taken)}


def _device(session: Session) -> Values:
    if not session.on_gpu:
        return {"device": session.device, "card": "none: a CPU", "threads": torch.get_num_threads()}
    about = torch.cuda.get_device_properties(session.device)
    return {
        "device": session.device,
        "card": about.name,
        "memory_gib": round(about.total_memory / (1 << 30), 1),
        "multiprocessors": about.multi_processor_count,
        "capability": f"{about.major}.{about.minor}",
        "cuda": str(torch.version.cuda),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
