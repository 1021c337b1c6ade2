"""An operator runs the product from the command line alone, and every change tells who made it."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from store.embedded import Embedded
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.processes import ROOT, Product

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
NON_COMMERCIAL = "codefuse-ai/F2LLM-v2-4B"
CREDENTIAL = "sk-canary-0b1f7d3c9a5e"
VOUCHED = ("--as-reference", "the maker's own service")


class Admin:
    """``gigarouter admin …`` as typed; answers what it printed, as JSON."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.printed = ""

    def __call__(self, *arguments: str, exits: int = 0, stdin: str | None = None) -> Any:
        result = CliRunner().invoke(app, arguments, input=stdin, env=self._environment)
        self.printed += result.output
        assert result.exit_code == exits, f"{arguments}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
        return json.loads(result.stdout) if result.stdout.strip() else None

    def fails(self, *arguments: str, exits: int = 1) -> str:
        """What it says on standard error."""
        result = CliRunner().invoke(app, arguments, env=self._environment)
        assert result.exit_code == exits, f"{arguments}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result.stderr.strip()


@pytest.fixture
def admin(database_url: str) -> Admin:
    environment = {"DATABASE_URL": database_url, "GIGAROUTER_SECRET_KEYS": Fernet.generate_key().decode()}
    return Admin(environment | {"GIGAROUTER_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(384).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def wide() -> Iterator[Upstream]:
    with Upstream(2560).in_thread() as running:
        yield running


def register(admin: Admin, url: str, model: str = MODEL) -> str:
    """A provider and an endpoint of a seeded model; the endpoint's id."""
    admin("models", "import")
    admin("providers", "create", "alpha", "openai", "--base-url", url, "--credential-file", "-", stdin=CREDENTIAL)
    endpoint: str = admin(
        "endpoints", "create", model, "alpha", "--upstream-model", "mini", "--cost-usd-per-mtok", "0.001"
    )["id"]
    return endpoint


def test_from_an_empty_database_to_a_paid_call_and_a_revoked_key(
    servers: Embedded, database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("admin"), database_url, servers.redis_url, jobs=False)
    admin = Admin({name: value for name, value in product.environment.items() if "GIGAROUTER" in name or "URL" in name})
    with product:
        endpoint = register(admin, upstream.base_url)
        assert admin("endpoints", "activate", endpoint, *VOUCHED)["state"] == "live"
        admin("prices", "create", MODEL, "0.008")
        assert admin("models", "launch", MODEL, "--reason", "first customers")["status"] == "live"
        admin("accounts", "create", "Acme")
        admin("grants", "create", "Acme", "25.00", "--source", "welcome-acme", "--expires-at", "90d")
        key = admin("keys", "create", "Acme", "--name", "ingest", "--cap-amount-usd", "5.00")

        client = openai.OpenAI(base_url=product.url, api_key=key["key"], max_retries=3)
        assert len(client.embeddings.create(model=MODEL, input="Hello, world").data[0].embedding) == 384
        (used,) = admin("usage", "list", "--group-by", "model")["data"]
        assert (used["model"], used["calls"]) == (MODEL, 1)
        assert admin("ledger", "trial-balance")["total_usd"] == "0.00"

        admin("keys", "revoke", key["id"])
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
            wait_for_refusal(client)
    actions = [row["action"] for row in admin("audit", "list")["data"]]
    assert actions[:4] == ["key.revoke", "key.create", "credit.grant", "account.open"]
    assert set(actions) >= {"model.launch", "price.set", "endpoint.live", "provider.register", "catalog.import"}
    assert admin.printed.count(key["key"]) == 1
    assert CREDENTIAL not in admin.printed


def wait_for_refusal(client: openai.OpenAI) -> None:
    """Calls for up to three seconds: a revocation is everywhere within one; other tests keep the machine busy."""
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        client.embeddings.create(model=MODEL, input="Hello, world")


def test_a_credential_is_never_printed_and_never_taken_from_the_command_line(admin: Admin) -> None:
    register(admin, "https://api.alpha.example/v1")
    admin("providers", "list")
    admin("providers", "show", "alpha")
    admin("providers", "edit", "alpha", "--no-enabled")
    admin("audit", "list")
    assert "…9a5e" in admin.printed
    assert CREDENTIAL not in admin.printed
    assert "No such option" in admin.fails("providers", "create", "b", "openai", "--credential", CREDENTIAL, exits=2)


def test_a_provider_that_could_not_be_spoken_to_is_refused(admin: Admin) -> None:
    at_metadata = ("providers", "create", "b", "openai", "--base-url", "http://169.254.169.254/v1")
    assert "must not be reached" in admin.fails(*at_metadata, exits=2)
    unknown = ("providers", "create", "b", "openai", "--base-url", "https://api.example.com", "--options", "pth=/x")
    assert "pth" in admin.fails(*unknown, exits=2)
    assert admin("providers", "list")["data"] == []


def test_an_endpoint_that_fails_its_test_is_quarantined_with_the_reason(admin: Admin, upstream: Upstream) -> None:
    endpoint = register(admin, upstream.base_url)
    upstream.always = Reply(status=500)
    assert "Broken" in admin.fails("endpoints", "test", endpoint, exits=7)
    shown = admin("endpoints", "show", endpoint)
    assert shown["state"] == "quarantined"
    assert "Broken" in shown["reason"]
    upstream.always = Reply()
    assert admin("endpoints", "activate", endpoint, *VOUCHED)["state"] == "live"


def test_without_a_reference_a_test_says_what_to_do_and_nothing_goes_live(admin: Admin, upstream: Upstream) -> None:
    endpoint = register(admin, upstream.base_url)
    assert "say with a reason" in admin.fails("endpoints", "test", endpoint, exits=7)
    assert admin("endpoints", "show", endpoint)["state"] == "probing"


def test_a_launch_says_all_that_is_missing_and_a_dry_run_launches_nothing(admin: Admin, upstream: Upstream) -> None:
    endpoint = register(admin, upstream.base_url)
    said = admin.fails("models", "launch", MODEL)
    assert "no price in force" in said
    assert "no live endpoint" in said
    admin("endpoints", "activate", endpoint, *VOUCHED)
    admin("prices", "create", MODEL, "0.008")
    assert admin("models", "launch", MODEL, "--dry-run")["status"] == "live"
    assert admin("models", "show", MODEL)["status"] == "coming_soon"


def test_non_commercial_weights_are_launched_free_or_with_a_signed_waiver(admin: Admin, wide: Upstream) -> None:
    endpoint = register(admin, wide.base_url, NON_COMMERCIAL)
    admin("endpoints", "probe", endpoint)
    assert "an activation" in admin.fails("endpoints", "resume", endpoint)
    admin("endpoints", "activate", endpoint, *VOUCHED)
    evidence = ("--evidence", "mail of 2026-11-24")
    nc = "CC-BY-NC-ND-4.0"
    assert "not resolved" in admin.fails("models", "launch", NON_COMMERCIAL)
    admin("resolutions", "create", NON_COMMERCIAL, nc, "--reason", "the card's text", *evidence)
    admin("prices", "create", NON_COMMERCIAL, "0.00")
    admin("prices", "create", NON_COMMERCIAL, "0.008", "--effective-at", "30d")
    assert "forbids asking money" in admin.fails("models", "launch", NON_COMMERCIAL)
    admin("waivers", "create", NON_COMMERCIAL, "charging", "--signed-by", "Ada, licensor", *evidence)
    assert admin("models", "launch", NON_COMMERCIAL)["status"] == "live"


def test_a_served_model_that_is_free_by_license_cannot_get_a_price(admin: Admin, wide: Upstream) -> None:
    endpoint = register(admin, wide.base_url, NON_COMMERCIAL)
    admin("endpoints", "probe", endpoint)
    assert "an activation" in admin.fails("endpoints", "resume", endpoint)
    admin("endpoints", "activate", endpoint, *VOUCHED)
    evidence = ("--evidence", "the model card")
    admin("resolutions", "create", NON_COMMERCIAL, "CC-BY-NC-ND-4.0", "--reason", "the card's text", *evidence)
    admin("prices", "create", NON_COMMERCIAL, "0.00")
    admin("models", "launch", NON_COMMERCIAL)
    assert "served free of charge" in admin.fails("prices", "create", NON_COMMERCIAL, "0.008")


def test_money_is_typed_as_people_write_it_and_kept_to_the_nano_dollar(admin: Admin) -> None:
    admin("accounts", "create", "Acme")
    admin("grants", "create", "Acme", "25.00", "--source", "first")
    admin("grants", "create", "Acme", "0.000000001", "--source", "second", "--kind", "goodwill")
    assert admin("accounts", "show", "Acme")["credit_usd"] == "25.000000001"
    for wrong in ("25,00", "1e3", "$25", "0.0000000001", "-5.00", "0", "NaN"):
        admin.fails("grants", "create", "Acme", "--source", "third", "--", wrong, exits=2)
    assert "at most" in admin.fails("grants", "create", "Acme", "9000000.00", "--source", "third")
    assert admin("ledger", "trial-balance")["total_usd"] == "0.00"


def test_the_same_source_is_granted_once(admin: Admin) -> None:
    admin("accounts", "create", "Acme")
    admin("grants", "create", "Acme", "5.00", "--source", "invoice 7")
    assert "granted once" in admin.fails("grants", "create", "Acme", "5.00", "--source", "invoice 7")
    assert admin("accounts", "show", "Acme")["credit_usd"] == "5.00"


def test_a_price_starts_now_or_later_and_the_list_says_which_one_holds(admin: Admin) -> None:
    admin("models", "import")
    admin("prices", "create", MODEL, "0.008")
    admin("prices", "create", MODEL, "0.006", "--effective-at", "7d", "--batch-usd-per-mtok", "0.003")
    assert "the price itself" in admin.fails(
        "prices", "create", MODEL, "0.006", "--batch-usd-per-mtok", "0.007", exits=2
    )
    assert "now or later" in admin.fails("prices", "create", MODEL, "0.001", "--effective-at", "2020-01-01", exits=2)
    prices = admin("prices", "list", "--model", MODEL)["data"]
    assert [(price["usd_per_mtok"], price["in_force"]) for price in prices] == [("0.008", True), ("0.006", False)]
    assert [price["batch_usd_per_mtok"] for price in prices] == [None, "0.003"]


def test_keys_can_be_narrowed_paused_and_rotated_but_not_revived(admin: Admin) -> None:
    admin("models", "import")
    admin("accounts", "create", "Acme")
    limited = (
        "--models",
        MODEL,
        "--requests-per-minute",
        "5",
        "--cap-amount-usd",
        "1.50",
        "--cap-period",
        "day",
        "--use",
        "research",
    )
    key = admin("keys", "create", "Acme", *limited, "--expires-at", "30d")
    assert (key["models"], key["requests_per_minute"]) == ([MODEL], 5)
    assert key["cap"] == {"amount_usd": "1.50", "period": "day"}
    assert admin("keys", "pause", key["id"])["state"] == "paused"
    assert admin("keys", "resume", key["id"])["state"] == "active"
    rotated = admin("keys", "rotate", key["id"], "--overlap-hours", "1")
    assert rotated["key"][:17] == key["key"][:17]
    assert rotated["key"] != key["key"]
    assert rotated["old_secret_works_until"] is not None
    assert admin("keys", "revoke", key["id"])["state"] == "revoked"
    assert "final" in admin.fails("keys", "resume", key["id"])
    assert "no model" in admin.fails("keys", "create", "Acme", "--models", "acme/none", exits=4)


def test_no_key_is_in_the_database(admin: Admin, database_url: str) -> None:
    admin("accounts", "create", "Acme")
    keys = [admin("keys", "create", "Acme", *options)["key"] for options in ((), ("--is-test",))]
    keys.append(admin("keys", "rotate", admin("keys", "list")["data"][0]["id"])["key"])
    dump = subprocess.run([sys.executable, "-c", DUMP, database_url], capture_output=True, text=True, check=True).stdout
    assert "Acme" in dump
    for key in keys:
        assert key not in dump
        assert key.split("_")[3] not in dump


DUMP = """
import asyncio, sys, asyncpg
async def dump():
    connection = await asyncpg.connect(sys.argv[1])
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        for (row,) in await connection.fetch(f'SELECT to_jsonb(t)::text FROM "{table}" t'):
            print(row)
asyncio.run(dump())
"""


def test_members_have_roles_and_an_account_keeps_an_owner(admin: Admin) -> None:
    admin("accounts", "create", "Acme")
    ada = admin("members", "add", "ada@example.com", "owner", "--account", "Acme")["id"]
    bob = admin("members", "add", "bob@example.com", "finance", "--account", "Acme")["id"]
    assert "already" in admin.fails("members", "add", "ADA@example.com", "finance", "--account", "Acme")
    assert "last owner" in admin.fails("members", "remove", ada)
    admin("members", "edit", bob, "owner")
    admin("members", "remove", ada)
    assert [member["email"] for member in admin("members", "list", "--account", "Acme")["data"]] == ["bob@example.com"]
    admin("members", "add", "ops@example.com", "ops")
    assert "belong to no account" in admin.fails(
        "members", "add", "ops2@example.com", "ops", "--account", "Acme", exits=2
    )
    assert [member["role"] for member in admin("members", "list")["data"]] == ["ops"]


def test_an_acceptance_is_recorded_with_the_text_it_accepts(admin: Admin) -> None:
    admin("accounts", "create", "Acme")
    admin("acceptances", "create", "Acme", "LicenseRef-Gemma", "--accepted-by", "ada@example.com")
    (accepted,) = admin("acceptances", "list", "--account", "Acme")["data"]
    assert accepted["text"].startswith("LicenseRef-Gemma")
    assert "not known" in admin.fails(
        "acceptances", "create", "Acme", "MIT", "--accepted-by", "ada@example.com", exits=2
    )


def test_what_is_not_there_exits_with_4_and_what_cannot_be_reached_with_1(admin: Admin) -> None:
    for arguments in (
        ("accounts", "show", "nobody"),
        ("keys", "show", "key_" + "0" * 32),
        ("providers", "show", "nobody"),
        ("endpoints", "show", "ep_" + "0" * 32),
        ("models", "show", "acme/none"),
    ):
        admin.fails(*arguments, exits=4)
    assert "an id such as key_" in admin.fails("keys", "show", "acct_" + "0" * 32, exits=4)
    gone = Admin({"DATABASE_URL": "postgresql://localhost:1/x"})
    assert "cannot be reached" in gone.fails("accounts", "list")


def test_all_that_is_missing_or_wrong_is_told_at_once(admin: Admin) -> None:
    words = admin.fails("models", "create", "--dimensions", "8", exits=2)
    for name in ("id", "owned_by", "--summary", "--max-input-tokens"):
        assert f"{name} is missing." in words.splitlines()
    assert "--dimensions" not in words
    wrong = ("acme/toy", "acme", "--summary", "s", "--dimensions", "wide", "--max-input-tokens", "1.5", "--normalized")
    assert admin.fails("models", "create", *wrong, "--trained-dimensions", "x", exits=2).splitlines() == [
        "--dimensions is a whole number.",
        "--max-input-tokens is a whole number.",
        "--trained-dimensions[0] is a whole number.",
    ]
    admin("accounts", "create", "Acme")
    wrong = ("Acme", "--use", "private", "--cap-amount-usd", "much", "--concurrency", "many", "--cap-period", "week")
    assert len(admin.fails("keys", "create", *wrong, exits=2).splitlines()) == 4


def test_at_a_terminal_the_command_prints_a_table(admin: Admin, database_url: str) -> None:
    admin("accounts", "create", "Acme")
    command = [sys.executable, "-m", "gigarouter", "admin", "accounts", "list"]
    ours, theirs = pty.openpty()
    environment = os.environ | {"DATABASE_URL": database_url, "COLUMNS": "120", "TERM": "xterm"}
    subprocess.run(command, stdout=theirs, check=True, cwd=ROOT, env=environment)
    os.close(theirs)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 4096).decode())
    os.close(ours)
    header, row = printed.strip().splitlines()
    assert header.split() == ["id", "name", "status", "credit", "usd", "debt", "usd", "created", "at"]
    assert row.split()[1:3] == ["Acme", "active"]
