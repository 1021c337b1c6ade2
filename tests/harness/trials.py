"""Trying a model without a browser: a shop with accounts and keys, and the form in front of a reader."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec

from gigarouter.settings import Settings
from router.trial.call import ApiAnswer, ApiUnreachable, SendCall
from store.ids import AccountId, KeyId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, a_member
from web.viewer import Viewer

MODEL = "tests/trial"
TEXTS = ("How long does delivery take?", "When will my parcel arrive?", "The marker quokka-7 sleeps.")
ONCE = re.compile(r'name="once" value="([^"]+)"')
MOST = re.compile(r'name="most" value="(\d+)"')


class Shop(msgspec.Struct, frozen=True):
    """An installation: its settings, its upstream, an account with two keys, and one without credit."""

    settings: Settings
    build: DatabaseBuilder
    upstream: Any
    account: AccountId
    live: KeyId
    test: KeyId
    poor: AccountId
    poor_key: KeyId

    async def rows(self, query: str, *arguments: object) -> list[Any]:
        """What Postgres answers."""
        return await asyncio.to_thread(self.build.rows, query, *arguments)

    async def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row."""
        return (await self.rows(query, *arguments))[0][0]

    async def a_key(self, **fields: Any) -> KeyId:
        """Another key of the account."""
        return (await asyncio.to_thread(self.build.a_key_and_its_id, self.account, **fields))[1]

    async def charges(self) -> list[int]:
        """What was charged to the account, call by call."""
        rows = await self.rows(
            "SELECT cost_nano FROM usage_events WHERE account_id = $1 ORDER BY request_id", self.account
        )
        return [int(row["cost_nano"]) for row in rows if row["cost_nano"]]


def reader(pages: Pages, viewer: Viewer) -> httpx.AsyncClient:
    """A client that reads as ``viewer``, at the address that these pages know themselves by."""
    client = pages.reader(viewer, f"reader-{id(viewer)}")
    client.base_url = httpx.URL(pages.context.origins.public)
    return client


class Form:
    """The form in front of a reader of ours, without a browser."""

    def __init__(self, pages: Pages, account: AccountId, viewer: Viewer | None = None) -> None:
        self.path = f"/accounts/{wire(AccountId, account)}/try"
        self.client = reader(pages, viewer or a_member(account, now=pages.now))
        self.fields: dict[str, str] = {}

    async def open(self, key: KeyId, *texts: str, model: str = MODEL) -> "Form":
        page = await self.client.get(f"{self.path}?model={model}")
        found = ONCE.search(page.text)
        assert found is not None, page.text
        self.fields = {"model": model, "once": found[1], "key_id": wire(KeyId, key), "width": "4"}
        self.type(*(texts or TEXTS))
        return self

    def type(self, *texts: str) -> None:
        self.fields |= {f"text{number}": text for number, text in enumerate(texts, 1)}

    async def cost(self) -> httpx.Response:
        answer = await self.client.post(self.path, data=self.fields | {"act": "cost"})
        found = MOST.search(answer.text)
        self.fields["most"] = found[1] if found else "0"
        return answer

    async def send(self) -> httpx.Response:
        return await self.client.post(self.path, data=self.fields | {"act": "call"}, timeout=60)


def with_send(pages: Pages, send: SendCall | None) -> Pages:
    """The same pages with another way to the API."""
    return Pages(msgspec.structs.replace(pages.context, send_call=send), pages.readers)


def losing(send: SendCall | None) -> SendCall:
    assert send is not None

    async def lose(secret: str, key: str, body: bytes) -> ApiAnswer:
        await send(secret, key, body)
        raise ApiUnreachable(may_have_run=True)

    return lose


async def wait_for(condition: Callable[[], Awaitable[Any]], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def form_page(pages: Pages, shop: Shop, model: str) -> str:
    page = await reader(pages, a_member(shop.account, now=pages.now)).get(f"/models/{model}")
    return page.text
