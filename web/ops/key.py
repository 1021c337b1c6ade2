"""Shows one key of an account to operators: what it may do, from which networks, and how it was used last."""

from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import ClassVar

import msgspec
from typing_extensions import override

from router.api.in_process import OperationRefused, Outcome
from web.answers import Crumb, Page
from web.faults import NotFound
from web.forms import ConfirmPage
from web.ops.account import ACCOUNTS
from web.ops.write import OPERATIONS, Field, Json, Write
from web.request import PageRequest

ONE = "/ops/keys/{key}"
REASON = Field(name="reason", label="Reason", kind="area", hint="For whoever looks next; the audit has it.")
ELSEWHERE = "It was used last from {network}, which is in none of these networks: whoever called from there is refused."


class LastUse(msgspec.Struct, frozen=True):
    """When it was used last, and from where, as far as that is known."""

    at: datetime
    network: str | None
    client: str | None


class Cap(msgspec.Struct, frozen=True):
    """The most that it may spend in a period."""

    period: str
    amount_usd: str
    left_usd: str


class Key(msgspec.Struct, frozen=True):
    """A key as the operation answers it."""

    id: str
    account: str
    name: str
    shown_as: str
    state: str
    use: str
    is_test: bool
    models: list[str]
    networks: list[str]
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int
    caps: list[Cap]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_use: LastUse | None


class KeyPage(Page, frozen=True, kw_only=True):
    """A key. ``is_elsewhere``: it was used last from a network that it may not be used from now."""

    template: ClassVar[str] = "ops/key.html"

    key: Key
    is_elsewhere: bool
    is_done: bool = False


class DoneQuery(msgspec.Struct, frozen=True):
    """``done``: a write was carried out a moment ago."""

    done: bool = False


async def show(request: PageRequest) -> KeyPage:
    """A key with its networks."""
    query = request.query_as(DoneQuery)
    try:
        key = (await request.run("retrieve_key", Key, path={"key_id": request.values["key"]})).value
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise
    title = key.name or key.shown_as
    return KeyPage(
        title=title,
        crumbs=(OPERATIONS, ACCOUNTS, Crumb(key.account, f"/ops/accounts/{key.account}"), Crumb(title)),
        key=key,
        is_elsewhere=is_elsewhere(key.networks, None if key.last_use is None else key.last_use.network),
        is_done=query.done,
    )


def is_elsewhere(networks: Iterable[str], used_from: str | None) -> bool:
    """Whether a network has no address in common with any of these; false where all are allowed, or none is known."""
    allowed = [ip_network(network) for network in networks]
    if not allowed or used_from is None:
        return False
    used = ip_network(used_from, strict=False)
    return not any(_overlap(used, one) for one in allowed)


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    ours, theirs = ((int(network[0]), int(network[-1])) for network in (one, other))
    return one.version == other.version and ours[0] <= theirs[1] and theirs[0] <= ours[1]


class NetworksWrite(Write, frozen=True, kw_only=True):
    """Says of new networks whether they exclude from where the key was used last."""

    @override
    async def _confirmation(self, request: PageRequest, before: Json, after: Outcome[Json]) -> ConfirmPage:
        page = await Write._confirmation(self, request, before, after)
        used_from = (after.value["last_use"] or {}).get("network")
        if not is_elsewhere(after.value["networks"], used_from):
            return page
        return msgspec.structs.replace(page, notes=(*page.notes, ELSEWHERE.format(network=used_from)))


NETWORKS = NetworksWrite(
    operation="edit_key",
    verb="Set the networks of",
    explanation="From which networks the key may be used, from the next call on. Its owners see the same.",
    values={"key_id": "key"},
    reads="retrieve_key",
    fields=(
        Field(
            name="networks",
            label="Networks",
            kind="list",
            hint="Such as 203.0.113.0/24, 2001:db8::/48, with commas between; empty: every one.",
            is_empty_sent=True,
        ),
        REASON,
    ),
    names={"networks": "Networks"},
    back=ONE,
    crumbs=(OPERATIONS, ACCOUNTS, Crumb("Key")),
)


def _move(action: str, verb: str, explanation: str, *, is_dangerous: bool = False) -> Write:
    return Write(
        operation=f"{action}_key",
        verb=verb,
        explanation=explanation,
        values={"key_id": "key"},
        reads="retrieve_key",
        fields=(REASON,),
        names={"name": "Key", "shown_as": "Shown as", "state": "State"},
        back=ONE,
        crumbs=(OPERATIONS, ACCOUNTS, Crumb("Key")),
        is_dangerous=is_dangerous,
    )


# By what the path calls them.
MOVES = {
    "pause": _move("pause", "Pause", "Its calls are refused within a second, until it is resumed."),
    "resume": _move("resume", "Resume", "Its calls are answered again within a second."),
    "revoke": _move("revoke", "Revoke", "It ends for good within a second; owners are mailed.", is_dangerous=True),
}
