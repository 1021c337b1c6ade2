"""The one door to the model hub: download what serving needs, at one revision, and nothing that could run.

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

from providers.worker.errors import ModelMissing, NoRoom

# No code, no pickles, and no intermediate checkpoints: one repository keeps 80 GB of them.
ALLOWED = ("*.json", "*.txt", "*.safetensors", "LICENSE*", "NOTICE*", "README.md")
FOLDERS = ("", "1_Pooling", "2_Normalize")
_UNREACHABLE = (LocalEntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError, ConnectionError)


def download(model: str, revision: str | None, cache: Path | None) -> Path:
    """The folder of ``model`` at ``revision`` (the default branch without one), named by its commit.

    Files that are here already are not asked for again, and without the hub what is here is used. Shows progress.
    Raises ModelMissing, NoRoom.
    """
    try:
        wanted = _wanted(model, revision, cache)
        if wanted is None:
            return _stored(model, revision, cache)
        return Path(snapshot_download(model, revision=revision, cache_dir=cache, allow_patterns=wanted))
    except RevisionNotFoundError:
        raise ModelMissing(f"The hub has {model}, but not its revision {revision}.") from None
    except (RepositoryNotFoundError, EntryNotFoundError):
        raise ModelMissing(f"The hub has no model {model}, or it is not open to this machine.") from None
    except _UNREACHABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelMissing(f"{model} is not on this machine and cannot be downloaded: {reason}") from None
    except OSError as error:
        raise NoRoom(f"{model} cannot be stored: {error.strerror or error}.") from None


def _wanted(model: str, revision: str | None, cache: Path | None) -> list[str] | None:
    """The files to download, after a look at the disk; None where the hub cannot be asked. Raises NoRoom."""
    try:
        files = HfApi().model_info(model, revision=revision, files_metadata=True).siblings or []
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except _UNREACHABLE:
        return None
    wanted = {file.rfilename: file.size or 0 for file in files if is_allowed(file.rfilename)}
    place = cache or Path(HF_HUB_CACHE)
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free, needed = shutil.disk_usage(existing).free, sum(wanted.values())
    stored = place / f"models--{model.replace('/', '--')}" / "blobs"
    here = sum(blob.stat().st_size for blob in stored.glob("*")) if stored.exists() else 0
    if needed - here > free:
        gib = 1 << 30
        raise NoRoom(f"{model} needs {needed / gib:.1f} GiB and {existing} has {free / gib:.1f} GiB free.")
    return list(wanted)


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
