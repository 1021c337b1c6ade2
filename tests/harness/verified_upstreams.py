"""Upstreams for verification: their vectors leave the space, they wait until they may answer, they say who they are."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
from typing_extensions import override

from providers.worker_client.identity import WorkerBuild, WorkerIdentity
from router.verification.report import VerificationReport
from tests.harness.fake_upstream import Received, Reply, Upstream, embeddings_answer, tokens_of

WIDTH = 32
REASON = "the maker's own service"
IDENTITY = WorkerIdentity(
    model="tests/model",
    revision="e04d1a04",
    space="model:1",
    weights_sha256="0" * 64,
    dimensions=WIDTH,
    pooling=("mean",),
    normalized=True,
    prompts={},
    build=WorkerBuild(dtype="float32"),
)


class NamedWorker(Upstream):
    """Says of itself what the catalogue of these tests does."""

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if received.path == "/info":
            return super()._bytes(received, Reply(body=msgspec.json.encode(IDENTITY)))
        return super()._bytes(received, reply)


class Shifted(Upstream):
    """Answers for another text than was sent, once ``shift`` is set."""

    shift = False

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if self.shift and reply == Reply():
            body = received.json
            assert isinstance(body["input"], list)
            body["input"] = ["x" + str(one) for one in body["input"]]
            received = Received(received.method, received.path, received.headers, json.dumps(body).encode(), ("", 0))
        return super()._bytes(received, reply)


class Gated(Shifted):
    """Answers nothing while its gate is shut."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.gate = threading.Event()
        self.gate.set()

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        assert self.gate.wait(30)
        return super()._bytes(received, reply)

    async def between(
        self, verification: Awaitable[VerificationReport], change: Callable[[], Awaitable[object]]
    ) -> VerificationReport:
        """The report of a verification during which ``change`` happens: after it has sent and before it is answered."""
        self.gate.clear()
        calls = len(self.calls)
        task = asyncio.ensure_future(verification)
        await self.is_called(calls)
        await change()
        self.gate.set()
        return await task

    async def is_called(self, before: int) -> None:
        """Returns once there are more calls than ``before``."""
        for _ in range(3000):
            if len(self.calls) > before:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody called it")


Rewrite = Callable[[list[str], int], list[str]]


class Impostor(Upstream):
    """Answers for other texts than were sent: ``rewrite`` gets the texts and how many calls are under way.

    Its usage is that of what was sent, ``times`` of texts from ``from_tokens`` on; special tokens are counted.
    """

    def __init__(self, rewrite: Rewrite, *, times: int = 1, from_tokens: int = 0) -> None:
        super().__init__(WIDTH)
        self.rewrite = rewrite
        self.times = times
        self.from_tokens = from_tokens
        self.is_honest = False

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if reply.status is not None or reply.body is not None:
            return super()._bytes(received, reply)
        body = received.json
        texts = [str(one) for one in cast("list[str]", body["input"])]
        changed = texts if self.is_honest else self.rewrite(texts, self.in_flight)
        answer = embeddings_answer({**body, "input": changed}, self.dimensions)
        counts = [tokens_of(text) + 2 for text in texts]
        tokens = sum(count * (self.times if count >= self.from_tokens else 1) for count in counts)
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return super()._bytes(received, Reply(body=json.dumps(answer).encode(), delay_s=reply.delay_s))


def each(change: Callable[[str], str]) -> Rewrite:
    """Every text changed by itself."""
    return lambda texts, _: [change(text) for text in texts]


def first_tokens(tokens: int) -> Rewrite:
    """Texts are read up to so many tokens, two special ones among them."""
    return each(lambda text: text.encode()[: 4 * (tokens - 2)].decode(errors="ignore"))


def cached_by_beginning(characters: int) -> Rewrite:
    """A cache whose key is the beginning of a text."""
    cache: dict[str, str] = {}
    return each(lambda text: cache.setdefault(text[:characters], text))


def known_alone(known: frozenset[str]) -> Rewrite:
    """Right for what can be known beforehand."""
    return each(lambda text: text if text in known else f"{text}?")


def shifted_from(rows: int) -> Rewrite:
    """In batches of so many texts, each answer in its neighbor's place."""
    return lambda texts, _: [*texts[1:], texts[0]] if len(texts) >= rows else texts


def repeated_from(rows: int) -> Rewrite:
    """Behind so many texts of a batch, the last answer again and again."""
    return lambda texts, _: [*texts[:rows], *(texts[rows - 1] for _ in texts[rows:])]


def confused_under_load(texts: list[str], in_flight: int) -> list[str]:
    """While others are answered as well, the first two texts change places."""
    return [texts[1], texts[0], *texts[2:]] if in_flight > 1 and len(texts) > 1 else texts
