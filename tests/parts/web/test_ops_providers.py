"""A provider is added, tested and put live without JavaScript; adding can be left and gone on with."""

import json
from collections.abc import Iterator
from importlib.metadata import version
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


async def added(ops: Reader, name: str, **fields: str) -> str:
    """The page of a provider that was registered."""
    return str((await ops.write("/ops/providers/new", name=name, **fields)).url.path)


async def test_models_are_found_with_proposed_facts_and_registered_by_choice(pages: Pages, upstream: Upstream) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    place = await added(ops, "delta", base_url=upstream.base_url)
    listed = [
        {"id": MODEL, "object": "model", "dimensions": 512, "pricing": {"prompt": "0.00000002"}},
        {"id": "chat", "type": "chat"},
        {"id": "acme/new<i>", "type": "embedding"},
        {"id": "acme/new-embed", "type": "embedding", "max_model_len": 4096, "context_length": "many"},
    ]
    body = json.dumps({"object": "list", "data": listed}).encode()
    upstream.script += [Reply(body=body)] * 3
    upstream.calls.clear()
    found = await ops.send(await ops.open(f"{place}/models"))
    assert [(call.method, call.path) for call in upstream.calls] == [("GET", "/v1/models")]
    seen = words_of(found)
    assert "1 that make no vectors are left out" in seen
    assert f"{MODEL} by id" in seen
    assert f"the provider's list says 512 dimensions, and {MODEL} has 384: it may be another model." in seen
    assert "0.02 the provider's list" in seen
    assert (
        "acme/new-embed not in the catalogue could be acme/new-embed none unknown unknown 4096 the provider's list"
        in seen
    )
    assert "acme/new&lt;i&gt;" in found.text
    assert "Models ◌ to do" not in words_of(await ops.open(place))
    assert "0 registered" in words_of(await ops.open(place))

    chosen = await ops.send(found, choose=[MODEL, "acme/new-embed"])
    form = form_of(chosen)
    assert form.fields["cost_usd_per_mtok-0"] == "0.02"
    assert "dimensions-0" not in form.fields
    assert form.fields["dimensions-1"] == ""
    unknown = await ops.send(chosen, status=404)
    assert form_of(unknown).fields["model-1"] == "acme/new-embed"
    assert "aria-invalid" in unknown.text
    proposed = await ops.send(unknown, 200, **{"dimensions-1": "768"})
    assert "acme/new-embed none a draft of acme/new-embed, new in the catalogue, cost not known" in words_of(proposed)
    page = await ops.confirm(proposed)
    assert "2 registered" in words_of(page)
    # Left, and gone on with by somebody else: what was registered is marked, and its price comes next.
    bob = Reader(pages.reader(an_operator(now=pages.now), "bob"))
    again = words_of(await bob.send(await bob.open(f"{place}/models"), name="NEW-embed"))
    assert "✓ done acme/new-embed acme/new-embed by its endpoint here draft" in again
    assert MODEL not in again
    assert "price not set; 2 models have no price" in words_of(await bob.open(place))


async def test_a_provider_without_a_list_says_what_would_help(pages: Pages, upstream: Upstream) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    place = await added(ops, "epsilon", base_url=upstream.base_url)
    upstream.script += [Reply(status=404, body=b"<b>no such page</b>"), Reply(body=b'{"data": 1}')]
    for _ in range(2):
        failed = await ops.send(await ops.open(f"{place}/models"))
        assert "✕ failed" in words_of(failed)
        assert "set the option models_path" in words_of(failed)
    nowhere = await added(ops, "zeta", base_url="http://127.0.0.1:1/v1")
    assert "Nothing listens at 127.0.0.1:1" in words_of(await ops.send(await ops.open(f"{nowhere}/models")))


async def test_a_vendor_of_litellms_is_looked_up_in_its_price_map(pages: Pages) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    refused = await ops.send(await ops.open("/ops/providers/new"), status=400, name="cohere", kind="litellm")
    assert "vendor" in words_of(refused)
    place = await added(ops, "cohere", kind="litellm", options="vendor=cohere")
    assert form_of(await ops.open(f"{place}/edit")).fields["options"] == "vendor=cohere"
    found = words_of(await ops.send(await ops.open(f"{place}/models"), name="embed-v4"))
    release = version("litellm")
    assert "embed-v4.0 cohere/embed-v4.0 by alias none 0.12 LiteLLM" in found
    assert f"LiteLLM {release}'s price map" in found
