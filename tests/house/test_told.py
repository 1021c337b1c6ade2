"""What README, compose file and image tell an operator exists: settings, commands, targets, files."""

import re
import shlex
from itertools import pairwise
from typing import Any

import pytest
import typer

from gigarouter.commands import COMMANDS
from gigarouter.commands.admin import app as admin_app
from gigarouter.commands.finance import app as finance_app
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
        for noun, verb in re.findall(r"gigarouter admin ([a-z][a-z-]*) ([a-z][a-z-]+)", file.read_text()):
            assert (noun, verb) in known, f"{file.name}: gigarouter admin {noun} {verb}"


def test_options_of_commands_that_are_told_exist_and_a_flag_takes_no_value() -> None:
    """Of all `gigarouter admin …` and `finance …` in documents, as far as a noun and a verb can be found."""
    roots = {"admin": typer.main.get_command(admin_app), "finance": typer.main.get_command(finance_app)}
    looked_at, faults = 0, []
    for file in (*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"):
        whole = re.sub(r"\\\n\s*", "", file.read_text())
        spans = re.findall(r"`(gigarouter (?:admin|finance) [^`]+)`", whole)
        lines = re.findall(r"^ *(?:\$ )?(gigarouter (?:admin|finance) .*)$", whole, re.MULTILINE)
        for told in (*spans, *lines):
            words = shlex.split(re.split(r" [>|#] ", told)[0])[1:]
            command: Any = roots[words.pop(0)]
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
            for word, following in pairwise([*words, ""]):
                name = word.partition("=")[0].rstrip("….,")
                if hasattr(command, "commands") or not re.fullmatch(r"--[a-z-]+", name):
                    continue
                looked_at += 1
                if name not in options or (options[name].is_flag and following in ("0", "1")):
                    faults.append(f"{file.name}: {told}: {word}")
    assert faults == []
    assert looked_at > 50
