"""What a wheel holds: our packages under their own names, with their data, and nothing else; what the lock holds."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from environment.install import locked
from tests.house.source import PACKAGES, ROOT
from web.finance.manual import GUIDES
from web.public.documentation.articles import ARTICLES

LOCK = tomllib.loads((ROOT / "uv.lock").read_text())["package"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names inside a wheel built now."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(Path(folder).glob("*.whl"))).namelist()


def test_the_wheel_has_our_packages_and_no_other(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel if ".dist-info" not in name}
    assert tops == set(PACKAGES)


def test_the_wheel_has_every_file_that_the_product_reads(wheel: list[str]) -> None:
    data = {".lua", ".sql", ".toml", ".mako", ".html", ".css", ".js", ".svg", ".md", ".typed"}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*"):
            if file.suffix in data:
                assert file.relative_to(ROOT).as_posix() in wheel
    for file in (ROOT / "migrations").rglob("*"):
        if file.suffix in {".py", ".sql"}:
            assert f"gigarouter/{file.relative_to(ROOT).as_posix()}" in wheel
    for article in [*ARTICLES, *GUIDES.values()]:
        assert f"web/docs/{article.file}" in wheel
    for picture in (ROOT / "docs" / "pages" / "pictures").iterdir():
        assert f"web/docs/pages/pictures/{picture.name}" in wheel


def test_no_other_distribution_offers_a_name_of_ours() -> None:
    offered = importlib.metadata.packages_distributions()
    for name in PACKAGES:
        assert set(offered.get(name, [])) <= {"gigarouter"}, f"{offered[name]} would hide our {name}"


def test_every_package_says_that_it_is_typed() -> None:
    for name in PACKAGES:
        assert (ROOT / name / "py.typed").exists()


def test_the_lock_is_what_pyproject_asks_for() -> None:
    """Else `make lock` was forgotten; no network is needed to see it."""
    check = [str(Path(sys.executable).with_name("uv")), "lock", "--check", "--offline"]
    of_this_machine = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"}
    env = {name: value for name, value in os.environ.items() if name not in of_this_machine}
    subprocess.run(check, cwd=ROOT, env=env, check=True, capture_output=True)


def test_the_lock_names_public_files_of_pypi_and_hashes_each() -> None:
    for package in LOCK:
        if package["source"] == {"editable": "."}:
            continue
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files
        for file in files:
            assert file["url"].startswith("https://files.pythonhosted.org/packages/")
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"])


def test_torch_for_cpu_is_the_torch_of_the_lock_with_hashes() -> None:
    [requirement] = re.findall(r"^torch==(\S+)\+cpu", (ROOT / "environment/torch-cpu.txt").read_text(), re.MULTILINE)
    assert requirement == locked("torch")["version"]


def test_an_environment_without_cuda_has_nothing_of_cuda() -> None:
    if "+cpu" in importlib.metadata.version("torch"):
        names = {one.metadata["Name"].lower() for one in importlib.metadata.distributions()}
        assert not {name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))}


def test_litellm_is_never_floated() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [wanted] = [one for one in project["dependencies"] if one.startswith("litellm")]
    assert wanted == f"litellm=={locked('litellm')['version']}"
