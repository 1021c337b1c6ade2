"""The programs that a model's page shows are run as they stand there: each embeds one text."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.customer_program import DIMENSIONS, Compat
from web.public.snippets import FILES, snippets_for

RUNNERS = {"bash": ["bash"], "python": [sys.executable], "javascript": ["node"]}
ENDINGS = {"bash": ".sh", "python": ".py", "javascript": ".mjs"}


def test_each_program_of_a_models_page_embeds_a_text(compat: Compat, tmp_path: Path) -> None:
    """All at once: most of their time is theirs to start. The command line is this installation's."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": here, "GIGAROUTER_BASE_URL": compat.base_url, "GIGAROUTER_API_KEY": compat.key}
    running = {}
    for snippet in snippets_for(compat.model):
        if shutil.which(RUNNERS[snippet.language][0]) is None:
            pytest.skip(f"{RUNNERS[snippet.language][0]} is not installed")
        file = tmp_path / f"{snippet.name}{ENDINGS[snippet.language]}"
        file.write_text(snippet.code)
        running[snippet.name] = subprocess.Popen(
            [*RUNNERS[snippet.language], str(file)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert len(running) == len(FILES)
    for name, program in running.items():
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, f"{name}: {err}"
        expected = '"embedding"' if name == "curl" else f"{DIMENSIONS} dimensions"
        assert expected in out, f"{name}: {out}"
