"""Installs a Chromium for the browser tests, or says how: `make browser`, and `make test` before it begins.

Debian's own package, by apt where this is root on Debian or Ubuntu; else it prints one line. It ends well either way:
without a browser the tests that need one are skipped with a sentence, and fail in CI. Standard library
only.
"""

from __future__ import annotations

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]


def main() -> None:
    """Install what is missing, where that is possible."""
    if any(shutil.which(name) for name in NAMES):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say(f"There is no Chromium for the browser tests: `sudo {' '.join(INSTALL)}`, or your system's package of it.")
        return
    say("Chromium is installed for the browser tests (120 MB) ...")
    # A system that has never read its lists of packages knows none.
    if not (run(INSTALL) or (run(["apt-get", "update"]) and run(INSTALL))):
        say(f"Chromium could not be installed: `{' '.join(INSTALL)}` says why.")


def run(command: list[str]) -> bool:
    """Whether a command does what it should, without asking anybody."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 0


def say(sentence: str) -> None:
    """Tell the terminal."""
    print(sentence, flush=True)


if __name__ == "__main__":
    main()
