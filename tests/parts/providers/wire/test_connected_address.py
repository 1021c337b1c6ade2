"""The address that a socket is really connected to is judged, whatever a URL said and a name resolved to."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from providers.outcomes import ConnectFailed
from providers.protocol import Attempt
from providers.wire import Bounds, Channel, Pool, networks, parse_origin, request
from providers.wire import connect as wire_connect
from providers.wire.connect import _dial
from tests.builders.providers import a_provider
from tests.harness.addresses import EVERYTHING, METADATA_ADDRESSES, PRIVATE_ADDRESSES, PUBLIC_ADDRESSES
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.litellm_loading import loaded

PUBLIC = parse_origin("https://provider.example")


class Connected:
    """A socket that got somewhere else than it was sent, as behind a translator of addresses."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.closed = False

    def getpeername(self) -> tuple[str, int]:
        return self.peer, 443

    def close(self) -> None:
        self.closed = True

    def setblocking(self, flag: bool) -> None:
        pass

    def setsockopt(self, *_: int) -> None:
        pass


def dial(sock: Connected, monkeypatch: pytest.MonkeyPatch) -> object:
    async def scenario() -> object:
        async def sock_connect(*_: object) -> None:
            pass

        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect, raising=False)
        names = {
            name: getattr(socket, name) for name in ("AF_INET", "AF_INET6", "SOCK_STREAM", "IPPROTO_TCP", "TCP_NODELAY")
        }
        monkeypatch.setattr(wire_connect, "socket", SimpleNamespace(socket=lambda *_: sock, **names))
        return await _dial("1.1.1.1", PUBLIC)

    return asyncio.run(scenario())


def test_a_socket_that_ended_up_in_a_private_network_is_closed_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in PRIVATE_ADDRESSES + METADATA_ADDRESSES:
        sock = Connected(address)
        with pytest.raises(ConnectFailed, match=r"^$") as caught:
            dial(sock, monkeypatch)
        assert "refused" in caught.value.detail, address
        assert sock.closed, address


def test_a_socket_that_ended_up_in_public_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in PUBLIC_ADDRESSES:
        assert dial(Connected(address), monkeypatch), address


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.10", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:7f00:1", "::", "::1"]
)
def test_every_spelling_that_the_kernel_takes_for_this_machine_is_refused(address: str) -> None:
    async def scenario() -> None:
        host = "::1" if address in ("::", "::1") else "0.0.0.0"
        upstream = Upstream(host=host)
        try:
            await upstream.start()
        except OSError:
            pytest.skip("this machine has no IPv6")
        origin = parse_origin(f"https://provider.example:{upstream.port}")
        with pytest.raises(ConnectFailed) as caught:
            await _dial(address, origin)
        assert "refused: it is" in caught.value.detail
        assert not upstream.calls
        await upstream.stop()

    asyncio.run(scenario())


def test_a_name_of_this_machine_is_refused_by_the_systems_own_resolver() -> None:
    async def scenario() -> None:
        channel = Pool(Bounds(connect_s=5.0)).channel(parse_origin("https://localhost:9"))
        with pytest.raises(ConnectFailed) as caught:
            await ask(channel)
        assert "refused: it is" in caught.value.detail

    asyncio.run(scenario())


async def ask(channel: Channel) -> int:
    return (await channel.exchange(request(channel.origin.head("/embeddings", {}), b"{}"), 10.0, 1000)).status


def test_an_allowed_network_is_not_opened_by_an_address_that_only_embeds_it() -> None:
    """6to4, Teredo and IPv4-compatible addresses lead through somebody else's relay."""

    async def scenario() -> None:
        for address in ("2002:a00:1::1", "2001:0:a00:1::", "::10.0.0.1", "64:ff9b:1::a00:1", "fe80::5efe:10.0.0.1"):

            async def lookup(host: str, port: int, address: str = address) -> list[str]:
                return [address]

            origin = parse_origin("https://provider.example", networks(["10.0.0.0/8"]))
            with pytest.raises(ConnectFailed) as caught:
                await ask(Pool(lookup=lookup).channel(origin))
            assert "refused" in caught.value.detail

    asyncio.run(scenario())


REDIRECTS = ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:{port}/v1/embeddings", "//127.0.0.1:{port}/"]
REDIRECTS += ["http://[::ffff:a9fe:a9fe]/", "/v1/embeddings", "https://0x7f.1/", "file:///etc/passwd"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["openai", "worker", "litellm"])
def test_no_kind_follows_a_redirect_whatever_networks_are_open(kind: str, status: int) -> None:
    async def scenario() -> None:
        options = {"vendor": "openai"} if kind == "litellm" else {}
        async with (
            Upstream() as upstream,
            Upstream() as elsewhere,
            a_provider(kind, upstream.base_url, credential="secret", allowed=EVERYTHING, options=options) as provider,
        ):
            for number, location in enumerate(REDIRECTS, start=1):
                upstream.script.append(Reply(status=status, headers={"location": location.format(port=elsewhere.port)}))
                with pytest.raises(Exception, match=r"^$") as caught:
                    await provider.embed(Attempt("r", "m", texts=["x"]), 20.0)
                assert type(caught.value).__name__ == "Broken"
                assert len(upstream.calls) == number
            assert elsewhere.connections == 0

    if kind == "litellm":
        with loaded():
            asyncio.run(scenario())
    else:
        asyncio.run(scenario())


def test_new_api_and_librechat_an_ipv4_address_in_ipv6_clothes_is_the_address_that_it_is() -> None:
    """GHSA-w5r7-4f94-vp4c and new-api: filters compared texts, and 169.254.169.254 is not in ``::ffff:a9fe:a9fe``."""
    for host in (
        "[::ffff:a9fe:a9fe]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
    ):
        with pytest.raises(ValueError, match="metadata"):
            parse_origin(f"https://{host}/v1", EVERYTHING)
