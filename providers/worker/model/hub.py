"""Downloads from the model hub what serving needs, at one revision, and nothing that could run.

The address of the hub and a token, if any, are the hub library's own settings.
"""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import httpx
from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from providers.worker.errors import InsufficientResources, ModelMissing

# No code, no pickles, and no intermediate checkpoints: one repository keeps 80 GB of them.
ALLOWED = ("*.json", "*.txt", "*.safetensors", "LICENSE*", "NOTICE*", "README.md")
FOLDERS = ("", "1_Pooling", "2_Normalize")
_UNREACHABLE = (LocalEntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError, ConnectionError)


def download(model: str, revision: str | None, cache: Path | None) -> Path:
    """Download ``model`` at ``revision`` (without one, the default branch) into a folder named by its commit.

    Files that are on this machine already are not downloaded again, and without the hub those are used. Shows progress.
    Raises ModelMissing, InsufficientResources.
    """
    try:
        files = _files_to_download(model, revision, cache)
        if files is None:
            return _stored(model, revision, cache)
        return Path(snapshot_download(model, revision=revision, cache_dir=cache, allow_patterns=files))
    except RevisionNotFoundError:
        raise ModelMissing(f"The hub has {model}, but not its revision {revision}.") from None
    except (RepositoryNotFoundError, EntryNotFoundError):
        raise ModelMissing(f"The hub has no model {model}, or it is not open to this machine.") from None
    except _UNREACHABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelMissing(f"{model} is not on this machine and cannot be downloaded: {reason}") from None
    except OSError as error:
        raise InsufficientResources(f"{model} cannot be stored: {error.strerror or error}.") from None


def _files_to_download(model: str, revision: str | None, cache: Path | None) -> list[str] | None:
    """The files to download, if the disk has room; None where the hub cannot be reached.

    Raises InsufficientResources.
    """
    try:
        files = HfApi().model_info(model, revision=revision, files_metadata=True).siblings or []
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except _UNREACHABLE:
        return None
    sizes = {file.rfilename: file.size or 0 for file in files if is_allowed(file.rfilename)}
    folder = cache or Path(HF_HUB_CACHE)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free, needed = shutil.disk_usage(existing).free, sum(sizes.values())
    blobs = folder / f"models--{model.replace('/', '--')}" / "blobs"
    stored = sum(blob.stat().st_size for blob in blobs.glob("*")) if blobs.exists() else 0
    if needed - stored > free:
        gib = 1 << 30
        raise InsufficientResources(
            f"{model} needs {needed / gib:.1f} GiB and {existing} has {free / gib:.1f} GiB free."
        )
    return list(sizes)


def _stored(model: str, revision: str | None, cache: Path | None) -> Path:
    """The folder that an earlier start has downloaded. Raises ModelMissing."""
    config = try_to_load_from_cache(model, "config.json", cache_dir=cache, revision=revision)
    if not isinstance(config, str):
        raise ModelMissing(f"{model} is not on this machine and the hub cannot be reached.")
    return Path(config).parent


def is_allowed(file: str) -> bool:
    """Whether a file of the repository is downloaded."""
    folder, _, name = file.rpartition("/")
    return folder in FOLDERS and any(fnmatch(name, pattern) for pattern in ALLOWED)
