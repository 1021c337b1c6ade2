"""Addresses and networks: read strictly, the same however they are written, and believed of none but a known proxy."""

import pytest

from router.errors import InvalidRequest, NetworkNotAllowed
from router.identity.key_networks import canonical_networks, require_network
from router.networks import client_address, has_address, network_of, parse_network, ranges_of

PROXIES = (parse_network("10.0.0.0/24"), parse_network("198.51.100.9"))


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        (" 203.0.113.0/24 ", "203.0.113.0/24"),
        ("2001:DB8:0::/48", "2001:db8::/48"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_has_one_form(text: str, usual: str) -> None:
    assert str(parse_network(text)) == usual


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/24", "203.0.113.7/24", "203.0.113.0/", "203.0.113.0/33", "203.0.113.0/255.255.255.0", "203.0.113"),
        *("203.0.113.0/-1", "203.0.113.0/+8", "203.0.113.0/٨", "٢٠٣.0.113.0/24", "010.0.0.0/8", "203.0.113.0/24/8"),
        *(
            "fe80::1%eth0",
            "2001:db8::/129",
            "2001:db8::1/64",
            "example.com",
            "[2001:db8::1]",
            "1" * 70,
            "203.0.113.0 /24",
        ),
        *("0x10.0.0.0/8", "3405803776", "203.0.113.0/24\0"),
    ],
)
def test_what_may_be_meant_otherwise_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"(?s).*"):
        parse_network(text)
    with pytest.raises(InvalidRequest):
        canonical_networks([text])


def test_a_key_has_few_networks_each_once() -> None:
    assert canonical_networks(["203.0.113.7", "::ffff:203.0.113.7/128", "203.0.113.7/32"]) == ("203.0.113.7/32",)
    assert len(canonical_networks(f"10.0.{i}.0/24" for i in range(20))) == 20
    with pytest.raises(InvalidRequest, match="at most 20 networks; these are 21"):
        canonical_networks(f"10.0.{i}.0/24" for i in range(21))


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        *(("203.0.113.0", True), ("203.0.113.255", True), ("203.0.112.255", False), ("203.0.114.0", False)),
        *(("::ffff:203.0.113.9", True), ("203.0.113.9:51544", True), ("[2001:db8::9]:443", True)),
        *(("2001:db8::", True), ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", True), ("2001:db8:1::", False)),
        # The number of an address says nothing without its version.
        *(("::cb00:7109", False), ("", False), (None, False), ("unknown", False), ("203.0.113.9, 10.0.0.1", False)),
    ],
)
def test_an_address_is_in_a_network_however_it_is_written(address: str | None, is_in: bool) -> None:
    networks = ranges_of(map(parse_network, ("203.0.113.0/24", "2001:db8::/48")))
    assert has_address(networks, address) is is_in


def test_a_refusal_names_the_callers_network_and_none_of_the_keys() -> None:
    networks = ranges_of([parse_network("203.0.113.0/28")])
    require_network((), lambda: pytest.fail("nobody needs the address"))
    require_network(networks, lambda: "203.0.113.7")
    with pytest.raises(NetworkNotAllowed) as refused:
        require_network(networks, lambda: "198.51.100.77")
    assert "the network 198.51.100.0/24" in refused.value.message
    assert "203.0.113" not in refused.value.message
    assert refused.value.details == {"address": "198.51.100.77"}
    with pytest.raises(NetworkNotAllowed, match="an address that cannot be read"):
        require_network(networks, lambda: None)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", "192.0.2.1", "203.0.113.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        # The client wrote the first of these itself.
        ("10.0.0.1", "192.0.2.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "192.0.2.1, 203.0.113.7,198.51.100.9", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7:4711", "203.0.113.7:4711"),
        # In a private network, but none of the proxies.
        ("10.0.1.1", "192.0.2.1", "10.0.1.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.1.1", "10.0.1.1"),
        ("10.0.0.1", "192.0.2.1, nobody", "nobody"),
        (None, "192.0.2.1", None),
    ],
)
def test_a_client_is_whom_the_last_proxy_saw_that_is_ours(peer: str | None, forwarded: str, client: str | None) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_a_list_of_proxies_a_private_peer_is_one() -> None:
    assert client_address("10.9.0.1", "192.0.2.1, 203.0.113.7", None) == "203.0.113.7"
    assert client_address("127.0.0.1", "10.0.0.1, 10.0.0.2", None) == "10.0.0.2"
    assert client_address("93.184.215.14", "192.0.2.1", None) == "93.184.215.14"
    assert client_address("10.9.0.1", "192.0.2.1", ()) == "10.9.0.1", "an empty list believes nobody"


def test_a_network_stands_for_an_address_in_lists() -> None:
    assert str(network_of("203.0.113.77")) == "203.0.113.0/24"
    assert str(network_of("::ffff:203.0.113.77")) == "203.0.113.0/24"
    assert str(network_of("2001:db8:1:2::3")) == "2001:db8:1::/48"
    assert str(network_of("2001:db8:1:2ff::3", v6_prefix=56)) == "2001:db8:1:200::/56"
    assert network_of("") is None
