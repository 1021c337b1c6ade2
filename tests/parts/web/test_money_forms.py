"""A member changes what concerns the account's money, without a script: what is refused comes back with a sentence."""

import re
from importlib import import_module
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from gigarouter.settings import Settings
from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, a_member, served_pages
from tests.harness.stripe_webhooks import SECRET

pytestmark = pytest.mark.anyio

DETAILS = {
    "legal_name": "Acme <b>GmbH</b>",
    "line1": "Main Street 1",
    "city": "Town",
    "country": "de",
    "tax_ids": "DE136695976",
    "emails": "ap@acme.example\nboss@acme.example",
    "language": "de",
}


@pytest.fixture
def own(build: DatabaseBuilder) -> AccountId:
    return build.an_account(5_000_000_000, "Own")


def base(account: AccountId, page: str = "") -> str:
    return f"/accounts/{wire(AccountId, account)}{page}"


def reader(pages: Pages, account: AccountId) -> httpx.AsyncClient:
    return pages.reader(a_member(account, Role.FINANCE, now=pages.now))


def hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main")[2]))


async def test_caps_and_budgets_are_set_and_what_is_left_is_shown(pages: Pages, own: AccountId) -> None:
    member, caps = reader(pages, own), base(own, "/credit/caps")
    assert "There is no cap" in (await member.get(caps)).text
    refused = await member.post(caps, data={"month": "20", "day": "many <i>"})
    assert refused.status_code in (400, 422)
    assert re.search(r'id="f-day"[^>]*value="many &lt;i&gt;"[^>]*aria-invalid="true"', refused.text)
    assert 'value="20"' in refused.text
    done = await member.post(caps, data={"month": "20", "day": ""}, follow_redirects=True)
    assert "The caps are set." in done.text
    assert re.search(r"per month \(UTC\)</th><td class=.number.>.*\$20\.00.*\$0\.00.*\$20\.00.*<time", done.text)
    assert "There is no cap" in (await member.post(caps, data={}, follow_redirects=True)).text
    wrong = await member.post(f"{caps}/budgets", data={"budget_name": "ci", "budget_usd": "-1"})
    assert (wrong.status_code in (400, 422), 'id="e-budget_usd"' in wrong.text) == (True, True)
    form = {"budget_name": "<i>ci", "budget_usd": "3", "budget_period": "day"}
    added = await member.post(f"{caps}/budgets", data=form, follow_redirects=True)
    assert "&lt;i&gt;ci" in added.text
    [delete] = re.findall(r'action="([^"]+/delete)"', added.text)
    assert "The budget is deleted." in (await member.post(delete, follow_redirects=True)).text
    assert (await member.post(delete.replace("budget_", "key_"))).status_code == 404


async def test_a_webhook_is_made_tested_and_deleted_and_its_secret_is_shown_once(pages: Pages, own: AccountId) -> None:
    member, alerts = reader(pages, own), base(own, "/credit/alerts")
    assert "No alert was raised" in (await member.get(alerts)).text
    wrong = await member.post(f"{alerts}/webhooks", data={"url": "http://127.0.0.1/x"})
    assert (wrong.status_code in (400, 422), 'id="e-url"' in wrong.text) == (True, True)
    made = await member.post(f"{alerts}/webhooks", data={"url": "https://hooks.example.com/a"})
    [secret] = re.findall(r"<code>(whsec_[\w+/=]+)", made.text)
    assert f"GIGAROUTER_WEBHOOK_SECRET={quote(secret)}" in made.text.replace("%3D", "=", 1)
    assert "content-encoding" not in made.headers
    assert made.headers["cache-control"] == "no-store"
    [where] = set(re.findall(r'href="([^"]+/webhooks/wh_[0-9a-f]+)"', made.text))
    tested = await member.post(f"{where}/test", follow_redirects=True)
    assert ("webhook.test" in tested.text, secret in tested.text) == (True, False)
    rotated = await member.post(f"{where}/rotate")
    assert re.findall(r"<code>(whsec_[\w+/=]+)", rotated.text) not in ([], [secret])
    assert "The webhook is deleted." in (await member.post(f"{where}/delete", follow_redirects=True)).text
    assert [(await member.get(where)).status_code, (await member.post(f"{where}/test")).status_code] == [404, 404]


async def test_billing_details_are_saved_and_two_who_save_do_not_overwrite_each_other(
    pages: Pages, own: AccountId
) -> None:
    member, billing = reader(pages, own), base(own, "/billing")
    assert hidden((await member.get(billing)).text) == {"version": "0"}
    wrong = await member.post(f"{billing}/save", data={**DETAILS, "version": "0", "tax_ids": "DE1"})
    assert (wrong.status_code in (400, 422), 'id="e-tax_ids"' in wrong.text) == (True, True)
    assert "boss@acme.example" in wrong.text
    saved = await member.post(f"{billing}/save", data={**DETAILS, "version": "0"}, follow_redirects=True)
    assert "Documents that are issued from now on say this." in saved.text
    assert 'value="Acme &lt;b&gt;GmbH&lt;/b&gt;"' in saved.text
    assert 'value="DE"' in saved.text
    late = await member.post(f"{billing}/save", data={**DETAILS, "version": "0", "city": "Elsewhere"})
    assert late.status_code == 409
    assert re.search(r"city</th><td>Elsewhere</td><td>Town</td>", late.text)
    again = {**DETAILS, **hidden(late.text), "city": "Elsewhere"}
    assert 'value="Elsewhere"' in (await member.post(f"{billing}/save", data=again, follow_redirects=True)).text
    stale = pages.reader(a_member(own, Role.FINANCE), "stale")
    kept = await stale.post(f"{billing}/save", data={**DETAILS, "version": "2", "city": "Stale"})
    assert (kept.status_code, "Stale" in (await member.get(billing)).text) == (403, False)


async def test_credit_is_ordered_once_and_recharge_wants_a_card_and_a_name(
    settings: Settings, own: AccountId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("router.api.public.topups"), "PAGE_WAIT_S", 0.01)
    secrets = {"stripe_secret_key": SecretStr("sk_test_x"), "stripe_webhook_secrets": [SecretStr(SECRET)]}
    async with served_pages(settings.model_copy(update=secrets)) as pages:
        member, credit = reader(pages, own), base(own, "/credit")
        form = hidden((await member.get(credit)).text)
        refused = await member.post(credit, data={**form, "amount_usd": "1.005"})
        assert (refused.status_code in (400, 422), 'id="e-amount_usd"' in refused.text) == (True, True)
        orders = [await member.post(credit, data={**form, "amount_usd": "25.00"}) for _ in range(2)]
        [where] = {order.headers["location"] for order in orders}
        page = (await member.get(where)).text
        assert "$25.00" in page
        assert "Stripe makes the page for paying" in page
        assert (await member.get(f"{credit}/top-ups/topup_{'0' * 32}")).status_code == 404
        recharge = f"{credit}/recharge"
        shown = (await member.get(recharge)).text
        assert "Consent and switch auto-recharge on" in shown
        typed = hidden(shown) | {"threshold_usd": "5.00", "amount_usd": "25.00", "month_max_usd": "100.00"}
        nameless, cardless = [await member.post(recharge, data={**typed, "consented_by": one}) for one in ("", "A <b>")]
        for answer in (nameless, cardless):
            assert answer.status_code >= 400
            assert 'role="alert"' in answer.text or 'id="e-consented_by"' in answer.text
        assert 'value="A &lt;b&gt;"' in cardless.text
        off = await member.post(f"{recharge}/off", follow_redirects=True)
        assert "Auto-recharge is off." in off.text
