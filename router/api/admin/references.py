"""Finds what a request names, by id or by name, in the transaction that uses it."""

from collections.abc import Awaitable
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import Account, accounts_named, get_account
from catalog import models
from catalog.errors import CatalogError, ModelUnknown
from catalog.tables import ModelAliasRow, ModelRow
from catalog.values import Model
from router.api.admin.request import refusal_of
from router.errors import Conflict, NotFound, Refusal
from router.identity.key_views import KeyView, get_key, keys_named
from router.identity.members import Member, get_member, members_of_email
from router.registry.providers import ProviderView, find_provider, get_provider
from router.request.body import printable_excerpt
from store.ids import AccountId, KeyId, MemberId, ModelId, ProviderId, parse

T = TypeVar("T")
# So many faults are in one sentence; all are in the details.
NAMED_MAX = 5


class Lookups:
    """Look-ups of what one body names, whose faults are told together: ``find`` each, then ``refuse``."""

    def __init__(self) -> None:
        self._faults: list[Refusal] = []

    async def find(self, lookup: Awaitable[T], param: str | None = None) -> T | None:
        """What a look-up finds; None where it is refused. ``param`` is the field, where it is not the usual one."""
        try:
            return await lookup
        except CatalogError as refused:
            fault = refusal_of(refused)
        except (NotFound, Conflict) as refused:
            fault = refused
        fault.param = param or fault.param
        self._faults.append(fault)
        return None

    def refuse(self) -> None:
        """Raise the fault of a look-up as it is; of several, ``NotFound`` with all of them."""
        if len(self._faults) == 1:
            raise self._faults[0]
        if self._faults:
            raise NotFound(
                " ".join(fault.message for fault in self._faults[:NAMED_MAX]),
                param=self._faults[0].param,
                details={"faults": [{"param": fault.param, "message": fault.message} for fault in self._faults]},
            )


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


async def model_id_of(connection: AsyncConnection, text: str) -> ModelId:
    """The id of a model by its id or an alias, in one statement. Raises ``ModelUnknown``, naming the nearest."""
    by_alias = select(ModelAliasRow.model_id).where(ModelAliasRow.alias == text)
    found = await connection.scalar(select(ModelRow.id).where(ModelRow.id == text).union_all(by_alias).limit(1))
    return (await model_of(connection, text)).id if found is None else ModelId(found)


async def provider_of(connection: AsyncConnection, text: str, *, locked: bool = False) -> ProviderView:
    """A provider by its id or its name. Raises ``NotFound``."""
    if text.startswith("prov_"):
        return await get_provider(connection, ProviderId(parse(ProviderId, text)), locked=locked)
    found = await find_provider(connection, text)
    if found is None:
        raise NotFound(f"There is no provider {printable_excerpt(text)}.", param="provider")
    return await get_provider(connection, found.id, locked=True) if locked else found
