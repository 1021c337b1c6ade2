"""`make lock`: resolve every dependency again and write the lock files, each distribution with its hashes.

broker.txt   the broker alone, for an image           product.txt    the broker and the worker, but torch
dev.txt      tests and checks, on top of the product   torch-cpu.txt  torch's CPU builds for Linux
model.txt    the demo model                            torch.txt      torch as PyPI has it, and what that needs besides
build.txt    what builds the project

torch has files of its own because pip prefers a wheel whose hash the index tells over one in a folder: with both kinds
of hashes in one file, PyPI's CUDA build would win over a CPU build at hand.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
TORCH = "2.13.0"

# PyTorch publishes its CPU builds beside PyPI, so the resolver does not see them. Their hashes are listed by the index
# that README names; for a build that is missing here, PyPI's is taken.
TORCH_CPU_WHEELS = {
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
    ),
}

HEAD = "# Made by `make lock`; do not edit.\n"


def compiled(*arguments: str) -> str:
    """The output of the resolver, for every platform and Python from 3.11 on, naming no index and no folder."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def write(name: str, text: str) -> None:
    """One lock file."""
    (HERE / name).write_text(HEAD + text)
    sys.stdout.write(f"requirements/{name}: {len(blocks(text))} distributions\n")


def main() -> None:
    """All of them; those of the product come from one resolution, so that tests run on what the product runs on."""
    pinned, everything = HERE / "torch.tmp", HERE / "everything.tmp"
    pinned.write_text(f"torch=={TORCH}\n")
    everything.write_text(compiled("pyproject.toml", "--all-extras", f"-c={pinned}"))
    alike = f"-c={everything}"
    write("broker.txt", compiled("pyproject.toml", alike))
    write("product.txt", compiled("pyproject.toml", "--extra=worker", alike, "--no-emit-package=torch"))
    write("dev.txt", compiled("pyproject.toml", "--extra=dev", alike, "--no-emit-package=torch"))
    write("build.txt", compiled("requirements/build.in", alike))
    write("model.txt", compiled("requirements/model.in", "--no-deps"))
    cpu = "".join(f" \\\n    --hash=sha256:{sha}" for sha in TORCH_CPU_WHEELS.values())
    write("torch-cpu.txt", f"torch=={TORCH}+cpu{cpu}\n")
    write("torch.txt", beyond_product(compiled(str(pinned), alike, "--no-config")))
    pinned.unlink()
    everything.unlink()


def beyond_product(lock: str) -> str:
    """What the product's lock does not have: torch, and what it wants by its own metadata."""
    known = {block.split("==")[0] for block in blocks((HERE / "product.txt").read_text())}
    return "".join(block for block in blocks(lock) if block.split("==")[0] not in known)


def blocks(lock: str) -> list[str]:
    """A lock file cut into its distributions, each with its hashes."""
    found: list[str] = []
    for line in lock.splitlines(keepends=True):
        if line.startswith(" ") and found:
            found[-1] += line
        else:
            found.append(line)
    return found


if __name__ == "__main__":
    main()
