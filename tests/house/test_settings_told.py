"""Nothing forgotten: each setting has a type, a sentence and a default, and is printed."""

import pytest
from typer.testing import CliRunner

from gigarouter.commands import config
from gigarouter.settings import Settings


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_setting_has_a_sentence_and_a_default(field: str) -> None:
    told = Settings.model_fields[field]
    assert told.description
    assert told.description.endswith(".")
    assert len(told.description) > 20
    assert not told.is_required()


def test_config_print_shows_every_setting() -> None:
    printed = CliRunner().invoke(config.app, ["print"]).output
    for field, told in Settings.model_fields.items():
        assert f"\n{field} = " in printed
        assert (told.description or "") in printed
