"""OpenAI's own SDKs work unchanged: the release we install, the newest one, and the npm package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from environment.install import as_uv_variables
from tests.harness.customer_program import DIMENSIONS, NEWEST_NPM, Compat
from tests.harness.fake_upstream import tokens_of, unit_vector

HERE = Path(__file__).parent
# litellm keeps our own environment on an older major release: the newest gets a folder of its own.
NEWEST = HERE / "newest-openai.txt"


def test_the_installed_python_sdk_works(compat: Compat) -> None:
    _check(_python(compat, None))


def test_the_newest_python_sdk_works(compat: Compat) -> None:
    version = re.findall(r"^openai==(\S+)", NEWEST.read_text(), re.MULTILINE)[0]
    folder = compat.cache / f"openai-{version}"
    if not folder.exists():
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--no-deps", "--require-hashes"]
        _install([*uv, "--target", f"{folder}.new", "-r", str(NEWEST)], uv_settings())
        Path(f"{folder}.new").rename(folder)
    said = _python(compat, folder)
    assert said["version"] == version
    _check(said)


@pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")
def test_the_newest_npm_package_works(compat: Compat) -> None:
    folder = compat.cache / NEWEST_NPM.replace("@", "-npm-")
    if not (folder / "node_modules" / "openai").exists():
        folder.mkdir(exist_ok=True)
        _install(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), NEWEST_NPM])
    said = _run(["node", str(HERE / "openai_calls.mjs"), str(folder), compat.base_url, compat.key, compat.model])
    assert said["one"] == said["azure"] == pytest.approx(unit_vector("hello", DIMENSIONS))
    assert said["many"] == [pytest.approx(unit_vector(text, DIMENSIONS)) for text in ("b", "a")]
    assert said["usage"] == {"prompt_tokens": tokens_of("hello"), "total_tokens": tokens_of("hello")}
    assert said["requestId"].startswith("req_")
    assert compat.model in said["models"]
    assert said["model"]["id"] == compat.model
    assert said["refused"] == {"name": "AuthenticationError", "status": 401, "code": "invalid_api_key"}


def _check(said: dict[str, Any]) -> None:
    sync = said["sync"]
    hello = pytest.approx(unit_vector("hello", DIMENSIONS))
    assert sync["one"] == hello
    assert sync["raw"] == hello
    assert sync["many"] == [pytest.approx(unit_vector(text, DIMENSIONS)) for text in ("b", "a")]
    assert sync["order"] == [0, 1]
    assert sync["usage"] == {"prompt_tokens": tokens_of("hello"), "total_tokens": tokens_of("hello")}
    assert sync["request_id"].startswith("req_")
    assert sync["raw_request_id"].startswith("req_")
    assert sync["request_id"] != sync["raw_request_id"]
    assert sync["model"]["id"] in sync["models"]
    assert sync["model"]["dimensions"] == DIMENSIONS
    assert sync["refused"].pop("request_id").startswith("req_")
    assert sync["refused"] == {"status": 401, "code": "invalid_api_key", "type": "invalid_request_error"}
    assert sync["unknown"] == "model_not_found"
    texts = [f"text {number}" for number in range(8)]
    assert said["async"]["many"] == [pytest.approx(unit_vector(text, DIMENSIONS)) for text in texts]
    assert said["async"]["models"] == sync["models"]


def _python(compat: Compat, packages: Path | None) -> dict[str, Any]:
    environment = dict(os.environ) | ({"PYTHONPATH": str(packages)} if packages else {})
    program = [sys.executable, str(HERE / "openai_calls.py"), compat.base_url, compat.key, compat.model]
    return _run(program, environment)


def _run(program: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def uv_settings() -> dict[str, str]:
    """Where pip is configured to look for packages is where uv looks; the hashes decide what is taken."""
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    return {"UV_INDEX_STRATEGY": "unsafe-best-match"} | as_uv_variables(listed) | dict(os.environ)


def _install(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed: {done.stderr}"
