"""Reads the networks of a key as its form has them, one a line, and warns a reader whom they would exclude. Pure."""

from router.networks import has_address, parse_address, parse_network, ranges_of


def network_lines(typed: str) -> list[str]:
    """The networks of a text with one a line."""
    return typed.replace(",", " ").split()


def network_names(networks: list[str]) -> dict[str, str]:
    """The form's name of what an operation refuses of each network, by the operation's."""
    return {f"networks[{place}]": "networks" for place in range(len(networks))}


def excludes(networks: list[str], client: str) -> bool:
    """Whether a key with these networks could not be used from where the reader is."""
    if not networks or parse_address(client) is None:
        return False
    try:
        ranges = ranges_of(map(parse_network, networks))
    except ValueError:
        return False  # The operation says what is wrong with them.
    return not has_address(ranges, client)


def exclusion(typed: str, seen: str, client: str) -> str:
    """What to tell a reader before a key gets networks that exclude them; empty where they have ``seen`` it, or none.

    Their session goes on: it is the key's calls from where they are that are refused.
    """
    networks = network_lines(typed)
    if networks == network_lines(seen) or not excludes(networks, client):
        return ""
    return (
        f"Not saved yet: your address now, {client}, is in none of these networks, so calls from here with this key "
        "will be refused. Add it, or send the form again as it is."
    )
