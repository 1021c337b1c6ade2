# ruff: noqa: SIM905 - a table of URLs reads better as words than as quoted strings
"""No provider, however its base URL or its name in DNS is spelled, leads us into a private network."""

import asyncio

import pytest

from providers.outcomes import ConnectFailed
from providers.wire import Bounds, Pool, networks, parse_origin, request
from providers.wire.connect import _dial
from providers.wire.guard import refusal
from tests.harness.addresses import EVERYTHING, METADATA_ADDRESSES, PRIVATE_ADDRESSES, PUBLIC_ADDRESSES
from tests.harness.fake_upstream import Upstream

LOOPBACK = networks(["127.0.0.0/8", "::1/128"])


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES + METADATA_ADDRESSES)
def test_a_private_address_is_refused(address: str) -> None:
    assert refusal(address, ()) is not None


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_reached(address: str) -> None:
    assert refusal(address, ()) is None


@pytest.mark.parametrize("address", METADATA_ADDRESSES)
def test_no_allowed_network_opens_a_clouds_metadata_service(address: str) -> None:
    assert refusal(address, EVERYTHING) is not None


def test_an_allowed_network_opens_itself_and_nothing_beside_it() -> None:
    allowed = networks(["10.1.0.0/16"])
    assert refusal("10.1.2.3", allowed) is None
    assert refusal("::ffff:10.1.2.3", allowed) is None
    assert refusal("10.2.0.1", allowed) is not None


# What getaddrinfo, URL parsers and people take for 127.0.0.1, for localhost, or for a place to hide one.
ODD_BASE_URLS = """
https://127.0.0.1 https://127.1 https://127.0.1 https://2130706433 https://0x7f.1 https://0x7f000001 https://0X7F.0.0.1
https://0177.0.0.1 https://017700000001 https://127.0.0.01 https://127.0.0.1. https://①②⑦.0.0.1 https://127。0。0。1
https://127.0.0.0x1 https://00000177.1 https://256.256.256.256 https://1.1.1.1.1 https://127.0.0.1%00.example.com
https://[::1] https://[::] https://[::ffff:127.0.0.1] https://[::ffff:7f00:1] https://[::127.0.0.1] https://[64:ff9b::7f00:1]
https://[2002:7f00:1::] https://[fe80::1%25eth0] https://[fe80::1%eth0] https://[::1]:443 https://0 https://0.0.0.0
https://10.0.0.1 https://169.254.169.254/latest https://[fd00:ec2::254] https://192.168.1.1:8443 https://[v1.x]
https://user@example.com https://user:password@example.com https://example.com@127.0.0.1 https://example.com:0
https://example.com:65536 https://example.com:x https://example.com? https://example.com?x=1 https://example.com#
https://example.com#x https://example.com\\@127.0.0.1 https://exa_mple..com https://-example.com https://.example.com
https://exam%70le.com https://example.com/a/../b https://example.com/.. https://example.com/a%0d%0ab"c https:// https:///x
//example.com example.com ftp://example.com file:///etc/passwd gopher://127.0.0.1 javascript:alert(1) https:example.com
""".split()
ODD_BASE_URLS += [
    "https://exam ple.com",
    "https://example.com/\r\nHost:x",
    "https://example.com\t",
    "",
    "https://a\u200bb.c\x00",
]


@pytest.mark.parametrize("base_url", ODD_BASE_URLS)
def test_an_odd_base_url_is_refused_with_a_sentence(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_origin(base_url)


def test_honest_base_urls_are_taken() -> None:
    assert parse_origin("https://API.OpenAI.com/v1/").path == "/v1"
    assert parse_origin("https://api.openai.com./v1").host == "api.openai.com"
    assert parse_origin("https://bücher.example").host == "xn--bcher-kva.example"
    assert parse_origin("https://[2606:4700::1111]:8443/x").authority == "[2606:4700::1111]:8443"
    assert parse_origin("http://127.0.0.1:8080", LOOPBACK).authority == "127.0.0.1:8080"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1"]])
def test_a_name_that_resolves_into_a_private_network_gets_no_connection(addresses: list[str], scheme: str) -> None:
    async def scenario() -> None:
        async def lookup(host: str, port: int) -> list[str]:
            return addresses

        async with Upstream() as upstream:
            pool = Pool(Bounds(connect_s=1.0), lookup=lookup)
            channel = pool.channel(parse_origin(f"{scheme}://provider.example:{upstream.port}/v1"))
            with pytest.raises(ConnectFailed) as caught:
                await channel.exchange(request(channel.origin.head("/embeddings", {}), b"{}"), 2.0, 1000)
            assert "refused" in caught.value.detail
            assert upstream.connections == 0

    asyncio.run(scenario())


def test_a_name_that_changes_its_address_is_judged_at_every_connect() -> None:
    """DNS rebinding: allowed at first, private afterwards."""

    async def scenario() -> None:
        answers = iter([["127.0.0.1"], ["10.0.0.1"]])

        async def lookup(host: str, port: int) -> list[str]:
            return next(answers)

        async with Upstream() as upstream:
            upstream.always.close = True
            pool = Pool(lookup=lookup)
            origin = parse_origin(f"http://provider.example:{upstream.port}/v1", LOOPBACK)
            channel = pool.channel(origin)
            message = request(origin.head("/embeddings", {}), b'{"model": "m", "input": ["x"]}')
            assert (await channel.exchange(message, 2.0, 100_000)).status == 200
            with pytest.raises(ConnectFailed):
                await channel.exchange(message, 2.0, 100_000)
            assert upstream.connections == 1

    asyncio.run(scenario())


def test_the_connected_address_is_judged_whatever_was_resolved() -> None:
    async def scenario() -> None:
        async with Upstream() as upstream:
            origin = parse_origin(f"https://provider.example:{upstream.port}")
            with pytest.raises(ConnectFailed, match=r"^$") as caught:
                await _dial("127.0.0.1", origin)
            assert "127.0.0.1 refused" in caught.value.detail

    asyncio.run(scenario())


def test_credentials_are_not_sent_in_clear_outside_allowed_networks() -> None:
    async def scenario() -> None:
        async def lookup(host: str, port: int) -> list[str]:
            return ["1.1.1.1"]

        channel = Pool(lookup=lookup).channel(parse_origin("http://provider.example"))
        with pytest.raises(ConnectFailed) as caught:
            await channel.exchange(b"", 2.0, 1000)
        assert "plain http" in caught.value.detail
        assert (caught.value.step, "plain http" in caught.value.refusal) == ("guard", True)

    asyncio.run(scenario())


def test_a_credential_cannot_add_a_header() -> None:
    origin = parse_origin("https://example.com")
    for value in ("x\r\nEvil: 1", "x\n", "x\x00", "", " x", "x\x7f", "é"):
        with pytest.raises(ValueError, match="Authorization"):
            origin.head("/embeddings", {"Authorization": value})


def test_a_path_cannot_end_the_request_line() -> None:
    origin = parse_origin("https://example.com/v1")
    for path in ("/a b", "/a\r\nEvil: 1", "/a\x00", "/é"):
        with pytest.raises(ValueError, match="path"):
            origin.head(path, {})
