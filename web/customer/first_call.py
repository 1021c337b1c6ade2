"""``/accounts/{account}/first-call``: waits for a new account's first call, then says what became of it."""

from typing import ClassVar

import msgspec

from web.answers import Page
from web.request import PageRequest


class FirstCall(msgspec.Struct, frozen=True):
    """The newest call, as the log of calls has it."""

    id: str
    model: str | None
    outcome: str
    code: str | None
    took_ms: int
    tokens: int | None
    cost_usd: str | None


class _Calls(msgspec.Struct, frozen=True):
    data: list[FirstCall]


class _Attempt(msgspec.Struct, frozen=True):
    provider: str | None = None


class _Explanation(msgspec.Struct, frozen=True):
    attempts: list[_Attempt] = []


class FirstCallPage(Page, frozen=True, kw_only=True):
    """The call, or that none has come. ``provider`` is the one that answered; empty where it is not recorded yet."""

    template: ClassVar[str] = "customer/first_call.html"

    call: FirstCall | None
    provider: str
    explained: str
    here: str


async def show(request: PageRequest) -> FirstCallPage:
    """The newest call of the account."""
    calls = (await request.run("list_requests", _Calls, query={"limit": "1"})).value.data
    call = calls[0] if calls else None
    provider = ""
    if call is not None:
        explanation = await request.run("retrieve_request", _Explanation, path={"request_id": call.id})
        provider = next((one.provider or "" for one in reversed(explanation.value.attempts)), "")
    account = request.values["account"]
    calls_page = f"/accounts/{account}/calls"
    return FirstCallPage(
        title="Waiting for your first call…" if call is None else "Your first call has arrived",
        call=call,
        provider=provider,
        explained="" if call is None else request.page_or(f"{calls_page}/{call.id}", request.page_or(calls_page, "")),
        here=request.path,
    )
