"""Fills a database with one of each thing that a page is about, and says which ids stand in the addresses of pages.

What customers and operators make is made by their pages; the rest by the product's functions.
"""

import asyncio
import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from billing.documents.render import Renderer
from billing.money import NanoUSD
from billing.reconciliation.differences import record_found
from billing.reconciliation.values import Found, Kind
from billing.stripe.reviews import Cause, open_review
from router.identity.members import Role
from store import ids
from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.builders.billed_month import add_seller, an_account_with_a_month, last_month, make_month
from tests.builders.billing import billing
from tests.builders.calls import Filled
from tests.builders.closing_month import check_books
from tests.builders.database import DatabaseBuilder
from tests.builders.issued import invoice_of
from tests.harness.pages import Pages, a_member, an_operator
from tests.harness.reading import Reader, form_of
from web.route import Route, Who
from web.viewer import NOBODY, Viewer

CONTESTED = "codefuse-ai/F2LLM-v2-4B"
MONTH = f"{last_month():%Y-%m}"
# The value of a path -> the table that has it, and its kind.
TABLES = {
    "key": ("keys", ids.KeyId),
    "webhook": ("webhooks", ids.WebhookId),
    "topup": ("topups", ids.TopupId),
    "provider": ("providers", ids.ProviderId),
    "endpoint": ("endpoints", ids.EndpointId),
    "waiver": ("license_waivers", ids.WaiverId),
    "evidence": ("license_evidence", ids.EvidenceId),
    "proposal": ("proposals", ids.ProposalId),
    "order": ("document_requests", ids.DocumentRequestId),
    "difference": ("differences", ids.DifferenceId),
    "incident": ("incidents", ids.IncidentId),
    "update": ("incident_updates", ids.IncidentUpdateId),
    "export": ("exports", ids.ExportId),
    "review": ("payment_reviews", ids.ReviewId),
    "receivable": ("receivables", ids.ReceivableId),
    "contract": ("contracts", ids.ContractId),
    "schedule": ("grant_schedules", ids.GrantScheduleId),
    "invoice": ("provider_invoices", ids.ProviderInvoiceId),
}
FIXED = {
    "month": MONTH,
    "paper": "trial_balance",
    "format": "pdf",
    "model": CONTESTED,
    "owner": "codefuse-ai",
    "name": "F2LLM-v2-4B",
    "alias": "F2LLM-v2-4B",
    "place": "1",
    "license": "LicenseRef-Gemma",
    "article": "ledger",
    "picture": "ops-live.webp",
    "operation": "list_models",
}
_TOPUP = """
INSERT INTO topups (id, account_id, idempotency_key, amount_cents, save_card, actor)
VALUES ($1, $2, 'k', 500, false, 'a')
"""
_MIRROR = "INSERT INTO meter_mirrors (account_id, is_on, since, changed_by) VALUES ($1, true, '2026-01-01', 'a')"
_MANAGEMENT = """
INSERT INTO management_keys (id, account_id, name, handle, last4, digest, scopes, created_by)
VALUES (gen_random_uuid(), $1, 'ci', 'xxxxxxxx', 'wxyz', sha256('x'::bytea), ARRAY['usage:read'], 'mem')
"""


def an_account_with_everything(build: DatabaseBuilder, servers: Embedded) -> AccountId:
    """An account with a billed month, calls, keys and money; differences, reviews and an endpoint beside it."""

    async def bill() -> AccountId:
        servers.redis.command("FLUSHALL")
        renderer = Renderer()
        async with billing(build.url, servers.redis_url) as b:
            await make_month(b.db)
            await add_seller(b.db)
            account = await an_account_with_a_month(b, [30_000_003, 20_000_007], purchased=1, line=10**9)
            await check_books(b)
            await invoice_of(b, renderer, account)
            found = [Found(Kind.NOT_BOOKED, "txn_1", NanoUSD(12_340_000_000), "Stripe has it, the ledger does not.")]
            async with b.db.transaction() as tx:
                await record_found(tx, "stripe", found)
                await open_review(tx, "ch_1", Cause.REFUSED, "It was refused.", account_id=account)
        renderer.close()
        return account

    account = asyncio.run(bill())
    Filled(build, account, datetime.now(UTC))
    build.rows("UPDATE keys SET name = 'two' WHERE name = ' '")
    build.an_endpoint(build.a_model("acme/model"), "https://api.acme.example/v1", name="acme")
    build.rows(_TOPUP, ids.new_id(), account)
    build.rows(_MANAGEMENT, account)
    build.rows(_MIRROR, account)
    return account


async def make_by_pages(pages: Pages, account: AccountId) -> None:
    """What the pages themselves make: evidence, waiver, export, proposal, webhook."""
    base = f"/accounts/{wire(AccountId, account)}"
    owner = pages.reader(a_member(account, Role.OWNER, now=pages.now), "owner")
    sent = {"act": "evidence", "text": "The maker wrote to us.", "link": "https://example.com/letter"}
    for path, form in (
        (f"{base}/models/{CONTESTED}", sent),
        (f"{base}/models/{CONTESTED}", {"act": "vote", "note": "For search."}),
        (f"{base}/credit/alerts/webhooks", {"url": "https://example.com/hook"}),
    ):
        answer = await owner.post(path, data=form)
        assert answer.status_code in (200, 303), answer.text
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))
    signed = {"term": "charging", "signer": "licensor", "signed_by": "Codefuse", "evidence": "https://example.com"}
    await finance.write(f"/ops/licenses/{CONTESTED}/waive", **signed)
    await finance.write("/finance/exports/new", kind="movements", period=MONTH)
    await _agree(finance, wire(AccountId, account))
    ops = Reader(pages.reader(an_operator(now=pages.now), "olga"))
    await ops.write("/ops/incidents/new", title="Answers are slow", message="We look.", reason="An alarm.")
    grant = f"/ops{base}/grant"
    above = await finance.send(await finance.open(grant), amount_usd="20000", source="an apology", kind="goodwill")
    await finance.client.post(grant, data=form_of(above).fields)


async def _agree(finance: Reader, account: str) -> None:
    """A contract, a line, credit each month, and a provider's invoice, whose file is sent as forms send it again."""
    today = datetime.now(UTC).date()
    reason = {"account": account, "note": "C-1"}
    await finance.write("/finance/contracts/new", **reason, reason="agreed", percent_off="10")
    await finance.write("/finance/lines/open", **reason, limit_usd="5.00")
    await finance.write("/finance/grant-schedules/new", **reason, amount_usd="1.00", first_month=f"{today:%Y-%m}")
    columns = '[columns]\nmodel = "model"\namount = "usd"\n'
    await finance.write("/finance/invoice-maps/new", provider="acme", map=columns)
    file = base64.b64encode(b"model,usd\nacme/model,1.25\n").decode()
    facts = {"provider": "acme", "number": "R-1", "period": f"{today:%Y-%m}", "total_usd": "1.25"}
    await finance.write("/finance/provider-invoices/import", **facts, file=file)


def path_values(build: DatabaseBuilder, account: AccountId) -> dict[str, str]:
    """The values that stand in addresses of pages."""
    found = FIXED | {"account": wire(AccountId, account), "line": wire(AccountId, account)}
    found["mirror"] = found["account"]
    for name, (table, kind) in TABLES.items():
        rows = build.rows(f"SELECT id FROM {table} ORDER BY id LIMIT 1")
        assert rows, f"there is no row of {table}"
        found[name] = wire(kind, rows[0]["id"])
    found["call"] = wire(ids.RequestId, build.value("SELECT request_id FROM routes ORDER BY request_id LIMIT 1"))
    found["number"] = build.value("SELECT name FROM documents ORDER BY id LIMIT 1")
    found["management"] = wire(ids.ManagementKeyId, build.value("SELECT id FROM management_keys"))
    return found


def address_of(route: Route, values: Mapping[str, str]) -> str:
    """The address of a page about a thing that there is; of one that there is none of, where nothing made one."""
    path = route.path.replace("/management-keys/{key}", "/management-keys/{management}")
    path = path.replace("/files/{name}", "/files/manifest.json")
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: values.get(match[1], "none"), path)


def reader_of(route: Route, account: AccountId, now: datetime) -> Viewer:
    """Somebody who may have the page."""
    if route.who is Who.OPERATOR:
        return an_operator(sorted(route.roles)[-1], now=now)
    if route.who is Who.ANYONE:
        return NOBODY
    return a_member(account, sorted(route.roles or {Role.OWNER})[-1], now=now)
