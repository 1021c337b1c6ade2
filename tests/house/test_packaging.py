"""What a wheel holds: our packages under their own names, with their data, and nothing else of the repository."""

import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.house.source import PACKAGES, ROOT


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
    data = {".lua", ".sql", ".toml", ".mako", ".html", ".typed"}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*"):
            if file.suffix in data:
                assert file.relative_to(ROOT).as_posix() in wheel
    for file in (ROOT / "migrations").rglob("*"):
        if file.suffix in {".py", ".sql"}:
            assert f"gigarouter/{file.relative_to(ROOT).as_posix()}" in wheel


def test_no_other_distribution_offers_a_name_of_ours() -> None:
    offered = importlib.metadata.packages_distributions()
    for name in PACKAGES:
        assert set(offered.get(name, [])) <= {"gigarouter"}, f"{offered[name]} would hide our {name}"


def test_every_package_says_that_it_is_typed() -> None:
    for name in PACKAGES:
        assert (ROOT / name / "py.typed").exists()


def test_the_locks_name_no_index_no_folder_and_hash_everything() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        lines = lock.read_text().splitlines()
        assert not [line for line in lines if "://" in line or " @ " in line or line.startswith("-")]
        starts = [number for number, line in enumerate(lines) if line[:1].isalnum()]
        assert starts
        assert all("--hash=sha256:" in lines[number + 1] for number in starts)


def test_litellm_is_never_floated() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [wanted] = [one for one in project["dependencies"] if one.startswith("litellm")]
    assert "==" in wanted
    assert f"{wanted} \\" in (ROOT / "requirements/product.txt").read_text().splitlines()
