"""``/v1/me/identities``: other services, such as GitHub, that sign a person in; linking one is signing in with it."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.fields import Instant, OutsideIdentityIdText
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import Operations, Who
from router.api.public.person_request import PersonRead, PersonWrite
from router.changes.transaction import UnitOfWork
from router.identity.people.outside import Link, list_links, unlink
from router.identity.scopes import Scope
from store.ids import OutsideIdentityId, wire

operations = Operations("own-identities", "/v1/me/identities", tag="You", one="own-identity", who=Who.PERSON)


class OwnIdentity(Answer):
    """A service that signs the person in."""

    columns: ClassVar[tuple[str, ...]] = ("id", "issuer", "email", "last_used_at", "object")

    id: OutsideIdentityIdText
    issuer: str = Field(description="The service's address.")
    email: str = Field(description="What the service says that the person's address is.")
    last_used_at: Instant | None
    object: Literal["own_identity"] = "own_identity"


@operations.get("", verb="list", scope=Scope.PERSON_READ, summary="List services that sign you in")
async def list_(request: PersonRead, query: Annotated[PageQuery, Query()]) -> Page[OwnIdentity]:
    """The services by which you sign in, the first linked first."""

    async def ask(connection: AsyncConnection) -> list[OwnIdentity]:
        found = await list_links(connection, request.person.person_id)
        return [_out(one) for one in query.cut(found, lambda one: wire(OutsideIdentityId, one.id))]

    return request.page(query, await request.read(ask), lambda one: wire(OutsideIdentityId, one.id))


@operations.delete("/{identity_id}", verb="remove", scope=Scope.PERSON_WRITE, summary="Unlink a service")
async def remove(request: PersonWrite, identity_id: OutsideIdentityIdText) -> OwnIdentity:
    """End that a service signs you in."""

    async def command(work: UnitOfWork) -> OwnIdentity:
        return _out(await unlink(work, request.person.person_id, identity_id))

    return await request.change(command)


def _out(link: Link) -> OwnIdentity:
    return answer_of(OwnIdentity, link)
