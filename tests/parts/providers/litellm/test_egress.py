"""Whatever litellm and the libraries under it would do on the network, it happens over our wire or not at all."""

import asyncio
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import cast

import httpx
import pytest

from providers.litellm.egress import CURRENT, Channels, Egress, HttpxUrl
from providers.outcomes import Broken, ConnectFailed, CredentialRefused, ModelMissing
from providers.protocol import Attempt, Provider
from providers.wire import Pool, parse_origin
from tests.builders.providers import LOOPBACK, a_provider, build_provider
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.fake_vendors import Vendor
from tests.harness.litellm_loading import loaded

REGION = {"aws_region_name": "eu-west-1"}
ONE = Attempt("r", "m", texts=["one text"], asks_base64=False)


@pytest.fixture(scope="module", autouse=True)
def litellm() -> Iterator[ModuleType]:
    with loaded():
        import litellm

        yield litellm


def a_bridge(
    vendor: str,
    base_url: str | None,
    credential: str | None = "key",
    pool: Pool | None = None,
    options: Mapping[str, object] | None = None,
) -> AbstractAsyncContextManager[Provider]:
    return a_provider(
        "litellm", base_url, credential=credential, pool=pool, options={"vendor": vendor, **(options or {})}
    )


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port)).close()


def send_datagram(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", port))


WAYS_OUT: dict[str, Callable[[int], object]] = {
    "a socket": connect,
    "a name": lambda port: socket.getaddrinfo("localhost", port),
    "a datagram": send_datagram,
    "a program": lambda port: subprocess.run(["/bin/true"], check=False),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_during_a_call_nothing_of_litellms_leaves_but_over_our_wire(way: str) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream:
            egress = Egress(Channels(Pool(), LOOPBACK), asyncio.get_running_loop().time() + 5, 1000)
            token = CURRENT.set(egress)
            with pytest.raises(Broken):
                await asyncio.to_thread(WAYS_OUT[way], upstream.port)
            CURRENT.reset(token)
            assert egress.forbidden is not None
            assert egress.forbidden.detail.startswith("litellm would go around our wire: ")
            assert upstream.connections == 0
            await asyncio.to_thread(WAYS_OUT[way], upstream.port)

    asyncio.run(scenario())


def test_a_vendor_whose_bridge_uses_awss_own_client_is_refused_when_it_is_registered() -> None:
    """SageMaker goes through boto3, which knows no guard, no deadline and the machine's own credentials."""

    async def scenario() -> None:
        keys = '{"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}'
        with pytest.raises(ValueError, match=r"kind openai.*vendor bedrock"):
            async with a_bridge("sagemaker", None, keys, options=REGION):
                pass

    asyncio.run(scenario())


def test_bedrock_never_looks_for_credentials_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the environment nor at the metadata service: what is sent is what the operator registered."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHEMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-machine")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "token-of-the-machine")

    async def scenario() -> None:
        async with Vendor("titan") as vendor:
            async with a_bridge("bedrock", vendor.worker_url, None, options=REGION) as provider:
                vendor.script.append(Reply(status=401))
                with pytest.raises(CredentialRefused):
                    await provider.embed(Attempt("r", vendor.wire.model, texts=["x"]), 20.0)
            assert vendor.calls[0].headers["authorization"] == "Bearer none"
            credential, options = vendor.wire.credential, vendor.wire.options
            async with a_bridge("bedrock", vendor.worker_url, credential, options=options) as provider:
                await provider.embed(Attempt("r", vendor.wire.model, texts=["x"]), 20.0)
            assert not vendor.faults
            assert "machine" not in str(vendor.calls).lower()

    asyncio.run(scenario())


def _url(text: str) -> HttpxUrl:
    """As litellm has it; the protocol says nothing of who may set what."""
    return cast(HttpxUrl, httpx.URL(text))


def test_with_a_base_url_the_credential_goes_there_and_nowhere_else() -> None:
    async def scenario() -> None:
        async with Upstream() as here, Upstream() as there:
            channels = Channels(Pool(), LOOPBACK, (parse_origin(here.base_url, LOOPBACK),))
            assert channels.to(_url(f"{here.worker_url}/anything")).origin.port == here.port
            for other in (there.base_url, f"http://127.0.0.2:{here.port}/v1", "https://api.cohere.com/v2"):
                with pytest.raises(Broken, match=r"^$") as caught:
                    channels.to(_url(other))
                assert "another place" in caught.value.detail

    asyncio.run(scenario())


PLACES = ["10.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1", "::1", "fd00:ec2::254"]
PLACES += ["::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "fe80::1", "fc00::1", "ff02::1"]


@pytest.mark.parametrize("vendor", ["cohere", "voyage", "gemini", "jina_ai", "mistral", "openai", "bedrock"])
def test_no_vendors_name_leads_litellm_into_a_private_network(vendor: str) -> None:
    async def scenario() -> None:
        asked: list[str] = []

        async def lookup(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["1.1.1.1", PLACES[len(asked) % len(PLACES)]]

        options = {"aws_region_name": "eu-west-1"} if vendor == "bedrock" else {}
        model = "amazon.titan-embed-text-v2:0" if vendor == "bedrock" else "m"
        async with a_bridge(vendor, None, pool=Pool(lookup=lookup), options=options) as provider:
            for _ in PLACES:
                with pytest.raises(ConnectFailed) as caught:
                    await provider.embed(Attempt("r", model, texts=["x"]), 20.0)
                assert "refused" in caught.value.detail
        assert len(asked) == len(PLACES)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "model", ["voyage-3", "azure/mistral-large-latest", "cohere/command-r-08-2024", "openai/x", "voyage/v"]
)
def test_no_name_of_a_model_leads_our_credential_to_another_vendor(model: str) -> None:
    async def scenario() -> None:
        asked: list[str] = []

        async def lookup(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["10.0.0.1"]

        async with a_bridge("voyage", None, pool=Pool(lookup=lookup)) as provider:
            with pytest.raises(ConnectFailed):
                await provider.embed(Attempt("r", model, texts=["x"]), 20.0)
        assert asked == ["api.voyageai.com"]

    asyncio.run(scenario())


def test_a_model_that_is_an_address_gets_nothing_of_ours() -> None:
    async def scenario() -> None:
        async with Upstream() as elsewhere:
            types = {"query": "feature-extraction"}
            async with a_bridge("huggingface", None, "hf_canary", options={"input_types": types}) as provider:
                attempt = Attempt("r", f"{elsewhere.worker_url}/steal", texts=["x"], input_type="query")
                with pytest.raises(ModelMissing):
                    await provider.embed(attempt, 20.0)
            assert elsewhere.connections == 0

    asyncio.run(scenario())


def test_a_redirect_of_a_vendors_is_never_followed() -> None:
    async def scenario() -> None:
        async with Upstream() as elsewhere:
            for name in ("cohere", "voyage", "gemini", "titan", "jina", "mistral"):
                for status in (301, 302, 303, 307, 308):
                    async with Vendor(name) as vendor:
                        wire = vendor.wire
                        vendor.script.append(Reply(status=status, headers={"location": elsewhere.base_url}))
                        options = wire.options
                        async with a_bridge(
                            wire.vendor, vendor.vendor_url, wire.credential, options=options
                        ) as provider:
                            with pytest.raises(Broken):
                                await provider.embed(Attempt("r", wire.model, texts=["x"]), 20.0)
                        assert len(vendor.calls) == 1
            assert elsewhere.connections == 0

    asyncio.run(scenario())


def test_calls_change_nothing_in_litellm(litellm: ModuleType) -> None:
    def plain() -> dict[str, str]:
        kinds = (str, int, float, bool, list, dict, set, tuple, type(None))
        # What it has looked up once it keeps.
        return {
            name: repr(value) for name, value in vars(litellm).items() if isinstance(value, kinds) and name[:1] != "_"
        }

    async def scenario() -> None:
        for name in ("cohere", "voyage", "gemini", "titan", "jina", "mistral", "together"):
            async with Vendor(name) as vendor:
                wire = vendor.wire
                async with a_bridge(wire.vendor, vendor.vendor_url, wire.credential, options=wire.options) as provider:
                    attempt = Attempt("r", wire.model, texts=["x"])
                    await provider.embed(attempt, 20.0)
                    vendor.script.append(Reply(status=401))
                    with pytest.raises(CredentialRefused):
                        await provider.embed(attempt, 20.0)

    asyncio.run(scenario())
    before = plain()
    asyncio.run(scenario())
    assert plain() == before
    for callbacks in ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback"):
        assert getattr(litellm, callbacks) == []
    assert litellm.api_key is None
    assert not litellm.telemetry


def built(credential: str, options: dict[str, object]) -> Provider:
    return build_provider("litellm", None, credential=credential, allowed=(), options=options)


@pytest.mark.parametrize(
    "options",
    [
        {"api_base": "https://evil.example"},
        {"api_key": "x"},
        {"num_retries": 5},
        {"mock_response": "x"},
        {"extra_headers": {"x": "y"}},
        {"input_type_field": "api_base"},
        {"aws_role_name": "arn:aws:iam::1:role/x"},
        {"aws_bedrock_runtime_endpoint": "https://evil.example"},
        {"success_callback": ["langfuse"]},
        {"fallbacks": ["openai/x"]},
        {"aws_region_name": 7},
    ],
)
def test_only_listed_options_reach_litellm(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="options"):
        built("k", {"vendor": "cohere", **options})


@pytest.mark.parametrize(
    "credential",
    [
        '{"aws_access_key_id": "AKID"}',
        '{"aws_secret_access_key": "secret"}',
        '{"aws_session_token": "token"}',
        '{"aws_access_key_id": "AKID", "aws_secret_access_key": ""}',
        '{"aws_role_name": "arn:aws:iam::1:role/x"}',
        '{"api_base": "https://evil.example"}',
        '{"api_key": 7}',
        "{",
    ],
)
def test_half_a_credential_or_more_than_one_is_refused_without_being_shown(credential: str) -> None:
    with pytest.raises(ValueError, match=r"credential|given together") as caught:
        built(credential, {"vendor": "bedrock"})
    assert "secret" not in str(caught.value).replace("aws_secret_access_key", "")
