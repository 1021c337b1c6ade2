"""Finds what a request names, by id or by name, in the transaction that uses it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import Account, accounts_named, get_account
from catalog import models
from catalog.errors import ModelUnknown
from catalog.values import Model
from router.errors import Conflict, NotFound
from router.identity.key_commands import KeyView, get_key, keys_named
from router.identity.members import Member, get_member, members_of_email
from router.registry.providers import ProviderView, find_provider, get_provider
from router.request.body import printable_excerpt
from store.ids import AccountId, KeyId, MemberId, ProviderId, parse


async def account_of(connection: AsyncConnection, text: str) -> Account:
    """An account by its id or its name. Raises ``NotFound``, ``Conflict`` where several have the name."""
    if text.startswith("acct_"):
        account = await get_account(connection, AccountId(parse(AccountId, text)))
        found = [] if account is None else [account]
    else:
        found = await accounts_named(connection, text)
    if not found:
        raise NotFound(f"There is no account {printable_excerpt(text)}.", param="account")
    if len(found) > 1:
        raise Conflict(
            f"{len(found)} accounts are called {printable_excerpt(text)}: name one by its id.", param="account"
        )
    return found[0]


async def key_of(connection: AsyncConnection, text: str) -> KeyView:
    """A key by its id or its name. Raises ``NotFound``, ``Conflict`` where several have the name."""
    if text.startswith("key_"):
        return await get_key(connection, KeyId(parse(KeyId, text)))
    found = await keys_named(connection, text)
    if not found:
        raise NotFound(f"There is no key {printable_excerpt(text)}.", param="key")
    if len(found) > 1:
        raise Conflict(f"{len(found)} keys are called {printable_excerpt(text)}: name one by its id.", param="key")
    return found[0]


async def member_of(connection: AsyncConnection, text: str, *, locked: bool = False) -> Member:
    """A person by id or e-mail address. Raises ``NotFound``, ``Conflict`` for one who is in several accounts."""
    if text.startswith("mem_"):
        return await get_member(connection, MemberId(parse(MemberId, text)), locked=locked)
    found = await members_of_email(connection, text)
    if not found:
        raise NotFound(f"There is no member {printable_excerpt(text)}.", param="member")
    if len(found) > 1:
        excerpt = printable_excerpt(text)
        raise Conflict(f"{excerpt} is a member of several accounts: name the member by its id.", param="member")
    return await get_member(connection, found[0].id, locked=True) if locked else found[0]


async def model_of(connection: AsyncConnection, text: str, *, locked: bool = False) -> Model:
    """A model by its id or an alias. Raises ``ModelUnknown``, naming the nearest."""
    by_id = await models.load_models(connection, text)
    if by_id:
        found = by_id[0]
    else:
        catalog = await models.load(connection)
        by_alias = catalog.get(text)
        if by_alias is None:
            raise ModelUnknown(text, catalog.nearest(text))
        found = by_alias
    if not locked:
        return found
    await models.lock(connection, found.id)
    return await models.get(connection, found.id)


async def provider_of(connection: AsyncConnection, text: str, *, locked: bool = False) -> ProviderView:
    """A provider by its id or its name. Raises ``NotFound``."""
    if text.startswith("prov_"):
        return await get_provider(connection, ProviderId(parse(ProviderId, text)), locked=locked)
    found = await find_provider(connection, text)
    if found is None:
        raise NotFound(f"There is no provider {printable_excerpt(text)}.", param="provider")
    return await get_provider(connection, found.id, locked=True) if locked else found
