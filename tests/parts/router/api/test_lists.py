"""Every list, as operation and as command, on a new installation, with one row and with many.

The lists are read from the declarations: one that is new is tested on an empty installation by itself, and fails here
until :data:`ROWS` says how many rows :func:`fill` makes of it.
"""

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.fernet import Fernet
from typing_extensions import override

from billing.books import Check
from billing.documents.issue import issue_waiting
from billing.documents.render import Renderer
from gigarouter.commands.admin import app
from gigarouter.local_admin import local_app
from gigarouter.settings import Settings
from router.api.admin import operations
from router.api.operation import OperationRoute, operation_routes, query_schemas
from router.queues.table import QUEUES
from store.embedded import Embedded
from store.ids import AccountId, parse
from store.postgres import Database
from tests.builders.database import DatabaseBuilder

MANY, PAGE = 12, 5
LICENSE, ACCEPTED = "CC-BY-NC-4.0", "LicenseRef-Gemma"
USE = """
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, provider_cost_nano, latency_ms,
    attempts)
SELECT gen_random_uuid(), now(), $1, gen_random_uuid(), 'acme/m0', gen_random_uuid(), gen_random_uuid(), 's', 1, 1,
    gen_random_uuid(), 1, 1, 1, 0, 0, 1, 1
"""
PAID = """
WITH topup AS (
    INSERT INTO topups (id, account_id, idempotency_key, amount_cents, save_card, actor)
    VALUES (gen_random_uuid(), $1, 'a', 500, false, 'tests') RETURNING id, account_id
), refund AS (
    INSERT INTO refunds (id, topup_id, account_id, idempotency_key, wanted_cents, actor)
    SELECT gen_random_uuid(), id, account_id, 'a', 500, 'tests' FROM topup
), rule AS (
    INSERT INTO recharge_rules (account_id, version, is_on, threshold_cents, amount_cents, month_max_cents,
        consented_by, wording, words, actor, idempotency_key)
    SELECT account_id, 1, true, 500, 500, 500, 'Ada', 'tests', 'tests', 'tests', 'a' FROM topup
), dispute AS (
    INSERT INTO disputes (id, topup_id, account_id, amount_cents, credit_cents, reason, status)
    SELECT 'dp_' || id, id, account_id, 500, 500, 'fraudulent', 'open' FROM topup
)
INSERT INTO payment_reviews (id, subject, cause, message, topup_id, account_id)
SELECT gen_random_uuid(), id::text, 'tests', 'tests', id, account_id FROM topup
"""

# An invoice, a difference and a comparison for each provider.
RECONCILED = """
WITH invoice AS (
    INSERT INTO provider_invoices (id, provider_id, number, since, until, map_version, sha256, total_nano, lines,
        tolerance_nano, imported_by)
    SELECT gen_random_uuid(), id, '1', '2026-01-01', '2026-02-01', 1, sha256(id::text::bytea), 1, 1, 0, 'tests'
    FROM providers
), difference AS (
    INSERT INTO differences (id, scope, kind, object, amount_nano, message)
    SELECT gen_random_uuid(), 'stripe', 'not_booked', id::text, 1, 'tests' FROM providers
)
INSERT INTO reconciliations (id, kind, state, requested_by, ended_at)
SELECT gen_random_uuid(), 'providers', 'done', 'tests', now() FROM providers
"""

MIRRORED = """
INSERT INTO meter_mirrors (account_id, is_on, since, changed_by) VALUES ($1, true, '2026-01-01', 'tests')
"""

EVIDENCE = """
INSERT INTO license_evidence (id, model_id, account_id, body, link, sent_by)
VALUES (gen_random_uuid(), 'acme/m0', $1, 'The card changed.', 'https://acme.example', 'tests')
"""

VOTES = (
    "INSERT INTO model_votes (model_id, account_id, note) SELECT m.id, a.id, 'x' FROM models m CROSS JOIN accounts a"
)

LOOKED = """
INSERT INTO account_views (id, account_id, member_id, reason, started_at, expires_at, ended_at)
SELECT gen_random_uuid(), id, (SELECT min(id::text)::uuid FROM members), 'tests', now(),
    now() + interval '1 hour', now()
FROM accounts
"""

# What a list needs in its path or query.
NEEDED = {"month": "2026-01", "account_id": "account 0", "model": "acme/m0", "usd_per_mtok": "1.00"}
# How many rows each noun's list has where :func:`fill` made ``n``; None: more than that.
ROWS: dict[str, Any] = {
    **dict.fromkeys(("evidence", "votes", "account-views"), lambda n: n),
    **dict.fromkeys(("mails", "stopped-addresses"), lambda n: n),  # of a key that was created
    **dict.fromkeys(
        ("providers", "endpoints", "models", "prices", "accounts", "keys", "members", "operators", "claims"),
        lambda n: n,
    ),
    **dict.fromkeys(
        ("resolutions", "waivers", "acceptances", "usage", "lines", "contracts", "management-keys"), lambda n: n
    ),
    "grants": lambda n: n and n + 1,  # of one account, and its credit line
    **dict.fromkeys(("incidents", "spaces", "price-impacts"), lambda n: n),
    **dict.fromkeys(("sellers", "exchange-rates", "documents", "document-requests"), lambda n: n),
    **dict.fromkeys(("topups", "refunds", "disputes", "reviews", "recharges", "exports", "proposals"), lambda n: n),
    "meter-mirrors": lambda n: n,
    **dict.fromkeys(("reconciliations", "differences", "invoice-maps", "provider-invoices"), lambda n: n),
    "grant-schedules": lambda n: n,
    "movements": lambda n: n and n + 1,  # of one account: its grants, and its credit line
    "decisions": lambda n: 4,  # one for each use, and charging
    "ledger": lambda n: 18 if n else 16,  # the house's kinds of ledger account, and the customers' two
    **dict.fromkeys(("receivables", "close"), lambda n: 0),  # none before an invoice, nor before a close
    "books": lambda n: len(Check),
    "queues": lambda n: len(QUEUES),
    "jobs": lambda n: 0,  # none has run
    "audit": lambda n: None if n else 0,
}

LISTS = [
    route
    for route in operation_routes(route for noun in operations for route in noun.routes)
    if route.spec.method == "GET" and "data" in getattr(route.response_model, "model_fields", {})
]


def is_paged(route: OperationRoute) -> bool:
    return any("cursor" in schema["properties"] for schema in query_schemas(route))


def needed(route: OperationRoute) -> tuple[dict[str, str], dict[str, str]]:
    """The values of its path and of its query."""
    query = [name for schema in query_schemas(route) for name in schema.get("required", ())]
    return {name: NEEDED[name] for name in route.param_convertors}, {name: NEEDED[name] for name in query}


async def fill(settings: Settings, n: int) -> list[str]:
    """``n`` of everything that is listed; the accounts' ids."""
    accounts = []
    async with local_app(settings) as machine:
        transport = httpx.ASGITransport(machine)
        async with httpx.AsyncClient(transport=transport, base_url="http://local/admin/v1") as http:

            async def make(path: str, expects: int = 201, /, **body: object) -> dict[str, Any]:
                answer = await http.post(path, content=json.dumps(body).encode())
                assert answer.status_code == expects, answer.text
                made: dict[str, Any] = answer.json()
                return made

            for i in range(n):
                accounts.append((await make("/accounts", name=f"account {i}"))["id"])
                await make("/accounts/account 0/grants", amount_usd="1.00", source=f"grant {i}")
                await make("/accounts/account 0/grants", 202, amount_usd="10000.01", source=f"large {i}")
                await make("/keys", account=f"account {i}", name=f"key {i}")
                await make("/stopped-addresses", 200, addresses=[f"{i}@bounced.example"])
                line = await http.post(f"/finance/lines/account {i}/open", content=b'{"limit_usd": "5.00"}')
                assert line.status_code == 200, line.text
                await make("/operators", email=f"{i}@example.com", role="ops")  # a member, too
                await make("/providers", name=f"provider-{i}", kind="sandbox")
                model: dict[str, Any] = {"model": f"acme/m{i}"}
                await make("/endpoints", **model, provider=f"provider-{i}", cost_usd_per_mtok="0.01")
                evidence: dict[str, Any] = {"evidence": "tests"}
                await make("/resolutions", **model, license=LICENSE, reason="it says so", **evidence)
                await make("/incidents", title=f"incident {i}", message="It is slow.")
                await make("/waivers", **model, term="commercial_use", signed_by="Ada", **evidence)
                await make("/management-keys", account=f"account {i}", name="robot", scopes=["keys:read"])
                await make("/acceptances", account=f"account {i}", license=ACCEPTED, accepted_by="Ada")
                party: dict[str, Any] = {
                    "legal_name": "Acme",
                    "address": {"line1": "1", "city": "Town", "country": "US"},
                }
                await make("/sellers", 200, id=f"seller-{i}", prefix=f"S{i}", **party)
                await make(
                    "/exchange-rates",
                    200,
                    currency="EUR",
                    per_usd="0.9",
                    on_day=f"2026-01-{i + 1:02}",
                    source="x",
                )
                await make(f"/accounts/account {i}/billing-profile", 200, **party)
                monthly: dict[str, Any] = {"amount_usd": "1.00", "first_month": "2099-01"}
                await make("/finance/grant-schedules", account=f"account {i}", **monthly)
                await make("/finance/contracts", account=f"account {i}", reason="tests", percent_off="10")
                await make("/finance/exports", kind="usage", format="csv", period="2026-01")
                which: dict[str, Any] = {"account": f"account {i}", "seller": "seller-0"}
                await make("/documents:issue", 200, kind="statement", period="2026-01", **which)
    await issue_documents(settings)
    return accounts


async def issue_documents(settings: Settings) -> None:
    """As the jobs process does."""
    db, renderer = Database(settings.require_database_url()), Renderer()
    try:
        await issue_waiting(db, renderer)
    finally:
        renderer.close()
        await db.close()


class Installation:
    def __init__(self, url: str, n: int) -> None:
        self.n = n
        self.environment = {
            "DATABASE_URL": url,
            "GIGAROUTER_SECRET_KEYS": Fernet.generate_key().decode(),
            "GIGAROUTER_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        }
        self.settings = Settings.model_validate(
            {name.removeprefix("GIGAROUTER_").lower(): value for name, value in self.environment.items()}
        )
        database = DatabaseBuilder(url, self.environment["GIGAROUTER_SECRET_KEYS"])
        for i in range(n):
            database.a_model(f"acme/m{i}")
        for account in asyncio.run(fill(self.settings, n)):
            database.rows(USE, parse(AccountId, account))
            database.rows(PAID, parse(AccountId, account))
            database.rows(EVIDENCE, parse(AccountId, account))
            database.rows(MIRRORED, parse(AccountId, account))
        database.rows("INSERT INTO invoice_maps SELECT id, 1, 'x', now(), 'tests' FROM providers")
        database.rows(RECONCILED)
        database.rows(VOTES)
        database.rows(LOOKED)

    def get(self, path: str, query: dict[str, str]) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with local_app(self.settings) as machine:
                transport = httpx.ASGITransport(machine)
                async with httpx.AsyncClient(transport=transport, base_url="http://local") as http:
                    return await http.get(path, params=query)

        return asyncio.run(ask())


@pytest.fixture(scope="module", params=[0, 1, MANY], ids=["new", "one", "many"])
def installation(request: pytest.FixtureRequest, servers: Embedded, template: str) -> Iterator[Installation]:
    name = f"lists_{request.param}"
    servers.postgres.query(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield Installation(servers.postgres.url(name), request.param)
    servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


def command(route: OperationRoute, *more: str, terminal: bool = False) -> tuple[int, str]:
    """The exit code of the list's command, and what it printed."""
    path, query = needed(route)
    words = [route.spec.noun, route.spec.verb, *path.values(), *query.values(), *more]
    with redirect_stdout(Terminal() if terminal else io.StringIO()) as printed:
        try:
            code = app(words, standalone_mode=False)
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), printed.getvalue()


def check_count(route: OperationRoute, rows: list[Any], n: int) -> None:
    expected = ROWS[route.spec.noun](n)
    assert len(rows) > n if expected is None else len(rows) == expected, rows


@pytest.mark.parametrize("route", LISTS, ids=[route.spec.path for route in LISTS])
def test_a_list_is_answered_page_by_page(route: OperationRoute, installation: Installation) -> None:
    path, query = needed(route)
    target = route.spec.path.format_map(path)
    if installation.n == 0 and (set(path) | set(query)) - {"month"}:
        missing = installation.get(target, query)
        assert missing.status_code == 404, missing.text
        return
    rows: list[Any] = []
    if route.spec.noun == "usage":
        query["group_by"] = "account"
    if is_paged(route):
        query["limit"] = str(PAGE)
    while True:
        answer = installation.get(target, query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows += page["data"]
        if not page.get("has_more"):
            break
        assert len(page["data"]) == PAGE
        assert answer.links["next"]["url"].startswith(quote(target, safe="/:"))
        query["cursor"] = page["next_cursor"]
    check_count(route, rows, installation.n)
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows), "a row was on two pages"


@pytest.mark.parametrize("route", LISTS, ids=[f"{route.spec.noun} {route.spec.verb}" for route in LISTS])
def test_a_list_is_printed_whole(
    route: OperationRoute,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)
    more = ("--group-by", "account") if route.spec.noun == "usage" else ()
    path, query = needed(route)
    if installation.n == 0 and (set(path) | set(query)) - {"month"}:
        assert command(route, *more) == (4, "")
        assert "There is no" in (said := capsys.readouterr().err) or "does not exist" in said
        return
    # Nobody has checked these books yet, so they are not said to be right.
    expected = int(route.spec.noun == "books")
    code, printed = command(route, *more)
    assert code == expected
    check_count(route, json.loads(printed)["data"], installation.n)
    code, printed = command(route, *more, terminal=True)
    assert code == expected
    assert not printed.lstrip().startswith("{")
    if installation.n == 0 and is_paged(route):
        assert printed == "Nothing.\n"
