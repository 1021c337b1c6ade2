"""The programs that pages show are run as they stand there: a model's page's, and those of docs/pages/start.md."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.harness.customer_program import DIMENSIONS, Compat
from web.public.snippets import FILES, snippets_for

START = Path(__file__).parents[3] / "docs" / "pages" / "start.md"
SHOWN_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
RUNNERS = {"bash": ["bash"], "python": [sys.executable], "javascript": ["node"]}
ENDINGS = {"bash": ".sh", "python": ".py", "javascript": ".mjs"}


class Program(msgspec.Struct, frozen=True):
    """A program of a page, and what it prints where all went well."""

    name: str
    language: str
    code: str
    prints: str


def programs_of_pages(model: str) -> list[Program]:
    """Those of a model's page, and of the article that newcomers read, for a model that there is."""
    shown = [
        Program(one.name, one.language, one.code, '"embedding"' if one.name == "curl" else f"{DIMENSIONS} dimensions")
        for one in snippets_for(model)
    ]
    blocks = re.findall(r"```(\w+)\n(.*?)```", START.read_text(), re.DOTALL)
    assert {language for language, _ in blocks} == {"bash", "python"}
    prints = {"bash": '"embedding"', "python": f"{DIMENSIONS} "}
    return shown + [
        Program(f"start-{number}", language, code.replace(SHOWN_MODEL, model), prints[language])
        for number, (language, code) in enumerate(blocks)
    ]


def test_each_program_of_a_page_embeds_a_text(compat: Compat, tmp_path: Path) -> None:
    """All at once: most of their time is theirs to start. The command line is this installation's."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": here, "GIGAROUTER_BASE_URL": compat.base_url, "GIGAROUTER_API_KEY": compat.key}
    running = []
    for program in programs_of_pages(compat.model):
        if shutil.which(RUNNERS[program.language][0]) is None:
            pytest.skip(f"{RUNNERS[program.language][0]} is not installed")
        file = tmp_path / f"{program.name}{ENDINGS[program.language]}"
        file.write_text(program.code)
        process = subprocess.Popen(
            [*RUNNERS[program.language], str(file)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append((program, process))
    assert len(running) == len(FILES) + 2
    for program, process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{program.name}: {err}"
        assert program.prints in out, f"{program.name}: {out}"
