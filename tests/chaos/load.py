"""The callers: concurrent calls from the seed, and what each caller saw. This is the checks' side of the story."""

import asyncio
import random
import threading
import time
from enum import StrEnum

import msgspec

from billing.credits import GrantKind, grant
from billing.money import NanoUSD
from store.ids import AccountId
from store.postgres import STORE_FAULTS, Database
from tests.harness.raw_http import Gone, Reply, leave, request_bytes, send

PATH = "/v1/embeddings"
PATIENCE_S = 12
VOCABULARY = 1_000
TOP_UP_NANO = 500
TOP_UP_EVERY_S = 1.7


class End(StrEnum):
    """How a call ended for its caller."""

    ANSWERED = "answered"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    LEFT = "left"


class Caller(msgspec.Struct, frozen=True):
    """A key to call with. ``rich`` has credit for any run.

    A poor one always has about as much as its calls in flight cost: it sends token ids, so that what is held is the
    cost to the last nano-USD and one hold that is forgotten shows as an overdraft. It may be told to pay.
    """

    name: str
    key: str
    account: AccountId
    model: str
    rich: bool

    def body(self, numbers: random.Random, text: str) -> dict[str, object]:
        """One call's body; no two look the same."""
        if self.rich:
            return {"model": self.model, "input": text + " word" * numbers.randrange(40)}
        return {"model": self.model, "input": [numbers.randrange(VOCABULARY) for _ in range(numbers.randrange(5, 60))]}


class Call(msgspec.Struct, frozen=True):
    """One call as its caller saw it. ``idempotency_key`` is set on calls that were repeated until they were told."""

    caller: Caller
    end: End
    at_s: float
    took_s: float
    port: int
    tries: int = 1
    status: int = 0
    code: str = ""
    request_id: str = ""
    tokens: int = 0
    idempotency_key: str | None = None
    message: str = ""


class Load:
    """``width`` callers at once against ``ports``, in a thread of its own, until :meth:`stop`."""

    def __init__(self, seed: int, database_url: str, callers: list[Caller], ports: list[int], width: int = 64) -> None:
        self.calls: list[Call] = []
        self._seed = seed
        self._database_url = database_url
        self._callers = callers
        self._ports = ports
        self._width = width
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._started_at = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[Call]:
        """No new calls; waits for those under way."""
        self._ending.set()
        self._thread.join()
        return self.calls

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in range(self._width):
                group.create_task(self._lane(lane, random.Random(f"{self._seed}/{lane}")))
            for caller in self._callers:
                if not caller.rich:
                    group.create_task(self._top_up(caller))

    async def _top_up(self, caller: Caller) -> None:
        """Pay in, a lump at a time. Whether a payment committed while Postgres fell is for the ledger to say."""
        db = Database(self._database_url, as_owner=True)
        number = 0
        while not self._ending.is_set():
            number += 1
            try:
                async with asyncio.timeout(2), db.transaction() as tx:
                    source = f"chaos:{caller.account.hex}:{number}"
                    amount = NanoUSD(TOP_UP_NANO)
                    await grant(tx, caller.account, amount, GrantKind.PURCHASED, source_ref=source)
            except STORE_FAULTS:
                pass
            await asyncio.sleep(TOP_UP_EVERY_S)
        await db.close()

    async def _lane(self, lane: int, numbers: random.Random) -> None:
        """One caller after another; each call's text is its own, so that no two calls look the same."""
        number = 0
        while not self._ending.is_set():
            number += 1
            caller = numbers.choice(self._callers)
            body = caller.body(numbers, f"call {self._seed}/{lane}/{number}")
            behavior = numbers.random()
            if behavior < 0.10:
                self.calls.append(await self._leave(caller, body, numbers))
            elif behavior < 0.35:
                name = f"idem-{self._seed}-{lane}-{number}"
                self.calls.append(await self._insist(caller, body, name, numbers))
            else:
                self.calls.append(await self._ask(caller, body, numbers.choice(self._ports)))
            await asyncio.sleep(numbers.uniform(0.0, 0.08))

    async def _leave(self, caller: Caller, body: object, numbers: random.Random) -> Call:
        """Go away at some byte of the request, or some time after it."""
        request, port, started = request_bytes(PATH, caller.key, body), numbers.choice(self._ports), time.monotonic()
        whole = numbers.random() < 0.8
        after_bytes = None if whole else numbers.randrange(len(request))
        await leave(port, request, after_bytes=after_bytes, after_s=numbers.choice((0, 0.001, 0.005, 0.02, 0.08)))
        return self._call(caller, End.LEFT, started, port)

    async def _ask(self, caller: Caller, body: object, port: int, idempotency_key: str | None = None) -> Call:
        headers = {"idempotency-key": idempotency_key} if idempotency_key else None
        started = time.monotonic()
        try:
            reply = await send(port, request_bytes(PATH, caller.key, body, headers), timeout_s=PATIENCE_S)
        except Gone as gone:
            call = self._call(caller, End.UNKNOWN, started, port)
            return msgspec.structs.replace(call, message=str(gone), idempotency_key=idempotency_key)
        call = self._call(caller, End.ANSWERED if reply.status == 200 else End.REFUSED, started, port)
        return msgspec.structs.replace(call, idempotency_key=idempotency_key, **_seen(reply))

    async def _insist(self, caller: Caller, body: object, name: str, numbers: random.Random) -> Call:
        """Repeat with the same Idempotency-Key, at any process, until the outcome is known."""
        give_up_at = time.monotonic() + 2 * PATIENCE_S
        tries = 0
        while True:
            tries += 1
            call = await self._ask(caller, body, numbers.choice(self._ports), name)
            known = call.end is End.ANSWERED or (call.end is End.REFUSED and call.status < 500 and call.status != 409)
            if known or time.monotonic() > give_up_at:
                return msgspec.structs.replace(call, tries=tries)
            await asyncio.sleep(0.2)

    def _call(self, caller: Caller, end: End, started: float, port: int) -> Call:
        now = time.monotonic()
        return Call(caller, end, round(started - self._started_at, 3), round(now - started, 3), port)


def _seen(reply: Reply) -> dict[str, object]:
    seen: dict[str, object] = {"status": reply.status, "request_id": reply.headers.get("x-request-id", "")}
    if reply.status == 200:
        return seen | {"tokens": reply.json["usage"]["total_tokens"]}
    error = reply.json["error"]
    return seen | {"code": error["code"] or error["type"], "message": error["message"]}
