"""Finance agrees with customers (contracts, credit lines, credit each month) and with providers (their invoices)."""

from datetime import UTC, datetime

import httpx
import pytest

from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio

MODEL, OTHER, PROVIDER = "agreed/one", "agreed/two", "vendor-that-bills"
MAP = '[columns]\nday = "day"\nmodel = "model"\namount = "usd"\ntokens = "tokens"\n'
TODAY = datetime.now(UTC).date()
MONTH = f"{TODAY:%Y-%m}"
FILE = f"day,model,usd,tokens\n{TODAY},{MODEL},1.25,1000\n"


@pytest.fixture(scope="module")
def catalog(build: DatabaseBuilder) -> None:
    """Two models with list prices of 0.01 and 0.02 USD, the first at a provider that bills us."""
    model = build.a_model(MODEL, nano_per_mtok=10_000_000, batch_nano_per_mtok=5_000_000)
    build.a_model(OTHER, nano_per_mtok=20_000_000)
    build.an_endpoint(model, "http://127.0.0.1:9", name=PROVIDER)


@pytest.fixture
def finance(pages: Pages) -> Reader:
    return Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))


@pytest.fixture
def ops(pages: Pages) -> Reader:
    return Reader(pages.reader(an_operator(Role.OPS, now=pages.now), "olga"))


async def upload(reader: Reader, page: httpx.Response, content: str, status: int = 200, **typed: str) -> httpx.Response:
    form = form_of(page)
    file = {"file": ("invoice.csv", content.encode(), "text/csv")}
    sent = await reader.client.post(form.action, data=form.fields | typed, files=file)
    assert sent.status_code == status, words_of(sent)
    return sent


async def test_a_provider_s_invoice_is_uploaded_compared_settled_and_paid(
    finance: Reader, ops: Reader, catalog: None
) -> None:
    assert "no invoice can be imported" in words_of(await ops.open("/finance/invoice-maps"))
    wrong = await finance.send(await finance.open("/finance/invoice-maps/new"), 400, provider=PROVIDER, map="[columns")
    assert form_of(wrong).fields["map"] == "[columns"
    mapped = await finance.write("/finance/invoice-maps/new", provider=PROVIDER, map=MAP)
    place = mapped.text.partition('href="/finance/invoice-maps/prov_')[2].partition('"')[0]
    assert form_of(await finance.open(f"/finance/invoice-maps/prov_{place}")).fields["map"].strip() == MAP.strip()

    await ops.open("/finance/provider-invoices/import", status=403)
    facts = {"provider": PROVIDER, "number": "R-1", "period": MONTH}
    form = await finance.open("/finance/provider-invoices/import")
    # What was typed comes back, and the file with it: it is sent again without being chosen again.
    refused = await upload(finance, form, FILE, 400, **facts, total_usd="2.00")
    assert "The file that you chose is kept" in words_of(refused)
    proposed = await finance.send(refused, total_usd="1.25")
    assert form_of(proposed).button == "Import R-1"
    assert f"{MODEL}, {TODAY} billed 1.25 USD, our cost 0.00, unexplained 1.25" in words_of(proposed)
    assert "No provider's invoice" in words_of(await ops.open("/finance/provider-invoices"))
    page = await finance.confirm(proposed)
    assert page.url.path.startswith("/finance/provider-invoices/pinv_") or "provider-invoices/" in page.url.path
    assert f"{MODEL} {TODAY} 1.25 0.00 0.00 1.25 1,000, 0" in words_of(page)
    again = await upload(
        finance, await finance.open("/finance/provider-invoices/import"), FILE, 409, **facts, total_usd="1.25"
    )
    assert form_of(again).fields["number"] == "R-1"
    base = page.url.path
    await finance.send(await finance.open(f"{base}/settle"), status=409)
    settled = await finance.send(await finance.open(f"{base}/settle"), reason="Agreed by telephone.")
    assert "Booked on provider_variance none -1.25 USD" in words_of(settled).replace("  ", " ")
    assert "State settled" in words_of(await finance.confirm(settled)).replace("· ", "")
    paid = words_of(await finance.write(f"{base}/pay", reference="bank 7"))
    assert "Record the payment" not in paid
    assert "R-1" in words_of(await ops.open(f"/finance/provider-invoices?provider={PROVIDER}"))


async def test_a_file_that_is_none_or_too_large_is_a_sentence(finance: Reader, catalog: None) -> None:
    path = "/finance/provider-invoices/import"
    cases: list[tuple[int, bytes, str]] = [
        (400, b"--x\r\nno header", "multipart/form-data; boundary=x"),
        (400, b"", "multipart/form-data"),
        (400, b"a=1", "text/plain"),
        (413, b"x" * (3 * 1024 * 1024 + 1), "multipart/form-data; boundary=x"),
    ]
    for status, content, media in cases:
        answer = await finance.client.post(path, content=content, headers={"content-type": media})
        assert answer.status_code == status, words_of(answer)
    form = await finance.open(path)
    large = await upload(finance, form, "x" * (2 * 1024 * 1024 + 1), 413, provider=PROVIDER, number="R-2")
    assert "The file is larger" in words_of(large)
    # A form without files takes none.
    elsewhere = await finance.client.post("/finance/lines/open", files={"file": ("a", b"b")})
    assert elsewhere.status_code == 400


async def test_a_contract_shows_the_prices_that_result_before_it_is_made(
    finance: Reader, ops: Reader, account: AccountId, catalog: None
) -> None:
    known = wire(AccountId, account)
    await ops.open("/finance/contracts/new", status=403)
    form = await finance.open("/finance/contracts/new")
    typed = {"account": known, "percent_off": "12.5", "minimum_usd": "100.00", "note": "C-7", "reason": "agreed"}
    wrong = await finance.send(form, 400, **typed, prices=f"{MODEL} 0.008 0.004 0.002")
    assert form_of(wrong).fields["prices"] == f"{MODEL} 0.008 0.004 0.002"
    assert 'id="e-prices"' in wrong.text, words_of(wrong)
    proposed = await finance.send(form, 200, **typed, prices=f"{MODEL} 0.008 0.004")
    seen = words_of(proposed)
    assert form_of(proposed).button == "Make a contract"
    assert f"{MODEL}, USD per 1M tokens list price 0.01 0.008, batch 0.004" in seen
    assert f"{OTHER}, USD per 1M tokens list price 0.02 0.0175" in seen
    assert "What the minimum adds to them, USD 100.00" in seen
    page = await finance.confirm(proposed)
    seen = words_of(page)
    assert "all others 12.5" in seen
    assert f"{OTHER} 0.02 0.0175" in seen
    assert f"{MODEL} 0.01 0.008 0.005 0.004" in seen
    assert "C-7" in words_of(await ops.open(f"/finance/contracts?account={known}"))

    form = await finance.open(f"{page.url.path}/end")
    assert form_of(form).fields["reason"] == form_of(form).fields["until"] == ""
    ended = await finance.send(form, reason="They left.")
    assert form_of(ended).button == "End contract C-7"
    assert "Ended because none They left." in words_of(ended)
    assert "End it" not in words_of(await finance.confirm(ended))


async def test_a_line_is_opened_lowered_and_stopped_and_a_large_one_waits_for_a_second_person(
    pages: Pages, finance: Reader, ops: Reader, account: AccountId
) -> None:
    known = wire(AccountId, account)
    refused = await finance.send(
        await finance.open("/finance/lines/open"), 404, account="nobody", limit_usd="1", note="x"
    )
    assert form_of(refused).fields["account"] == "nobody"
    large = await finance.send(
        await finance.open(f"/finance/lines/open?account={known}"), limit_usd="60000.00", note="A large customer."
    )
    assert "a second one approves it" in words_of(large)
    proposal = words_of(await finance.confirm(large))
    assert "A large customer." in proposal
    assert "limit_usd none 60000.00" in proposal
    # The second person sees what the first saw before it was proposed.
    assert "What it would answer" in proposal
    assert "available usd 60000.00" in proposal

    opened = await finance.send(
        await finance.open(f"/finance/lines/open?account={known}"), limit_usd="50.00", note="ok"
    )
    assert form_of(opened).button == f"Open a credit line of {known}"
    page = await finance.confirm(opened)
    assert "Free, USD 50.00" in words_of(page)
    late = await finance.open(f"/finance/lines/{known}/edit")
    lowered = await finance.send(late, limit_usd="20.00", note="slow to pay")
    assert "Limit, USD 50.00 20.00" in words_of(lowered)
    await finance.confirm(lowered)
    conflict = await finance.send(late, status=409, limit_usd="70.00", note="fast after all")
    assert form_of(conflict).fields["note"] == "fast after all"
    assert f"{known} 20.00" in words_of(await ops.open(f"/finance/lines?account={known}"))
    assert "No row fits" in words_of(await ops.open("/finance/lines?overdue=1"))
    stopped = words_of(await finance.write(f"/finance/lines/{known}/end", note="gone"))
    assert "Limit, USD 0.00" in stopped
    assert "Open it again" in stopped


async def test_credit_each_month_begins_and_stops(finance: Reader, ops: Reader, account: AccountId) -> None:
    known = wire(AccountId, account)
    proposed = await finance.send(
        await finance.open("/finance/grant-schedules/new"),
        account=known,
        amount_usd="5.00",
        first_month=MONTH,
        lasts_months="1",
        note="For their readers.",
    )
    assert "Amount a month, USD none 5.00" in words_of(proposed)
    listed = await finance.confirm(proposed)
    assert "promotional 5.00" in words_of(listed)
    place = next(
        part for part in listed.text.split('href="/finance/grant-schedules/') if part.partition('"')[0].endswith("/end")
    )
    path = "/finance/grant-schedules/" + place.partition('"')[0]
    form = await finance.open(path)
    assert form_of(form).fields["note"] == ""
    assert "Stopped by none" in words_of(await finance.send(form, note="They have enough."))
    await finance.write(path, note="They have enough.")
    assert path not in (await ops.open(f"/finance/grant-schedules?account={known}")).text


async def test_margin_and_deferred_revenue_are_a_month_s_papers(pages: Pages, ops: Reader) -> None:
    with pages.counted() as statements:
        page = words_of(await ops.open("/finance/results"))
    assert len(pages.without_begin(statements)) <= 6
    assert "Margin by model and provider" in page
    assert "Deferred revenue by age" in page
    assert "A preview as of now" in page
    await ops.open("/finance/results?month=2999-01", status=400)


@pytest.fixture(scope="module")
def many(build: DatabaseBuilder) -> None:
    """Four accounts with a credit line and a contract."""
    for number in range(4):
        account = build.an_account(1_000_000_000, f"Line {number}")
        build.rows("INSERT INTO credit_lines (account_id, limit_nano, terms_days) VALUES ($1, 1000000000, 30)", account)
        build.rows(
            "INSERT INTO contracts (id, account_id, effective_at, commitment_nano, unused, note, reason)"
            " VALUES (gen_random_uuid(), $1, now() + interval '1 day', 5, 'expires', '', 't')",
            account,
        )


async def test_pages_of_many_ask_for_as_little_as_pages_of_one(pages: Pages, ops: Reader, many: None) -> None:
    async def count(path: str) -> int:
        with pages.counted() as statements:
            await ops.open(path)
        return len([one for one in statements if "set_config" not in one])

    for name in ("lines", "contracts"):
        assert await count(f"/finance/{name}?account=Line 1") <= 6, name
        assert await count(f"/finance/{name}") <= 5, name
