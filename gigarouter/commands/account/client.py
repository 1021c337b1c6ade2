"""Calls a customer's API by URL and key: of the environment, else of `gigarouter login`."""

import httpx
import msgspec
from typing_extensions import override

from gigarouter import settings
from gigarouter.commands.account.profile import Profile, read_profile
from gigarouter.commands.admin.client import Call, Client, RemoteClient, Reply
from gigarouter.commands.admin.generate import USAGE, fail
from gigarouter.ports import reachable
from store.ids import new_id


class AccountClient(RemoteClient):
    """The customers' API at an address."""

    @override
    def send(self, call: Call) -> Reply:
        """See :class:`RemoteClient`. Every write has an Idempotency-Key: those that move money want one."""
        if call.method != "GET" and call.idempotency_key is None:
            call = msgspec.structs.replace(call, idempotency_key=str(new_id()))
        return super().send(call)

    @override
    async def _checked(self, http: httpx.AsyncClient, reply: Reply) -> Reply:
        return reply


def address(profile: Profile | None) -> str:
    """Where the API is: of the environment, else where one logged in, else on this machine."""
    loaded = settings.load()
    if loaded.api_url is None and profile is not None:
        return profile.url
    return loaded.api_url or f"http://{reachable(loaded.host)}:{loaded.port}"


def client() -> Client:
    """The API with the key that is meant. Ends the command where there is none."""
    loaded, profile = settings.load(), read_profile()
    if loaded.api_key is not None:
        return AccountClient(address(None), loaded.api_key.get_secret_value())
    if profile is None:
        fail("`gigarouter login` gets a key for this; or GIGAROUTER_API_KEY has one, gr_mgmt_… or gr_live_….", USAGE)
    return AccountClient(address(profile), profile.key)
