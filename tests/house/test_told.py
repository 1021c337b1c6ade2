"""What README, compose file and image tell an operator exists: settings, commands, targets, files."""

import re

import pytest

from gigarouter.commands import COMMANDS
from gigarouter.settings import NOT_FIELDS, Settings
from router.api.admin import operations
from router.api.operation import operation_routes
from tests.house.source import ROOT, product

TOLD = ("README.md", "docker-compose.yml", "Dockerfile", "migrations/README.md")


@pytest.mark.parametrize("file", TOLD)
def test_settings_that_are_told_exist(file: str) -> None:
    names = set(re.findall(r"\bGIGAROUTER_[A-Z_]+\b", (ROOT / file).read_text()))
    assert names <= {f"GIGAROUTER_{field.upper()}" for field in Settings.model_fields} | NOT_FIELDS


@pytest.mark.parametrize("file", TOLD)
def test_commands_that_are_told_exist(file: str) -> None:
    assert set(re.findall(r"`gigarouter (\w+)", (ROOT / file).read_text())) <= set(COMMANDS)


def test_make_targets_and_files_that_are_told_exist() -> None:
    told = "\n".join((ROOT / file).read_text() for file in (*TOLD, ".ci/run"))
    targets = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^ *)make ([a-z]+)", told, re.MULTILINE)) <= set(targets)
    named = set(re.findall(r"\benvironment/[a-z-]+\.[a-z]+|\buv\.lock", told))
    assert named >= {"uv.lock", "environment/install.py"}
    assert all((ROOT / file).exists() for file in named)


def test_admin_commands_that_are_named_exist() -> None:
    """In documents and in the product's own sentences."""
    specs = [route.spec for noun in operations for route in operation_routes(noun.routes)]
    known = {(spec.noun, spec.verb) for spec in specs}
    files = [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / file for file in product())]
    for file in files:
        for noun, verb in re.findall(r"gigarouter admin ([a-z]+) ([a-z][a-z-]+)", file.read_text()):
            assert (noun, verb) in known, f"{file.name}: gigarouter admin {noun} {verb}"
