"""`gigarouter admin --url` does anywhere what it does on the machine, also when answers are lost."""

import json
from collections.abc import Iterable
from itertools import count
from typing import Any
from uuid import uuid4

from typer.testing import CliRunner, Result

from gigarouter.commands.admin import app
from router.api.admin import operations
from router.api.operation import Who, operation_routes
from tests.harness.admin_client import Operator
from tests.harness.faulty_proxies import End, Play, Proxies
from tests.harness.processes import Product

# What can be done on the machine alone, and a word of the reason that its declaration gives.
LOCAL = {("operators", verb): "never by a key" for verb in ("list", "create", "invite", "revoke")}


def run(url: str, key: str, *arguments: str) -> Result:
    """The command as typed on a machine that has nothing but an address and a key."""
    environment = {"GIGAROUTER_OPERATOR_KEY": key, "DATABASE_URL": ""}
    return CliRunner().invoke(app, ("--url", url, *arguments), env=environment)


def answer(url: str, key: str, *arguments: str) -> Any:
    result = run(url, key, *arguments)
    assert result.exit_code == 0, f"{arguments}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
    return json.loads(result.stdout)


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def loses(lost: int) -> Play:
    """The first ``lost`` answers to writes are computed, and never arrive."""
    number = count()

    def play(head: bytes, body: bytes) -> Iterable[bytes | float | End]:
        return [End.RESET] if b" 201 " in head and next(number) < lost else [head + body]

    return play


def test_what_is_on_the_machine_alone_is_a_list_with_reasons(ops: Operator) -> None:
    specs = [route.spec for noun in operations for route in operation_routes(noun.routes)]
    local = {(spec.noun, spec.verb): spec.local for spec in specs if spec.local}
    assert local.keys() == LOCAL.keys()
    assert all(LOCAL[name] in reason for name, reason in local.items())
    assert all(spec.roles for spec in specs if spec.who is Who.OPERATOR and not spec.local)
    refused = run(ops.url, ops.key, "operators", "list")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "never by a key" in refused.stderr


def test_ops_reads_makes_and_edits_from_anywhere(ops: Operator, finance: Operator) -> None:
    name = f"Anywhere {uuid4().hex[:8]}"
    made = answer(ops.url, ops.key, "accounts", "create", name)
    renamed = answer(ops.url, ops.key, "accounts", "edit", name, "--name", f"{name} 2")
    assert (renamed["id"], renamed["name"]) == (made["id"], f"{name} 2")
    assert answer(ops.url, ops.key, "accounts", "show", f"{name} 2")["id"] == made["id"]
    listed = answer(ops.url, ops.key, "accounts", "list")["data"]
    assert made["id"] in {row["id"] for row in listed}

    granting = ("grants", "create", made["id"], "1.00", "--source", f"gift {name}")
    refused = run(ops.url, ops.key, *granting)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "finance_admin" in refused.stderr
    grant = answer(finance.url, finance.key, *granting)
    assert grant["amount_usd"] == "1.00"
    for subject, operator in ((made["id"], ops), (grant["id"], finance)):
        rows = answer(ops.url, ops.key, "audit", "list", "--subject", subject)["data"]
        assert {row["actor"] for row in rows} == {operator.member}


def test_a_wrong_key_and_a_wrong_address_say_what_to_do(product: Product, ops: Operator) -> None:
    unknown = run(ops.url, ops.key[:-1] + ("y" if ops.key.endswith("x") else "x"), "accounts", "list")
    assert (unknown.exit_code, unknown.stdout) == (3, "")
    missing = CliRunner().invoke(app, ("--url", ops.url, "accounts", "list"), env={"GIGAROUTER_OPERATOR_KEY": None})
    assert missing.exit_code == 2
    assert "GIGAROUTER_OPERATOR_KEY" in missing.stderr
    for url in ("http://127.0.0.1:9", "127.0.0.1:8080", "http://[::1", "ftp://127.0.0.1", f"{ops.url}/v1/"):
        result = run(url, ops.key, "accounts", "list")
        assert result.exit_code != 0, url
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert len(result.stderr.splitlines()) <= 2, result.stderr


def test_a_write_whose_answer_is_lost_has_its_effect_once(product: Product, ops: Operator) -> None:
    plays: dict[str, Play | None] = {"once": loses(1), "always": loses(1_000)}
    with Proxies(port(ops.url), plays) as proxies:
        names = [f"Lost {uuid4().hex[:8]}" for _ in range(2)]
        made = answer(f"http://127.0.0.1:{proxies['once'].port}", ops.key, "accounts", "create", names[0])
        assert proxies["once"].calls == 2
        silent = run(f"http://127.0.0.1:{proxies['always'].port}", ops.key, "accounts", "create", names[1])
        assert silent.exit_code == 1
        assert "--idempotency-key" in silent.stderr
        key = silent.stderr.split("--idempotency-key ")[1].split(",")[0]
        again = answer(ops.url, ops.key, "accounts", "create", names[1], "--idempotency-key", key)
    for name, account in zip(names, (made, again), strict=True):
        assert product.database.value(f"SELECT count(*) FROM accounts WHERE name = '{name}'") == 1
        assert answer(ops.url, ops.key, "accounts", "show", name)["id"] == account["id"]
