"""A provider is added, tested and put live without JavaScript; adding can be left and gone on with."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from pydantic import SecretStr

from gigarouter.settings import Settings
from tests.builders.database import DatabaseBuilder
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
CREDENTIAL = "sk-canary-0b1f7d3c9a5e"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(384).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def settings(build: DatabaseBuilder, secret_key: str) -> Settings:
    return Settings(
        database_url=SecretStr(build.url),
        secret_keys=[SecretStr(secret_key)],
        allowed_private_networks=[ip_network("127.0.0.0/8")],
    )


async def test_a_provider_is_added_tested_and_live(pages: Pages, upstream: Upstream) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    proposed = await ops.send(
        await ops.open("/ops/providers/new"), name="alpha", base_url=upstream.base_url, regions="eu, us"
    )
    assert "Regions none eu, us" in words_of(proposed)
    page = await ops.confirm(proposed)
    place = page.url.path
    assert "Next: Set the credential" in words_of(page)

    done = await ops.send(await ops.open(f"{place}/credential"), status=303, credential=CREDENTIAL)
    page = await ops.open(done.headers["location"])
    assert CREDENTIAL not in page.text
    assert "Credential : …9a5e" in words_of(page)
    assert "Next: Test alpha" in words_of(page)

    tested = await ops.send(await ops.open(f"{place}/test"), upstream_model=MODEL)
    assert "passed" in words_of(tested)
    assert CREDENTIAL not in tested.text

    draft = await ops.write("/ops/endpoints/new?provider=alpha", model=MODEL, cost_usd_per_mtok="0.002")
    endpoint = draft.url.path
    assert "State ◌ draft" in words_of(draft)
    # Left, and gone on with by somebody else.
    page = await Reader(pages.reader(an_operator(now=pages.now), "bob")).open(place)
    assert "our cost 0.002" in words_of(page)

    compared = await ops.send(await ops.open(f"{endpoint}/check"), as_reference="The maker's own service.")
    assert f"Put {MODEL} at alpha live" in words_of(compared)
    assert "State ◌ draft" in words_of(await ops.open(endpoint))
    live = await ops.send(compared, status=303)
    page = await ops.open(live.headers["location"])
    assert "State ● live" in words_of(page)
    assert "too few calls" in words_of(page)
    assert "alpha" in words_of(await ops.open("/ops/providers"))

    quarantined = await ops.write(f"{endpoint}/quarantine", reason="It answers in Latin.")
    assert "State ✕ quarantined It answers in Latin." in words_of(quarantined)


async def test_what_upstream_said_is_shown_as_text(pages: Pages, upstream: Upstream) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    page = await ops.write("/ops/providers/new", name="beta", base_url=upstream.base_url)
    place = page.url.path
    await ops.send(await ops.open(f"{place}/credential"), status=303, credential=CREDENTIAL)
    said = b'{"error": {"message": "<script>alert(1)</script> no such model, key ' + CREDENTIAL.encode() + b'"}}'
    upstream.script.append(Reply(status=401, body=said))
    failed = await ops.send(await ops.open(f"{place}/test"), upstream_model=MODEL)
    assert "✕ failed" in words_of(failed)
    assert "&lt;script&gt;alert(1)" in failed.text
    assert "<script>alert" not in failed.text
    assert form_of(failed).fields["upstream_model"] == MODEL
    assert CREDENTIAL not in failed.text


async def test_an_address_that_is_none_is_refused_at_its_field(pages: Pages) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    refused = await ops.send(await ops.open("/ops/providers/new"), status=400, name="gamma", base_url="ftp://x")
    assert form_of(refused).fields["base_url"] == "ftp://x"
    await ops.open("/ops/providers/prov_00000000000000000000000000000000", status=404)
    await ops.open("/ops/endpoints/none", status=404)
