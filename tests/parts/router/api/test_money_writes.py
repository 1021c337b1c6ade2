"""Every declared write of money: once per Idempotency-Key, and a dry run that leaves nothing.

The operations are read from the declarations; one that is new fails here until :data:`BODIES` has a valid body of it.
"""

import json
from collections.abc import AsyncIterator
from uuid import uuid5

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from billing.money import NanoUSD, to_usd
from gigarouter.local_admin import local_context
from gigarouter.settings import Settings
from router.api.admin import operations
from router.api.admin.request import LOCAL_ACTORS
from router.api.app import all_operations, create_local_app
from router.api.operation import MONEY, OperationRoute, Who, operation_routes
from router.changes.audit import Actor
from router.changes.idempotency import IdempotentRequest, StoredOutcome, claim_key, store_outcome
from store.ids import MemberId, RequestId, new_id
from store.postgres import Database

pytestmark = pytest.mark.anyio
ANN = Actor("cli:ann")
PARTY: dict[str, object] = {"legal_name": "Acme", "address": {"line1": "1", "city": "Town", "country": "US"}}
# A valid body of each; what it is about need not exist.
BODIES: dict[str, dict[str, object]] = {
    "POST /admin/v1/accounts/{account_id}/billing-profile": PARTY,
    "POST /admin/v1/accounts/{account_id}/billing-profile/erase": {"reason": "asked for"},
    "POST /admin/v1/accounts/{account_id}/close": {"reason": "moved"},
    "POST /admin/v1/accounts/{account_id}/grants": {"amount_usd": "1.00", "source": "s"},
    "POST /admin/v1/document-requests/{request_id}/retry": {},
    "POST /admin/v1/documents/{number}/collect": {},
    "POST /admin/v1/documents/{number}/credit": {"reason": "wrong"},
    "POST /admin/v1/documents/{number}/send": {},
    "POST /admin/v1/documents/{number}/void": {"reason": "wrong"},
    "POST /admin/v1/documents:issue": {"account": "Acme", "period": "2026-01"},
    "POST /admin/v1/documents:issue-month": {"period": "2026-01"},
    "POST /admin/v1/exchange-rates": {"currency": "EUR", "per_usd": "0.9", "on_day": "2026-01-01", "source": "x"},
    "POST /admin/v1/finance/close/{month}/finish": {},
    "POST /admin/v1/finance/close/{month}/sign-off": {"item": "provider_invoices_in", "reason": "by card"},
    "POST /admin/v1/finance/close/{month}/start": {},
    "POST /admin/v1/finance/corrections": {
        **{"debit": "stripe_fees", "credit": "stripe_clearing", "amount_usd": "7.50", "source": "s", "reason": "fee"},
    },
    "POST /admin/v1/finance/contracts": {"account": "Acme", "reason": "agreed", "percent_off": "10"},
    "POST /admin/v1/finance/contracts/{contract_id}/end": {"reason": "agreed"},
    "POST /admin/v1/finance/contracts/{contract_id}/fund": {"reference": "wire"},
    "PATCH /admin/v1/finance/differences/{difference_id}": {"note": "looked at"},
    "POST /admin/v1/finance/differences/{difference_id}/resolve": {"reason": "known"},
    "POST /admin/v1/finance/exports": {"kind": "usage", "format": "csv", "period": "2026-01"},
    "POST /admin/v1/finance/exports/{export_id}/cancel": {},
    "POST /admin/v1/finance/grant-schedules": {"account": "Acme", "amount_usd": "1.00", "first_month": "2030-01"},
    "POST /admin/v1/finance/grant-schedules/{schedule_id}/end": {},
    "POST /admin/v1/finance/invoice-maps": {"provider": "acme", "map": "x"},
    "POST /admin/v1/finance/lines/{account_id}/end": {},
    "POST /admin/v1/finance/lines/{account_id}/open": {"limit_usd": "5.00"},
    "PATCH /admin/v1/finance/lines/{account_id}": {"limit_usd": "6.00"},
    "POST /admin/v1/finance/proposals/{proposal_id}/approve": {},
    "POST /admin/v1/finance/proposals/{proposal_id}/reject": {"reason": "no"},
    "POST /admin/v1/finance/meter-mirrors/{account_id}/off": {},
    "POST /admin/v1/finance/meter-mirrors/{account_id}/on": {},
    "POST /admin/v1/finance/provider-invoices": {
        **{"provider": "acme", "number": "1", "period": "2026-01", "total_usd": "1.00", "file": "eA=="},
    },
    "POST /admin/v1/finance/provider-invoices/{invoice_id}/pay": {"reference": "wire"},
    "POST /admin/v1/finance/provider-invoices/{invoice_id}/settle": {"reason": "known"},
    "POST /admin/v1/finance/provider-invoices/{invoice_id}/void": {"reason": "wrong"},
    "POST /admin/v1/finance/recharges/{account_id}/off": {"reason": "asked for"},
    "POST /admin/v1/finance/reconciliations": {"kind": "stripe"},
    "POST /admin/v1/finance/receivables/{receivable_id}/pay": {"source": "wire"},
    "POST /admin/v1/finance/receivables/{receivable_id}/pay-back": {"source": "wire"},
    "POST /admin/v1/finance/receivables/{receivable_id}/write-off": {"reason": "lost"},
    "POST /admin/v1/finance/refunds": {"account": "Acme", "reason": "asked for"},
    "POST /admin/v1/finance/reviews/{review_id}/resolve": {"resolution": "seen"},
    "POST /admin/v1/finance/topups": {"account": "Acme", "amount_usd": "5.00"},
    "POST /admin/v1/prices": {"model": "acme/m", "usd_per_mtok": "0.01"},
    "POST /admin/v1/sellers": {"id": "acme", "prefix": "ACME", **PARTY},
    "POST /admin/v1/waivers": {"model": "acme/m", "term": "commercial_use", "signed_by": "Ada", "evidence": "x"},
    "POST /admin/v1/waivers/{waiver_id}/revoke": {},
}
# What stands in a path.
PLACES = {"account_id": "Acme", "month": "2026-01", "number": "ACME-INV-2026-000001"}
# What is still done about an account that is closed for good: its papers, and ending what began before.
OF_CLOSED = {
    "POST /admin/v1/accounts/{account_id}/billing-profile",
    "POST /admin/v1/documents:issue",
}
_TABLES = text(
    "SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM entries), (SELECT count(*) FROM idempotency)"
)


def money_writes() -> list[OperationRoute]:
    routes = operation_routes(route for noun in operations for route in noun.routes)
    return [route for route in routes if route.spec.roles == MONEY and route.spec.method != "GET"]


def path_of(route: OperationRoute, **places: str) -> str:
    names = {"request_id": "docreq", "receivable_id": "recv", "difference_id": "diff", "invoice_id": "pinv"}
    values = {
        name: (PLACES | places).get(name) or f"{names.get(name, name.removesuffix('_id'))}_{new_id().hex}"
        for name in route.param_convertors
    }
    return route.path.format(**values)


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncIterator[Database]:
    db = Database(module_database_url, pool_size=3)
    yield db
    await db.close()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def http(db: Database) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate({"database_url": db.url, "secret_keys": Fernet.generate_key().decode()})
    transport = httpx.ASGITransport(create_local_app(local_context(settings, db), ANN))
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        await client.post("/admin/v1/accounts", content=b'{"name": "Acme"}')
        await client.post("/admin/v1/finance/lines/Acme/open", content=b'{"limit_usd": "5.00"}')
        yield client


@pytest.mark.parametrize("name", sorted(" ".join(route.spec.name) for route in money_writes()))
async def test_the_same_key_with_another_body_is_refused_and_a_dry_run_leaves_nothing(
    http: httpx.AsyncClient, db: Database, name: str
) -> None:
    [route] = [one for one in money_writes() if " ".join(one.spec.name) == name]
    assert route.spec.writes, "it has neither an Idempotency-Key nor a dry run"
    body = json.dumps(BODIES[name]).encode()
    # Somebody did something else with this key before.
    before = IdempotentRequest(MemberId(uuid5(LOCAL_ACTORS, ANN)), name, "key", b"another body", RequestId(new_id()))
    async with db.transaction() as tx:
        await claim_key(tx, before)
        await store_outcome(tx, before, StoredOutcome(200, [], b"{}"))
        counts = (await tx.execute(_TABLES)).one()
    path, key = path_of(route), {"idempotency-key": "key"}
    refused = await http.request(route.spec.method, path, content=body, headers=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "idempotency_mismatch"), refused.text
    dry = await http.request(route.spec.method, f"{path}?dry_run=1", content=body)
    assert dry.status_code in (200, 400, 404, 409, 503), dry.text
    assert (dry.status_code == 200) is (dry.headers.get("x-gigarouter-dry-run") == "true")
    assert dry.status_code != 200 or isinstance(dry.json()["entries"], list), "it shows the entries that it would book"
    async with db.transaction() as tx:
        assert (await tx.execute(_TABLES)).one() == counts


async def test_what_a_dry_run_shows_is_what_is_booked(http: httpx.AsyncClient, db: Database) -> None:
    await http.post("/admin/v1/accounts", content=b'{"name": "Shown"}')
    before = await booked(db)
    for path, body in (
        ("/accounts/Shown/grants", {"amount_usd": "3.00", "source": "shown"}),
        ("/finance/lines/Shown/open", {"limit_usd": "5.00"}),
        ("/finance/corrections", BODIES["POST /admin/v1/finance/corrections"]),
    ):
        content = json.dumps(body).encode()
        shown = (await http.post(f"/admin/v1{path}?dry_run=1", content=content)).json()["entries"]
        assert await booked(db) == before
        done = await http.post(f"/admin/v1{path}", content=content)
        assert done.status_code in (200, 201), done.text
        after = await booked(db)
        assert [(row["ledger_account"], row["debit_usd"], row["credit_usd"]) for row in shown] == after[len(before) :]
        before = after
    assert before[-2:] == [("stripe_fees", "7.50", None), ("stripe_clearing", None, "7.50")]


async def booked(db: Database) -> list[tuple[str, str | None, str | None]]:
    """The legs of all entries, as debits and credits."""
    legs = "SELECT l.kind, p.amount_nano FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id"
    async with db.transaction() as tx:
        rows = await tx.execute(text(f"{legs} ORDER BY p.entry_id, p.leg"))
        sides = [(kind, to_usd(NanoUSD(abs(nano))), nano < 0) for kind, nano in rows]
    return [(kind, usd if is_debit else None, None if is_debit else usd) for kind, usd, is_debit in sides]


async def test_a_closed_account_gets_no_money_and_no_terms(http: httpx.AsyncClient) -> None:
    """Every write that names an account is tried on one that is closed."""
    await http.post("/admin/v1/accounts", content=b'{"name": "Gone"}')
    closed = await http.post("/admin/v1/accounts/Gone/close", content=b'{"reason": "moved"}')
    assert closed.status_code == 200, closed.text
    done = set()
    for route in money_writes():
        name = " ".join(route.spec.name)
        if "account_id" not in route.param_convertors and "account" not in BODIES[name]:
            continue
        body = json.dumps(BODIES[name] | ({"account": "Gone"} if "account" in BODIES[name] else {})).encode()
        path = path_of(route, account_id="Gone")
        answer = await http.request(route.spec.method, f"{path}?dry_run=1", content=body)
        assert answer.status_code in (200, 201, 404, 409, 503), answer.text
        if answer.status_code < 300:
            done.add(name)
    assert done == OF_CLOSED


def test_a_customers_write_of_money_needs_a_key() -> None:
    """Each takes its Idempotency-Key from :class:`router.api.public.money_request.MoneyRequest`."""
    found = {
        " ".join(route.spec.name)
        for route in operation_routes(route for noun in all_operations() for route in noun.routes)
        if route.spec.who is Who.KEY
        and any(one.name == "request" for one in route.dependant.dependencies)
        and "MoneyRequest" in repr(route.endpoint.__annotations__.get("request"))
    }
    assert found >= {"POST /v1/account/close", "POST /v1/account/refunds", "POST /v1/account/topups"}
