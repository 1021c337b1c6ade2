"""A member sees what the account's money is, to the nano-dollar, and files what was issued; others see nothing."""

import re
from hashlib import sha256
from itertools import accumulate

import httpx
import pytest

from billing.credits import GrantKind
from billing.money import from_usd
from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.account_money import an_account_with_papers
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, a_member
from web.customer.money import CREDIT_WORDS

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def rich(build: DatabaseBuilder) -> AccountId:
    return an_account_with_papers(build)


def base(account: AccountId, page: str = "") -> str:
    return f"/accounts/{wire(AccountId, account)}{page}"


def finance(pages: Pages, account: AccountId) -> httpx.AsyncClient:
    return pages.reader(a_member(account, Role.FINANCE, now=pages.now))


def cells(page: str) -> list[str]:
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page)]


def nano_of(text: str) -> int:
    """An amount as it is written, to the nano."""
    return from_usd(text.replace("$", "").replace(",", "").replace("\N{MINUS SIGN}", "-"))


async def test_the_balance_is_split_and_movements_add_up_to_it(pages: Pages, rich: AccountId) -> None:
    reader = finance(pages, rich)
    credit = (await reader.get(base(rich, "/credit"))).text
    assert re.findall(r"<dt>(\w+ ?\w*)</dt><dd>(?:<[^>]+>)?([^<]+)", credit) == [
        ("Balance", "$7.50"),
        ("Free credit", "$0.50"),
        ("Bought credit", "$7.00"),
    ]
    assert 'title="$7.500000021 exactly"' in credit
    assert "no payments are set up" in credit
    page = (await reader.get(base(rich, "/credit/movements"))).text
    rows = re.findall(r'<td class="number">([^<]+)</td><td class="number">([^<]+)</td>', page)
    exact = [(nano_of(change), nano_of(balance)) for change, balance in rows]
    assert 7_000_000_021 in [change for change, _ in exact]
    before, after = map(nano_of, re.findall(r'<dd class="number">([^<]+)</dd>', page))
    assert [balance for _, balance in exact] == list(accumulate((change for change, _ in exact), initial=before))[1:]
    assert exact[-1][1] == after
    assert cells(page).count("credit") == 2
    assert "Balance on" in page
    empty = (await reader.get(base(rich, "/credit/movements?period=2020"))).text
    assert "Nothing changed the balance in this time." in empty


@pytest.mark.parametrize("query", ["period=0000-00", "period=%D9%A3", "cursor=x", "cursor=%00", "limit=3&period=2026"])
async def test_whatever_is_typed_is_answered_with_a_sentence(pages: Pages, rich: AccountId, query: str) -> None:
    answer = await finance(pages, rich).get(base(rich, f"/credit/movements?{query}"))
    assert answer.status_code in (200, 400, 422)
    assert '<p class="wrong"' in answer.text or 'role="alert"' in answer.text or answer.status_code in (200, 400)
    assert "<h1>" in answer.text


async def test_a_document_is_listed_read_and_filed_as_it_was_issued(pages: Pages, rich: AccountId) -> None:
    reader = finance(pages, rich)
    listed = (await reader.get(base(rich, "/documents"))).text
    [number] = set(re.findall(r"ACME-ST-\d+-\d+", listed))
    page = (await reader.get(base(rich, f"/documents/{number}"))).text
    assert "<b>Acme" not in page
    assert "&lt;b&gt;Acme&lt;/b&gt; &amp; Söhne" in page
    files = re.findall(r'<a href="([^"]+)" download>', page)
    assert len(files) >= 3
    for file, digest in zip(files, re.findall(r">([0-9a-f]{64})<", page), strict=True):
        answer = await reader.get(file)
        assert sha256(answer.content).hexdigest() == digest
        assert "attachment" in answer.headers["content-disposition"]
    assert (await reader.get(base(rich, f"/documents/{number}/exe"))).status_code == 404
    refused = await reader.post(base(rich, f"/documents/{number}/correct"))
    assert (refused.status_code, "only a month&#39;s invoice can be corrected" in refused.text) == (409, True)
    assert (await reader.post(base(rich, "/documents/ACME-1/correct"))).status_code == 404
    assert (await reader.get(base(rich, "/documents/..%2Fx"))).status_code == 404


async def test_money_is_for_owners_and_finance_of_this_account_alone(
    pages: Pages, rich: AccountId, account: AccountId
) -> None:
    pages_of_money = ["/credit", "/credit/movements", "/documents"]
    developer = pages.reader(a_member(rich, Role.DEVELOPER, now=pages.now), "dev")
    for page in pages_of_money:
        assert (await developer.get(base(rich, page))).status_code == 403
    number = re.findall(r"ACME-ST-\d+-\d+", (await finance(pages, rich).get(base(rich, "/documents"))).text)[0]
    stranger = pages.reader(a_member(account, Role.OWNER, now=pages.now), "stranger")
    for page in (f"/documents/{number}", f"/documents/{number}/pdf"):
        other, unknown = (
            await stranger.get(base(account, page)),
            await stranger.get(base(account, "/documents/ACME-ST-1")),
        )
        assert other.status_code == unknown.status_code == 404
        assert (await stranger.get(base(rich, page))).status_code == 404


async def test_a_page_of_money_takes_six_statements(pages: Pages, rich: AccountId) -> None:
    counted: dict[str, int] = {}
    for page in ("/credit", "/credit/movements", "/documents"):
        reader = finance(pages, rich)
        with pages.counted() as statements:
            await reader.get(base(rich, page))
        counted[page] = len([one for one in statements if "set_config" not in one and "SET TRANSACTION" not in one])
    assert max(counted.values()) <= 6, counted


def test_kinds_have_words() -> None:
    assert {kind.value for kind in GrantKind} == set(CREDIT_WORDS)
