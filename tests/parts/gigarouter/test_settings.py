"""Where settings come from, which wins, and what is refused."""

from pathlib import Path

import pytest

from gigarouter import settings
from gigarouter.settings import SettingsError, child_environment, display_value, load, load_local, source


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment with nothing of ours, in an empty folder."""
    for name in (*child_environment(), *settings.PLAIN_NAMES.values()):
        if name.startswith("GIGAROUTER_") or name in settings.PLAIN_NAMES.values():
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIGAROUTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().port == 8080
    (clean / "gigarouter.toml").write_text("port = 9000\ndrain_s = 5\n")
    assert load().port == 9000
    monkeypatch.setenv("GIGAROUTER_PORT", "9001")
    assert (load().port, load().drain_s) == (9001, 5)
    assert load(port=9002).port == 9002
    assert (source("port"), source("drain_s"), source("host")) == (
        "environment GIGAROUTER_PORT",
        "gigarouter.toml",
        "default",
    )


def test_database_url_is_taken_as_platforms_set_it_and_our_own_name_wins(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean / "gigarouter.toml").write_text('database_url = "postgresql://file/x"\n')
    monkeypatch.setenv("DATABASE_URL", "postgresql://plain/x")
    assert load().require_database_url() == "postgresql://plain/x"
    monkeypatch.setenv("GIGAROUTER_DATABASE_URL", "postgresql://ours/x")
    assert load().require_database_url() == "postgresql://ours/x"


@pytest.mark.parametrize(("name", "says"), [("GIGAROUTER_PROT", "GIGAROUTER_PROT"), ("GIGAROUTER_PORT__X", "PORT__X")])
def test_a_misspelled_name_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=says):
        load()


def test_a_misspelled_key_in_the_file_is_an_error(clean: Path) -> None:
    (clean / "gigarouter.toml").write_text("prot = 1\n")
    with pytest.raises(SettingsError, match="prot"):
        load()


def test_a_file_that_is_named_must_exist(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAROUTER_CONFIG", str(clean / "nowhere.toml"))
    with pytest.raises(SettingsError, match=r"nowhere\.toml, which is not a file"):
        load()


def test_clients_variables_are_no_misspelled_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAROUTER_API_KEY", "gr_live_x")
    assert load().port == 8080


@pytest.mark.parametrize("field", ["database_url", "redis_url", "secret_keys"])
def test_what_is_missing_is_named_with_what_to_do(field: str) -> None:
    with pytest.raises(SettingsError, match=r"is not set: .*`gigarouter"):
        getattr(load(), f"require_{field}")()


def test_a_fault_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAROUTER_SECRET_KEYS", "hunter2,hunter3")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/x")
    loaded = load()
    printed = repr(loaded) + "".join(display_value(loaded, field) for field in settings.Settings.model_fields)
    assert "hunter" not in printed
    assert loaded.require_secret_keys() == ["hunter2", "hunter3"]
    monkeypatch.setenv("GIGAROUTER_PORT", "hunter2")
    with pytest.raises(SettingsError) as fault:
        load()
    assert "hunter" not in str(fault.value)


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAROUTER_ALLOWED_PRIVATE_NETWORKS", "127.0.0.0/8, ::1/128")
    assert [str(network) for network in load().allowed_private_networks] == ["127.0.0.0/8", "::1/128"]


def test_commands_beside_up_find_what_it_started_and_an_own_database_wins(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean / "data").mkdir()
    (clean / "data" / settings.CONNECTION_FILE).write_text('database_url = "postgresql://up/x"\nport = 9000\n')
    assert (load_local().require_database_url(), load_local().port) == ("postgresql://up/x", 9000)
    monkeypatch.setenv("GIGAROUTER_PORT", "9001")
    assert load_local().port == 9001
    monkeypatch.setenv("DATABASE_URL", "postgresql://own/x")
    assert load_local().require_database_url() == "postgresql://own/x"
    assert load().database_url is not None


def test_a_child_is_told_only_settings_that_exist() -> None:
    assert child_environment(port="1")["GIGAROUTER_PORT"] == "1"
    with pytest.raises(SettingsError):
        child_environment(prot="1")
