"""Brings a model into memory: finds its folder or downloads it, verifies the files, loads them.

Only safetensors are read, never a pickle and never code from the model's repository. Every way to fail is one sentence
and an exit code, before the port opens.
"""

import hashlib
import logging
from pathlib import Path

import msgspec
import psutil
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from providers.worker.errors import InsufficientResources, ModelBroken, ModelMissing
from providers.worker.model.hub import download

logger = logging.getLogger("gigarouter.worker")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Source(msgspec.Struct, frozen=True):
    """Where the files are. ``revision`` is the commit that the hub gave, None for a folder without one."""

    name: str
    folder: Path
    revision: str | None


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def locate(model: str, revision: str | None, cache: Path | None = None) -> Source:
    """The folder of a model: the folder itself, or a hub id downloaded at ``revision``.

    Raises ModelMissing, InsufficientResources.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return Source(name=folder.resolve().name, folder=folder.resolve(), revision=revision)
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelMissing(f"{model} is neither a folder nor a hub id of the form organization/name.")
    folder = download(model, revision, cache)
    return Source(name=model, folder=folder, revision=folder.name)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that make up the weights. Raises ModelBroken where one is missing or truncated."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values()))
        except msgspec.MsgspecError:
            raise ModelBroken(f"{index} is not an index of weights.") from None
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    for file in files:
        if not file.exists():
            pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
            hint = "; pickled weights are there, and this worker never loads those" if pickles else ""
            raise ModelBroken(f"{file} is missing{hint}.")
        try:
            with safe_open(str(file), framework="pt") as tensors:
                tensors.keys()
        except (SafetensorError, OSError) as error:
            raise ModelBroken(f"{file} is damaged: {error}. Download it again.") from None
    return files


def digest(files: list[Path]) -> str:
    """The fingerprint of the weights: SHA-256 over the files' own SHA-256, in order of name. Raises ModelBroken."""
    combined = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as content:
            own = hashlib.file_digest(content, "sha256")
        blob = file.resolve().name if file.is_symlink() else ""
        # The hub's cache names a large file by the SHA-256 that the hub promised.
        if len(blob) == 64 and blob != own.hexdigest():
            raise ModelBroken(f"{file} is not what the hub promised. Delete {file.resolve()} and start again.")
        combined.update(own.digest())
    return combined.hexdigest()


def load(folder: Path, files: list[Path], *, dtype: str, device: str, attention: str) -> PreTrainedModel:
    """Load the model onto its device, ready to embed. Raises ModelBroken, InsufficientResources."""
    _check_capacity(files, dtype, device)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, report = AutoModel.from_pretrained(
            str(folder),
            dtype=DTYPES[dtype],
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelBroken(f"{folder} cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelBroken(f"{folder} lacks {len(missing)} of the model's tensors, the first is {missing[0]}.")
    try:
        ready: PreTrainedModel = model.eval().requires_grad_(False).to(device)
    except torch.OutOfMemoryError:
        raise InsufficientResources(f"{device} has too little memory for these weights in {dtype}.") from None
    return ready


def _check_capacity(files: list[Path], dtype: str, device: str) -> None:
    """Compare what the weights need with the free memory, before a machine swaps or the kernel kills us."""
    values = 0
    for file in files:
        with safe_open(str(file), framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - it is not a mapping
                size = 1
                for length in tensors.get_slice(key).get_shape():
                    size *= length
                values += size
    needed = values * DTYPES[dtype].itemsize
    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else psutil.virtual_memory().available
    if needed > 0.95 * free:
        gib = 1 << 30
        raise InsufficientResources(
            f"The weights need {needed / gib:.1f} GiB in {dtype} and {device} has {free / gib:.1f} GiB free."
        )
