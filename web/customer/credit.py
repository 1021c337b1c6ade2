"""``/accounts/{account}/credit``: the balance, of what it consists, when what expires, and how more is bought."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Page, Redirect
from web.customer.money import CREDIT_WORDS, Section, credit_path, nano, sections
from web.forms import Form, form_of
from web.request import PageRequest

FREE = ("promotional", "goodwill")
GRANTS_MAX = "100"


class _Account(msgspec.Struct, frozen=True):
    balance_usd: str
    debt_usd: str
    held_usd: str | None
    available_usd: str | None


class _Grant(msgspec.Struct, frozen=True):
    id: str
    kind: str
    amount_usd: str
    remaining_usd: str
    source: str
    granted_at: datetime
    expires_at: datetime | None


class _Grants(msgspec.Struct, frozen=True):
    data: list[_Grant]
    has_more: bool


class _Topup(msgspec.Struct, frozen=True):
    id: str
    status: str
    url: str | None


class CreditRow(msgspec.Struct, frozen=True):
    """Credit of which something is left, in the order of spending."""

    words: str
    remaining_nano: int
    amount_nano: int
    source: str
    granted_at: datetime
    expires_at: datetime | None


class CreditPage(Page, frozen=True, kw_only=True):
    """Amounts are nano-USD. ``once``: the Idempotency-Key of the next top-up, so that pressed twice it is one."""

    template: ClassVar[str] = "customer/credit.html"

    sections: tuple[Section, ...]
    base: str
    balance_nano: int
    free_nano: int
    bought_nano: int
    lent_nano: int
    debt_nano: int
    held_nano: int | None
    rows: tuple[CreditRow, ...]
    has_more: bool
    can_buy: bool
    form: Form
    once: str
    now: datetime


class TopupForm(msgspec.Struct, frozen=True):
    """How much is bought."""

    amount_usd: str = ""
    save_card: Literal["", "1"] = ""
    once: str = ""


async def show(request: PageRequest) -> CreditPage:
    """The balance and what it consists of."""
    return await _page(request, Form({"amount_usd": "25.00"}))


async def buy(request: PageRequest) -> Answer:
    """Order credit, then go to the page on which it is paid."""
    form = request.form_as(TopupForm)
    body = {"amount_usd": form.amount_usd.strip(), "save_card": form.save_card == "1"}
    try:
        order = await request.run("create_topup", _Topup, body=body, idempotency_key=form.once or str(new_id()))
    except OperationRefused as refused:
        return await _page(request, form_of(request, refused), status=refused.status)
    topup = order.value
    if topup.url is not None and topup.url.startswith(tuple(f"{one}/" for one in request.context.checkout_origins)):
        return Redirect(to=topup.url)
    return Redirect(to=f"{credit_path(request)}/top-ups/{topup.id}")


async def _page(request: PageRequest, form: Form, *, status: int = 200) -> CreditPage:
    account = (await request.run("retrieve_account", _Account)).value
    grants = (await request.run("list_account_grants", _Grants, query={"limit": GRANTS_MAX})).value
    left = {kind: sum(nano(one.remaining_usd) for one in grants.data if one.kind == kind) for kind in CREDIT_WORDS}
    return CreditPage(
        title="Credit",
        sections=sections(request),
        base=credit_path(request),
        balance_nano=nano(account.balance_usd),
        free_nano=sum(left[kind] for kind in FREE),
        bought_nano=left["purchased"],
        lent_nano=left["line"],
        debt_nano=nano(account.debt_usd),
        held_nano=None if account.held_usd is None else nano(account.held_usd),
        rows=tuple(_row(grant) for grant in grants.data),
        has_more=grants.has_more,
        can_buy=request.context.reads.stripe is not None,
        form=form,
        once=str(new_id()),
        now=request.exchange.now,
        status=status,
    )


def _row(grant: _Grant) -> CreditRow:
    return CreditRow(
        words=CREDIT_WORDS.get(grant.kind, grant.kind),
        remaining_nano=nano(grant.remaining_usd),
        amount_nano=nano(grant.amount_usd),
        # The rest of it is a digest of the mailbox, which says nothing to a reader.
        source="opening the account" if grant.source.startswith("welcome:") else grant.source,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
    )
