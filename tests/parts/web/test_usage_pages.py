"""Usage and calls as a customer reads them: each figure is that of API and ledger, whoever reads, whatever is typed."""

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from html import unescape
from zoneinfo import ZoneInfo

import httpx
import pytest

from billing.money import from_usd
from billing.rollups.fill import add_before, add_pending
from router.identity.members import Role
from store.ids import AccountId, KeyId, RequestId, parse, wire
from store.postgres import Database
from tests.builders.calls import CALLS, MODELS, Filled
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, a_member

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def filled(build: DatabaseBuilder, account: AccountId) -> Filled:
    return Filled(build, account, datetime.now(UTC))


@pytest.fixture
async def ann(pages: Pages, filled: Filled) -> AsyncIterator[httpx.AsyncClient]:
    async with pages.reader(a_member(filled.account, zone="Asia/Kathmandu")) as client:
        yield client


def exact_amounts(html: str) -> list[int]:
    """Every amount of a table's cells, to the nano."""
    found = re.findall(
        r'<td class="number">(?:<data class="number" value="(-?\d+)"|<span class="number">\$([\d,.]+))', html
    )
    return [int(nano) if nano else from_usd(usd.replace(",", "")) for nano, usd in found]


@pytest.mark.parametrize("by", ["model", "key", "lane"])
async def test_rows_of_usage_sum_to_the_total_which_is_the_apis_and_the_csvs(
    pages: Pages, ann: httpx.AsyncClient, filled: Filled, by: str
) -> None:
    for is_summed in (False, True):
        if is_summed:
            db = Database(pages.context.writes.db.url)
            await add_pending(db)
            await add_before(db, within_s=60)
            await db.close()
        page = await ann.get(f"{filled.base}/usage?by={by}&zone=Asia/Kathmandu")
        assert page.status_code == 200, page.text
        total = re.search(r"<tfoot>.*?<td class=\"number\">\$([\d,.]+)</td><td></td>", page.text, re.DOTALL)
        assert total is not None
        assert from_usd(total[1].replace(",", "")) == filled.spent
        by_time, by_group = (part for part in page.text.split("<tbody>")[1:3])
        width = 2 if by == "lane" else 3
        assert sum(exact_amounts(by_time)[width - 1 :: width]) == filled.spent
        assert sum(exact_amounts(by_group.partition("<tfoot>")[0])) == filled.spent
        rows = list(csv.DictReader(io.StringIO((await ann.get(f"{filled.base}/usage.csv?by={by}")).text)))
        assert sum(from_usd(row["charged_usd"]) for row in rows) == filled.spent
        assert {row["timezone"] for row in rows} == {"Asia/Kathmandu"}
        assert "<b>one</b>" not in page.text
        if by == "key":
            assert filled.prefix in page.text, "a key without a name shows its prefix"
    proof = await ann.get(f"{filled.base}/usage/proof")
    assert "Some month is not equal" in proof.text, "these calls were never booked"


@pytest.mark.parametrize(
    "query",
    [
        *("from=2026-02-01&to=2026-01-01", "from=0001-01-01", "from=1926-01-01&to=2026-01-01", "zone=Mars/Olympus"),
        *("from=0000-01-01", "by=provider", "each=second", "key_id=acct_1", "colour=red", "zone=../../etc/passwd"),
    ],
)
async def test_what_usage_does_not_take_is_a_sentence(ann: httpx.AsyncClient, filled: Filled, query: str) -> None:
    for page in ("usage", "usage.csv"):
        answer = await ann.get(f"{filled.base}/{page}?{query}")
        assert answer.status_code == 400, query
        assert "Traceback" not in answer.text


async def test_every_span_and_bucket_is_shown_also_on_days_when_clocks_change(
    ann: httpx.AsyncClient, filled: Filled
) -> None:
    for zone in ("Asia/Kathmandu", "America/New_York", "UTC"):
        for span in ("from=2026-03-06&to=2026-03-09", "from=2026-01-01&to=2026-12-31", "from=2026-11-01&to=2026-11-01"):
            for each in ("hour", "day", "month"):
                answer = await ann.get(f"{filled.base}/usage?zone={zone}&{span}&each={each}")
                assert answer.status_code == 200, (zone, span, each)


async def test_a_finance_member_sees_money_and_no_key(pages: Pages, filled: Filled) -> None:
    async with pages.reader(a_member(filled.account, Role.FINANCE)) as fay:
        page = await fay.get(f"{filled.base}/usage?by=key")
        text = page.text + (await fay.get(f"{filled.base}/usage.csv?by=key")).text
        assert page.status_code == 200
        for key in filled.keys:
            assert wire(KeyId, key) not in text
        assert "one" not in re.findall(r'<th scope="row">([^<]*)', text)
        for path in ("calls", "calls.csv", f"calls/{wire(RequestId, filled.refused)}"):
            assert (await fay.get(f"{filled.base}/{path}")).status_code == 403


async def test_calls_are_filtered_paged_and_explained_and_a_refusal_says_what_lifts_it(
    ann: httpx.AsyncClient, filled: Filled
) -> None:
    first = await ann.get(f"{filled.base}/calls?code=license_restricted")
    assert first.status_code == 200, first.text
    [link] = re.findall(rf'href="({filled.base}/calls/req_[0-9a-f]+)"', first.text)
    shown = (await ann.get(link)).text
    assert "Its license forbids &lt;i&gt;that&lt;/i&gt;." in shown
    assert f'href="/models/{MODELS[0]}">See the license' in shown
    every = (await ann.get(f"{filled.base}/calls")).text
    assert every.count(f'href="{filled.base}/calls/req_') == CALLS + 1
    assert "kept for 30 days" in every
    rows = list(csv.DictReader(io.StringIO((await ann.get(f"{filled.base}/calls.csv?outcome=answered")).text)))
    assert sum(from_usd(row["cost_usd"]) for row in rows) == filled.spent
    assert "No call of the last 30 days is like that." in (await ann.get(f"{filled.base}/calls?model=none/none")).text
    wrong = await ann.get(f"{filled.base}/calls?slower_than_ms=٣")
    assert (wrong.status_code, "slower_than_ms" in wrong.text) == (400, True)
    for path in ("req_" + "0" * 32, "nonsense"):
        assert (await ann.get(f"{filled.base}/calls/{path}")).status_code == 404
    assert (await ann.get(f"{filled.base}/calls.csv?outcome=lost")).status_code == 400


async def test_refused_calls_are_counted_as_filtered_and_lead_to_just_these(
    ann: httpx.AsyncClient, filled: Filled
) -> None:
    own, other = (wire(KeyId, key) for key in filled.keys)
    for query, count in (("", 1), (f"&key_id={own}", 1), (f"&key_id={other}", 0), (f"&model={MODELS[1]}", 0)):
        page = (await ann.get(f"{filled.base}/usage?zone=Asia/Kathmandu{query}")).text
        [(href, found)] = re.findall(r'href="([^"]+outcome=refused)">(\d+)</a>', page)
        assert int(found) == count, query
        listed = await ann.get(unescape(href))
        assert listed.status_code == 200
        assert listed.text.count(f'href="{filled.base}/calls/req_') == count, href


async def test_days_of_a_filter_are_those_of_the_readers_zone(ann: httpx.AsyncClient, filled: Filled) -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    today = datetime.now(zone).date()
    begins = datetime(today.year, today.month, today.day, tzinfo=zone)
    query = f"from={today}&outcome=answered"
    page = (await ann.get(f"{filled.base}/calls?{query}")).text
    assert "From, a day (Asia/Kathmandu)" in page
    shown = [RequestId(parse(RequestId, one)) for one in re.findall(r'/calls/(req_[0-9a-f]+)"', page)]
    assert shown
    assert all((one.int >> 80) / 1000 >= begins.timestamp() for one in shown)
    [csv_href] = re.findall(r'href="([^"]+)">CSV of the whole selection', page)
    assert "zone=Asia%2FKathmandu" in csv_href
    rows = list(csv.DictReader(io.StringIO((await ann.get(unescape(csv_href))).text)))
    assert len(rows) == len(shown)
    assert (await ann.get(f"{filled.base}/calls?from={today}&zone=Mars/Olympus")).status_code == 400
    audit = await ann.get(f"{filled.base}/audit?since={today}")
    assert (audit.status_code, "From (Asia/Kathmandu)" in audit.text) == (200, True)


async def test_a_page_asks_postgres_as_much_for_a_thousand_calls_as_for_one(
    pages: Pages, ann: httpx.AsyncClient, filled: Filled
) -> None:
    counts = []
    for query in ("?from=2026-01-01&to=2026-01-02", ""):
        for page, most in (("usage", 6), ("calls", 6)):
            with pages.counted() as statements:
                await ann.get(f"{filled.base}/{page}{query}")
            assert len(statements) <= most, statements
            counts.append(len(statements))
    assert counts[:2] == counts[2:]


@pytest.fixture(scope="module")
def other(build: DatabaseBuilder) -> AccountId:
    return build.an_account(0, "Other")


async def test_another_accounts_pages_are_not_found(pages: Pages, filled: Filled, other: AccountId) -> None:
    base = f"/accounts/{wire(AccountId, other)}"
    call = wire(RequestId, filled.refused)
    async with pages.reader(a_member(other)) as client:
        assert (await client.get(f"{base}/calls/{call}")).status_code == 404
        assert call not in (await client.get(f"{base}/calls")).text
        for path in ("usage", "usage.csv", "usage/proof", "calls", "calls.csv", f"calls/{call}"):
            assert (await client.get(f"{filled.base}/{path}")).status_code == 404
