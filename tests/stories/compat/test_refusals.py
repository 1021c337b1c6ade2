"""OpenAI's own clients repeat a refused call where waiting cures it, and only there; the server counts the requests."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from store.embedded import Embedded
from tests.builders.database import WIDE
from tests.builders.texts import exact_tokens
from tests.harness.customer_program import NEWEST_NPM
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

MODEL, BEREFT, SMALL = "tests/refusals", "tests/bereft", "tests/small-quota"
# 400 bytes, which are guessed to be 100 tokens and are 400.
HOSTILE = "Q#7!" * 100
TOKENS = 400
_COUNT = re.compile(r'gigarouter_requests_total\{code="(\w*)",operation="/v1/embeddings",status="(\d+)"\} (\d+)')


@pytest.fixture(scope="module")
def refusing_upstream() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        running.count = exact_tokens
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, refusing_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("refusals"), module_database_url, servers.redis_url, jobs=False)
    database = product.database
    database.an_endpoint(database.a_model(MODEL), refusing_upstream.base_url, name="well")
    small = database.a_model(SMALL)
    database.an_endpoint(small, refusing_upstream.base_url, name="small", max_batch=1, requests_per_minute=2)
    database.a_model(BEREFT)
    with product:
        yield product


@pytest.fixture
def shop(product: Product, refusing_upstream: Upstream) -> "Shop":
    refusing_upstream.always = Scripted()
    return Shop(product)


class Shop:
    """Makes keys, calls with OpenAI's client, and counts what arrived."""

    def __init__(self, product: Product) -> None:
        self.product = product

    def key(self, credit: int = 1_000_000_000, *, cap: Cap | None = None, **limits: int) -> str:
        account = self.product.database.an_account(credit)
        narrow = msgspec.structs.replace(WIDE, **limits)
        return self.product.wait_until_known(self.product.database.a_key(account, limits=narrow, cap=cap))

    def embed(self, key: str, text: str | list[str], model: str = MODEL) -> int:
        """The tokens that were billed; the client may send the call three times."""
        with openai.OpenAI(base_url=self.product.url, api_key=key, max_retries=2) as client:
            return client.embeddings.create(model=model, input=text).usage.total_tokens

    def counted(self, call: Callable[[], Any]) -> tuple[list[str], Any]:
        """The outcomes that the server counted during a call, and what the call gave or raised."""
        before, outcome = self._outcomes(), None
        try:
            outcome = call()
        except openai.APIStatusError as error:
            outcome = error
        after = self._outcomes()
        return sorted(name for name in after for _ in range(after[name] - before.get(name, 0))), outcome

    def _outcomes(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.product.serves[0].admin_url}/metrics", timeout=30) as answer:
            found = _COUNT.findall(answer.read().decode())
        return {f"{status} {code}".strip(): int(count) for code, status, count in found}


def _cap(period: CapPeriod) -> dict[str, Any]:
    return {"cap": Cap(NanoUSD(100), period)}


# What the key is, what is sent, to which model; the one outcome, and numbers of its sentence.
REFUSED_ONCE: list[tuple[str, dict[str, Any], str | list[str], str, str, list[str]]] = [
    ("above TPM", {"tokens_per_minute": 50}, HOSTILE, MODEL, "400 above_tokens_per_minute", ["100", "50"]),
    ("out of credit", {"credit": 300}, HOSTILE, MODEL, "402 credit_exhausted", ["0.0000003"]),
    ("no credit", {"credit": 0}, "hello", MODEL, "402 credit_exhausted", ["0.00"]),
    ("cap in total", _cap(CapPeriod.TOTAL), HOSTILE, MODEL, "403 key_budget_exhausted", ["0.0000001"]),
    ("cap per month", _cap(CapPeriod.MONTH), HOSTILE, MODEL, "403 key_budget_exhausted", ["0.0000001"]),
    ("nobody serves", {}, "hello", BEREFT, "503 no_provider_available", []),
    ("provider's quota", {}, ["hello"] * 60, SMALL, "400 above_provider_quota", ["1740 s"]),
]


@pytest.mark.parametrize(("key", "text", "model", "outcome", "numbers"), [row[1:] for row in REFUSED_ONCE])
def test_what_no_wait_cures_is_sent_once(
    shop: Shop, key: dict[str, Any], text: str | list[str], model: str, outcome: str, numbers: list[str]
) -> None:
    secret = shop.key(**key)
    outcomes, error = shop.counted(lambda: shop.embed(secret, text, model))
    assert outcomes == [outcome]
    assert not [name for name in error.response.headers if name.startswith("retry-after")]
    assert all(number in error.message for number in numbers), error.message


def test_a_key_that_cannot_pay_learns_so_before_it_waits_for_a_limit(shop: Shop) -> None:
    secret = shop.key(500, requests_per_minute=1)
    assert shop.embed(secret, HOSTILE) == TOKENS
    outcomes, _ = shop.counted(lambda: shop.embed(secret, HOSTILE))
    assert outcomes == ["402 credit_exhausted"]


def test_a_used_up_minute_is_waited_for_and_then_the_call_succeeds(shop: Shop) -> None:
    secret = shop.key(tokens_per_minute=TOKENS)
    assert shop.embed(secret, HOSTILE) == TOKENS
    began = time.monotonic()
    outcomes, billed = shop.counted(lambda: shop.embed(secret, HOSTILE[:20]))
    assert (sorted(set(outcomes)), billed) == (["200", "429 rate_limited_tokens"], 20)
    # A token is back after 0.15 s.
    assert time.monotonic() - began < 30


def test_calls_at_once_are_waited_for(shop: Shop, refusing_upstream: Upstream) -> None:
    secret = shop.key(concurrency=1)
    refusing_upstream.script.append(Scripted(delay_s=0.7))
    slow = threading.Thread(target=shop.embed, args=(secret, "slow"))
    slow.start()
    time.sleep(0.3)
    outcomes, _ = shop.counted(lambda: shop.embed(secret, "hello"))
    slow.join()
    assert outcomes == ["200", "200", "429 concurrency_limited"]


def test_a_wait_that_is_longer_than_clients_wait_is_told_and_not_tried(shop: Shop) -> None:
    secret = shop.key(tokens_per_minute=100)
    assert shop.embed(secret, HOSTILE) == TOKENS
    outcomes, error = shop.counted(lambda: shop.embed(secret, "hello"))
    assert outcomes == ["429 rate_limited_tokens"]
    assert 170 < int(error.response.headers["retry-after"]) <= 181
    assert error.response.headers["x-ratelimit-remaining-tokens"] == "0"


@pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")
def test_the_npm_package_repeats_the_same(shop: Shop, pytestconfig: pytest.Config) -> None:
    cache = pytestconfig.cache
    assert cache is not None
    folder = Path(cache.mkdir("compat")) / NEWEST_NPM.replace("@", "-npm-")
    if not (folder / "node_modules" / "openai").exists():
        folder.mkdir(exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), NEWEST_NPM]
        subprocess.run(install, check=True, capture_output=True, timeout=240)
    rated, indebted = shop.key(tokens_per_minute=100), shop.key(tokens_per_minute=100)
    # Ten tokens by a guess: they are back after 6 s, which Node needs to start on a busy machine.
    text = HOSTILE[:40]
    above, broke = shop.key(tokens_per_minute=3), shop.key(0)
    capped = shop.key(cap=Cap(NanoUSD(1), CapPeriod.DAY))
    keys = [rated, indebted, above, broke, capped]
    calls = [part for key in keys for part in (key, MODEL)] + [rated, BEREFT]
    assert (shop.embed(indebted, HOSTILE), shop.embed(rated, HOSTILE[:100])) == (TOKENS, 100)
    program = ["node", str(Path(__file__).parent / "openai_refusals.mjs"), str(folder), shop.product.url, text, *calls]
    outcomes, printed = shop.counted(
        lambda: json.loads(subprocess.run(program, check=True, capture_output=True, timeout=60).stdout)
    )
    refused = ["429 rate_limited_tokens", "400 above_tokens_per_minute", "402 credit_exhausted"]
    refused += ["403 key_budget_exhausted", "503 no_provider_available"]
    assert printed == ["answered", *refused]
    assert outcomes == sorted(["200", "429 rate_limited_tokens", *refused]), "the first is repeated once, no other is"
