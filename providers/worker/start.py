"""Prepares a model to embed: locates, verifies, loads and identifies it. Each way to fail is one StartRefused."""

import logging
import platform
import time

import msgspec
import torch

from providers.worker.engine.device_step import DeviceSteps
from providers.worker.engine.engine import Engine
from providers.worker.engine.health import Metrics, Watchdog
from providers.worker.engine.model_thread import ModelThread
from providers.worker.engine.scheduler import Scheduler
from providers.worker.engine.warmup import WarmupResult, warm_up
from providers.worker.errors import InsufficientResources, StartRefused
from providers.worker.model import weights
from providers.worker.model.attention import PackedAttention
from providers.worker.model.derived import check_derived, derivation_of, licenses_of
from providers.worker.model.encoder import Encoder
from providers.worker.model.identity import Build, Identity, identify
from providers.worker.model.profile import read_profile
from providers.worker.model.tokenizer import TokenizerPool
from providers.worker.options import Options

logger = logging.getLogger("gigarouter.worker")

# One thread keeps up with a CPU model; two keep an H100 fed (a tokenizer does about a million tokens per second).
TOKENIZER_THREADS = 2


class LoadedModel(msgspec.Struct, frozen=True):
    """A loaded model with everything that serving needs."""

    encoder: Encoder
    tokenizers: TokenizerPool
    identity: Identity
    warmup: WarmupResult
    thread: ModelThread | None = None


def load(options: Options) -> LoadedModel:
    """Load the model that ``options`` name, on the thread that will run it. Raises StartRefused."""
    thread = ModelThread()
    try:
        return msgspec.structs.replace(thread.submit(lambda: prepare(options)).result(), thread=thread)
    except StartRefused:
        thread.end()
        raise


def prepare(options: Options) -> LoadedModel:
    """Load it on the caller's thread."""
    began = time.monotonic()
    device = _device(options.device)
    dtype = _dtype(options.dtype, device)
    if options.threads:
        torch.set_num_threads(options.threads)
    source = weights.locate(options.model, options.revision, options.cache)
    profile = read_profile(source.folder, options.name or source.name)
    derivation = derivation_of(source.folder, profile)
    check_derived(profile.name, derivation, licenses_of(source.folder, options.license), options.waiver)
    for warning in profile.warnings:
        logger.warning("%s", warning)
    tokenizers = TokenizerPool(
        source.folder,
        profile,
        max_tokens=options.max_tokens,
        copies=TOKENIZER_THREADS,
        split_special=options.split_special_tokens,
    )
    files = weights.weight_files(source.folder)
    sha256 = weights.digest(files)
    attention = PackedAttention()
    model = weights.load(source.folder, files, dtype=dtype, device=device, attention=attention.name)
    encoder = Encoder(model, attention, profile, filler=tokenizers.end.id or 0)
    warmup = warm_up(encoder, tokenizers, device)
    build = Build(
        dtype=dtype,
        device=f"{device} ({platform.machine()})",
        attention=_attention_name(encoder),
        batch_invariant=warmup.batch_invariant,
        derived=derivation,
        waiver=options.waiver if derivation else None,
    )
    identity = identify(source, profile, tokenizers, sha256, build)
    logger.info(
        "loaded %s (%s, %s, %s) in %.1f s", profile.name, device, dtype, identity.space, time.monotonic() - began
    )
    return LoadedModel(encoder=encoder, tokenizers=tokenizers, identity=identity, warmup=warmup)


def _attention_name(encoder: Encoder) -> str:
    """How attention is computed, on which the last bits depend."""
    return ("packed" if encoder.packs else "alone") + (", prepacked weights" if encoder.prepacked else "")


def build_engine(model: LoadedModel) -> tuple[Engine, Watchdog]:
    """The engine of a loaded model, not started. Call it in a running event loop."""
    metrics = Metrics()
    watchdog = Watchdog(time.monotonic)
    engine = Engine(
        steps=DeviceSteps(model.encoder, watchdog=watchdog, metrics=metrics),
        tokenizers=model.tokenizers,
        identity=model.identity,
        scheduler=Scheduler(model.warmup.limits, model.warmup.tokens_per_s),
        metrics=metrics,
        thread=model.thread,
    )
    return engine, watchdog


def _device(name: str) -> str:
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InsufficientResources(f"There is no device {name}: {str(error).splitlines()[0]}.") from None
    return name


def cpu_computes_in_float16() -> bool:
    """Whether the CPU has the instructions; without them torch's kernels refuse, or take many times as long."""
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None)
    return is_supported is None or bool(is_supported())


def _dtype(name: str, device: str) -> str:
    """bfloat16 where the GPU computes in it, else float32. float16 overflows in some models, so it is never chosen."""
    if name == "float16" and device.startswith("cpu") and not cpu_computes_in_float16():
        raise StartRefused("This CPU does not compute in float16: use --dtype bfloat16 or float32.")
    if name != "auto":
        return name
    capable = device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if capable else "float32"
