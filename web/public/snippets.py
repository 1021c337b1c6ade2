"""How a model is called, in each language: files that tests run, with the model's id filled in."""

from functools import cache
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "programs"
# What a person reads, the file, and the language of its colours.
FILES: Final = (
    ("curl", "curl.txt", "bash"),
    ("Python", "python.txt", "python"),
    ("JavaScript", "javascript.txt", "javascript"),
    ("LangChain", "langchain.txt", "python"),
    ("LlamaIndex", "llamaindex.txt", "python"),
    ("Command line", "command_line.txt", "bash"),
)
PLACE: Final = "MODEL"


class Snippet(msgspec.Struct, frozen=True):
    """A program that embeds one text."""

    name: str
    language: str
    code: str


def snippets_for(model_id: str) -> tuple[Snippet, ...]:
    """The programs for one model. Its id is letters, digits, dots, dashes and a slash: no language has to quote it."""
    return tuple(Snippet(name, language, _text(file).replace(PLACE, model_id)) for name, file, language in FILES)


@cache
def _text(file: str) -> str:
    return (FOLDER / file).read_text(encoding="utf-8").rstrip("\n")
