"""`gigarouter finance` has the commands of `gigarouter admin` under finance's names: one operation, two names."""

import io
import json
from contextlib import redirect_stdout

import pytest
from cryptography.fernet import Fernet
from typer.main import get_command

from gigarouter.commands import admin, finance
from router.api.admin import operations
from router.api.operation import operation_routes

NOUNS = {route.spec.noun for route in operation_routes(route for noun in operations for route in noun.routes)}


def printed(app: object, *words: str) -> object:
    with redirect_stdout(io.StringIO()) as out:
        code = app(list(words), standalone_mode=False)  # type: ignore[operator]
    assert not code
    return json.loads(out.getvalue())


def test_each_group_that_this_release_has_leads_to_operations() -> None:
    groups = get_command(finance.app).commands  # type: ignore[attr-defined]
    assert set(groups) == {name for name, group in finance.GROUPS.items() if group.noun in NOUNS}
    for name, group in groups.items():
        theirs = get_command(admin.app).commands[finance.GROUPS[name].noun].commands  # type: ignore[attr-defined]
        assert group.commands
        assert set(group.commands) <= set(theirs)
        assert set(finance.GROUPS[name].verbs) <= set(group.commands)
    assert {"billing-profile", "topups", "payments", "refund", "disputes", "lines", "invoices", "statements"} <= set(
        groups
    )
    assert {"list", "show", "issue", "send", "void", "credit"} <= set(groups["invoices"].commands)
    assert {"status", "start", "finish"} <= set(groups["close"].commands)


def test_a_usual_verb_may_stay_untyped_and_a_group_presets_its_kind(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("GIGAROUTER_SECRET_KEYS", Fernet.generate_key().decode())
    asked = ("usage", "csv", "--period", "2026-01")
    made = printed(finance.app, "export", *asked)
    listed = printed(finance.app, "export", "list")
    assert listed == printed(admin.app, "exports", "list")
    assert [row["id"] for row in listed["data"]] == [made["id"]]  # type: ignore[index]
    assert printed(finance.app, "disputes") == printed(admin.app, "disputes", "list")
    printed(admin.app, "accounts", "create", "Acme")
    requested = printed(finance.app, "statements", "issue", "Acme", "2026-01")
    assert requested["kind"] == "statement"  # type: ignore[index]
    options = {parameter.name for parameter in get_command(finance.app).commands["statements"].commands["list"].params}  # type: ignore[attr-defined]
    assert "kind" not in options
