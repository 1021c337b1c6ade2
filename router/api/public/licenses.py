"""``/v1/licenses/{id}``: what a license permits as this product understands it, and an account's yes to its text."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import record
from catalog.record import Acceptance
from catalog.terms import Terms, all_terms, find, normalize
from catalog.values import Use
from router.admin.licenses import accept_license
from router.api.fields import AcceptanceIdText, AccountIdText, Instant, text_of
from router.api.forms import Answer, Body, Page, PageQuery, Resource, answer_of
from router.api.operation import Operations, Who
from router.api.public.account_request import AccountRead, AccountWrite
from router.api.public.request import VisitorPaging
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.identity.members import get_member
from router.identity.principals import MemberPrincipal
from router.identity.scopes import ANY_SCOPE, Scope
from router.request.body import printable_excerpt
from store.ids import AcceptanceId, wire

operations = Operations("licenses", "/v1/licenses", tag="Licenses", who=Who.VISITOR)
acceptances = Operations("acceptances", "/v1/acceptances", tag="Licenses", who=Who.MANAGER)
ONE = "/{license}"


class LicenseTermsOut(Answer):
    """A license's terms as this product understands them when it serves a model. Not legal advice."""

    columns: ClassVar[tuple[str, ...]] = ("id", "name", "uses", "charging", "text_version", "url")

    id: str
    name: str
    url: str
    uses: list[Use] = Field(description="What the answers may be used for.")
    charging: bool = Field(description="Money may be asked for serving it.")
    derivatives: bool = Field(description="Changed weights may be served under the model's name.")
    attribution: bool = Field(description="The author has to be named.")
    share_alike: bool = Field(description="What is derived carries the same license.")
    regions_denied: list[str] = Field(description="Countries, or EU, in which it grants nothing.")
    conditions: list[str] = Field(description="What else it says, for people.")
    text_version: str | None = Field(
        description="The version of the text that an account accepts before its keys may use a model; null: none."
    )
    object: Literal["license"] = "license"


class OwnAcceptanceOut(Resource):
    """The account's yes to a text as it was then."""

    columns: ClassVar[tuple[str, ...]] = ("id", "license", "text_version", "accepted_by", "accepted_at")

    id: AcceptanceIdText
    account: AccountIdText
    text: str = Field(description="The license and the version in one.")
    license: str
    text_version: str
    accepted_by: str
    accepted_at: Instant
    object: Literal["acceptance"] = "acceptance"


class AcceptanceStateOut(Answer):
    """Whether the account has accepted a license's text as it is now."""

    license: str
    text_version: str | None = Field(description="The text as it is now; null: nothing has to be accepted.")
    accepted: bool
    acceptance: OwnAcceptanceOut | None
    object: Literal["acceptance_state"] = "acceptance_state"


class OwnAcceptanceCreate(Body):
    """The account's yes."""

    text_version: str = Field(description="The version that was read, as GET /v1/licenses/{id} has it.")
    accepted_by: Annotated[str, text_of(200)] | None = Field(
        None,
        description="Who says yes for the account, such as an e-mail address. Needed with a management key; a member's "
        "own address is taken.",
    )


@operations.get("", verb="list", name="list_licenses", summary="List licenses")
async def list_licenses(request: VisitorPaging, query: Annotated[PageQuery, Query()]) -> Page[LicenseTermsOut]:
    """All licenses that are known, with their terms as this product understands them. A key is not needed."""
    rows = [_terms_out(terms) for terms in query.cut(list(all_terms().values()), lambda terms: terms.id)]
    return request.paging.page(query, rows, lambda row: row.id)


@operations.get(ONE, verb="show", name="retrieve_license", summary="Retrieve a license")
async def retrieve_license(license: str) -> LicenseTermsOut:
    """One license's terms, by its id or another spelling. A key is not needed."""
    return _terms_out(_terms(license))


@operations.get(
    f"{ONE}/acceptance",
    verb="show-acceptance",
    name="retrieve_own_acceptance",
    summary="Is a license accepted?",
    scope=ANY_SCOPE,
    who=Who.MANAGER,
)
async def retrieve(request: AccountRead, license: str) -> AcceptanceStateOut:
    """Whether the account has accepted the text as it is now, who did it and when."""
    terms = _terms(license)

    async def ask(connection: AsyncConnection) -> AcceptanceStateOut:
        found = await record.acceptances(connection, account_id=request.account_id)
        own = next((one for one in found if one.text == terms.acceptance_token), None)
        return AcceptanceStateOut(
            license=terms.id,
            text_version=terms.acceptance,
            accepted=own is not None,
            acceptance=None if own is None else _out(own),
        )

    return await request.read(ask)


@operations.post(
    f"{ONE}/acceptance",
    verb="accept",
    name="accept_license",
    summary="Accept a license",
    scope=Scope.KEYS_WRITE,
    who=Who.MANAGER,
)
async def accept(request: AccountWrite, license: str, body: OwnAcceptanceCreate) -> OwnAcceptanceOut:
    """Say yes to a license's text for the account. All of its keys may then use what needed it, within a second."""
    terms = _terms(license)
    if terms.acceptance is None:
        raise InvalidRequest(f"{terms.id} needs no acceptance.", param="license")
    if body.text_version != terms.acceptance:
        raise Conflict(
            f"The text of {terms.id} is now of version {terms.acceptance}. Read it, and accept that version.",
            param="text_version",
        )

    async def command(work: UnitOfWork) -> OwnAcceptanceOut:
        who = await _accepted_by(request, work.connection, body)
        return _out(await accept_license(work, request.account_id, terms.id, accepted_by=who))

    return await request.change(command)


@acceptances.get("", verb="list", name="list_own_acceptances", summary="List acceptances", scope=ANY_SCOPE)
async def list_(request: AccountRead, query: Annotated[PageQuery, Query()]) -> Page[OwnAcceptanceOut]:
    """The license texts that the account accepted, the oldest first."""
    known = query.after_id(AcceptanceId)
    after = None if known is None else AcceptanceId(known)

    async def ask(connection: AsyncConnection) -> list[OwnAcceptanceOut]:
        own = request.account_id
        found = await record.acceptances(connection, account_id=own, after=after, limit=query.limit + 1)
        return [_out(row) for row in found]

    return request.page(query, await request.read(ask), lambda row: wire(AcceptanceId, row.id))


async def _accepted_by(request: AccountWrite, connection: AsyncConnection, body: OwnAcceptanceCreate) -> str:
    """A member is the member, whatever the body says; a management key says who."""
    principal = request.principal
    if isinstance(principal, MemberPrincipal):
        return (await get_member(connection, principal.member_id)).email
    if body.accepted_by is None:
        raise InvalidRequest("'accepted_by' is missing: name the person who says yes.", param="accepted_by")
    return body.accepted_by


def _terms(license: str) -> Terms:
    terms = find(normalize(license))
    if terms is None:
        raise NotFound(f"There is no license {printable_excerpt(license)} that is known here.", param="license")
    return terms


def _terms_out(terms: Terms) -> LicenseTermsOut:
    return LicenseTermsOut(
        id=terms.id,
        name=terms.name,
        url=terms.url,
        uses=[use for use in Use if use in terms.uses],
        charging=terms.charging,
        derivatives=terms.derivatives,
        attribution=terms.attribution,
        share_alike=terms.share_alike,
        regions_denied=sorted(terms.regions_denied),
        conditions=list(terms.conditions),
        text_version=terms.acceptance,
    )


def _out(row: Acceptance) -> OwnAcceptanceOut:
    return answer_of(OwnAcceptanceOut, row, account=row.account_id)
