"""The page of one model, one template for announced, live, deprecated and retired ones: no block stands empty."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from catalog.values import Model, Status
from catalog.verdict import KeyVerdict, Verdict, verdict_of, verdicts_of_keys
from router.api.in_process import OperationRefused
from router.catalogue.comparison import AT_MOST
from router.catalogue.cost import Cost, Storage, cost_of, storage_of
from router.catalogue.readers import ReaderAccount, read_accounts
from router.catalogue.related import Relative, family_of, relatives_of, same_space
from router.catalogue.values import CatalogueRow, Standing
from router.registry.model_changes import ChangeKind, ModelChange, list_model_changes
from router.statistics.snapshot import StatisticsSnapshot
from store.ids import AccountId, ModelId, wire
from web.answers import Answer, Crumb, Page, Redirect
from web.faults import InvalidInput, PageFault
from web.fields import shown
from web.parts.tables import Column, address
from web.parts.times import second
from web.parts.trial import TrialBlock, trial_block
from web.public.linked_data import LinkedData, linked_data
from web.public.model_blocks import Block, Fact, Question, figures, month, questions, specifications, texts
from web.public.model_endpoints import EndpointLine, endpoint_lines
from web.public.models import listing_of
from web.public.snippets import Snippet, snippets_for
from web.request import PageRequest
from web.route import BUILDERS

CLAIMS_HEAD = tuple(map(Column, ("License", "Source", "Link", "Read on", "Now")))
ENDPOINTS_HEAD = (
    *(Column("Provider"), Column("Status"), Column("Region"), Column("Price", "per 1M tokens", is_number=True)),
    *(Column("Batch", "per 1M tokens", is_number=True), Column("Latency", "ms, p50 / p95")),
    *(Column("Available", "24 h", is_number=True), Column("Available", "30 d", is_number=True)),
    *(Column("Keeps inputs"), Column("Largest call"), Column("Check of its space")),
)
STORAGE_HEAD = (Column("Width"), Column("float32", is_number=True), Column("int8", is_number=True))
NOTICES = {
    Status.DEPRECATED: "It is deprecated: it is served on, and its customers are asked to leave it.",
    Status.RETIRED: "It is retired: it is served no longer. Vectors that were made with it stay as they are.",
}
Amount = Annotated[int, Meta(ge=0, le=10**15)]


class ModelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the address says: the reader's numbers for the calculator, and what was done a moment ago."""

    tokens: Amount = 50_000_000
    documents: Amount = 100_000
    each: Amount = 500
    vectors: Amount = 1_000_000
    done: str = ""


class Costs(msgspec.Struct, frozen=True):
    """What the reader's numbers come to. ``is_estimate``: by a price that is not in force."""

    month: Cost
    corpus: Cost
    storages: tuple[Storage, ...]
    is_estimate: bool


class VoteAccount(msgspec.Struct, frozen=True):
    """An account of the reader, whether it has voted, and whether it gets a mail at launch."""

    id: str
    name: str
    has_voted: bool
    is_mailed: bool


class Typed(msgspec.Struct, frozen=True):
    """What was typed as evidence, where it was refused."""

    text: str = ""
    link: str = ""


class ModelPage(Page, frozen=True, kw_only=True):
    """All blocks. ``prompts`` are those that are not empty; ``key_verdicts`` are the reader's keys."""

    template: ClassVar[str] = "public/model.html"

    query: ModelQuery
    model: Model
    row: CatalogueRow
    notice: str
    published: str
    updated: str
    figures: tuple[Fact, ...]
    specifications: tuple[Fact, ...]
    verdict: Verdict
    key_verdicts: tuple[KeyVerdict, ...]
    key_shown: str
    endpoints: tuple[EndpointLine, ...]
    figures_note: str
    snippets: tuple[Snippet, ...]
    base_url: str
    prompts: tuple[tuple[str, str], ...]
    same_space: tuple[ModelId, ...]
    costs: Costs
    prices: tuple[ModelChange, ...]
    texts: tuple[Block, ...]
    questions: tuple[Question, ...]
    related: tuple[Relative, ...]
    compare_href: str
    changes: tuple[ModelChange, ...]
    takes_votes: bool
    is_retired: bool
    voters: tuple[VoteAccount, ...]
    linked_data: LinkedData
    trial: TrialBlock
    claims_head: tuple[Column, ...] = CLAIMS_HEAD
    endpoints_head: tuple[Column, ...] = ENDPOINTS_HEAD
    storage_head: tuple[Column, ...] = STORAGE_HEAD
    note_fault: str = ""
    typed: Typed = Typed()


async def show(request: PageRequest) -> Answer:
    """The page of the model that the path names."""
    model = find(request)
    return await page_of(request, model, request.query_as(ModelQuery))


async def show_alias(request: PageRequest) -> Answer:
    """An alias leads to the model's page."""
    model = request.context.reads.catalog.get(request.values["alias"])
    if model is None:
        raise _unknown(request, request.values["alias"])
    return Redirect(to=f"/models/{model.id}", status=302)


def find(request: PageRequest) -> Model:
    """The model of the path. Raises a fault that names the nearest ones."""
    values = request.values
    wanted = values["model"] if "model" in values else f"{values['owner']}/{values['name']}"
    model = request.context.reads.catalog.get(wanted)
    if model is None:
        raise _unknown(request, wanted)
    return model


def _unknown(request: PageRequest, name: str) -> PageFault:
    nearest = request.context.reads.catalog.nearest(name)
    remedy = f"Did you mean {' or '.join(nearest)}?" if nearest else "The list of models has those that there are."
    return PageFault(404, "model_not_found", f"There is no model {shown(name)} in the catalogue.", remedy=remedy)


async def page_of(
    request: PageRequest, model: Model, query: ModelQuery, *, status: int = 200, note_fault: str = ""
) -> ModelPage:
    """The page of a model; ``note_fault``: what is wrong with what was posted to it."""
    context, now = request.context.reads, request.exchange.now
    listing = await listing_of(request)
    statistics = await context.statistics.known(context.db)
    row = next(one for one in listing.rows if one.id == model.id)
    members = {one.account_id: one.account_name for one in request.viewer.memberships if one.role in BUILDERS}
    async with context.db.transaction() as connection:
        changes = await list_model_changes(connection, model_id=model.id)
        readers = await read_accounts(connection, model.id, members)
    verdict = verdict_of(model, now)
    related = relatives_of(model, context.catalog.all())
    prices = tuple(change for change in changes if change.kind is ChangeKind.PRICE)
    return ModelPage(
        title=row.name,
        status=status,
        description=model.summary,
        canonical=f"/models/{model.id}",
        crumbs=(
            Crumb("Models", "/models"),
            Crumb(f"{model.task}s", "/models"),
            Crumb(model.owned_by, f"/models?owner={model.owned_by}"),
            Crumb(row.name),
        ),
        query=query,
        model=model,
        row=row,
        notice=NOTICES.get(model.status, ""),
        published=month(model.published_on),
        updated=month(model.updated_on),
        figures=figures(model, row, verdict),
        specifications=specifications(model),
        verdict=verdict,
        key_verdicts=tuple(one for reader in readers for one in verdicts_of_keys(model, reader.keys, now)),
        key_shown=next((shown for reader in readers for shown in reader.shown), ""),
        endpoints=endpoint_lines(context.endpoints.of_model(model), statistics),
        figures_note=_figures_note(statistics, request),
        snippets=snippets_for(model.id),
        base_url=f"{request.context.api_url}/v1",
        prompts=tuple((kind, text) for kind, text in sorted(model.prompts.items(), reverse=True) if text),
        same_space=same_space(model, context.catalog.all()),
        costs=_costs(model, row, query),
        prices=prices,
        texts=texts(model),
        questions=questions(model, row, verdict),
        related=related,
        compare_href=_compare_href(model, related),
        changes=tuple(changes),
        takes_votes=model.status is Status.COMING_SOON,
        is_retired=model.status is Status.RETIRED,
        voters=_voters(readers, members),
        linked_data=linked_data(model, row, verdict, request.context.origins.public),
        trial=await trial_block(request, model, is_cold=row.status is Standing.COLD),
        note_fault=note_fault,
        typed=Typed(request.typed("text"), request.typed("link")),
    )


def _compare_href(model: Model, related: tuple[Relative, ...]) -> str:
    """All of them side by side, where there are few; else the family in the catalogue, whose rows can be ticked."""
    if len(related) < AT_MOST:
        return address("/compare", tuple(("m", one) for one in (model.id, *(other.id for other in related))))
    return address("/models", (("owner", model.owned_by), ("q", family_of(model).partition("/")[2]), ("sort", "size")))


def _figures_note(statistics: StatisticsSnapshot | None, request: PageRequest) -> str:
    if statistics is None or statistics.state.as_of is None:
        return "No figures are known yet."
    late = ", which is late" if statistics.state.is_late(request.exchange.now) else ""
    return f"Figures as of {second(statistics.state.as_of, request.viewer.zone)}{late}."


def _costs(model: Model, row: CatalogueRow, query: ModelQuery) -> Costs:
    storages = storage_of(query.vectors, (*row.widths, model.dimensions))
    price = row.shown_nano
    return Costs(
        cost_of(query.tokens, price, row.batch_nano),
        cost_of(query.documents * query.each, price, row.batch_nano),
        storages,
        row.is_estimate,
    )


def _voters(readers: list[ReaderAccount], names: Mapping[AccountId, str]) -> tuple[VoteAccount, ...]:
    return tuple(VoteAccount(wire(AccountId, one.id), names[one.id], one.has_voted, one.is_mailed) for one in readers)


class PostedForm(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted for one account: a vote, a mail at launch, what takes them back, or evidence about the license."""

    act: str
    note: str = ""
    mail_at_launch: bool = False
    text: str = ""
    link: str = ""


class _Chosen(msgspec.Struct, frozen=True):
    """How many addresses the mail would go to."""

    addresses: int


class _Anything(msgspec.Struct, frozen=True):
    """What an operation answers, where the page shows nothing of it."""


async def act(request: PageRequest) -> Answer:
    """Vote, choose a mail at launch, take them back, or send evidence, as a member of the path's account."""
    model, form = find(request), request.form_as(PostedForm)
    path, done = {"model_id": model.id}, form.act
    try:
        match form.act:
            case "vote":
                await request.run(
                    "vote_for_model",
                    _Anything,
                    path=path,
                    body={"note": form.note, "mail_at_launch": form.mail_at_launch},
                )
            case "withdraw":
                await request.run("withdraw_vote", _Anything, path=path)
            case "mail":
                chosen = await request.run("choose_launch_mail", _Chosen, path=path)
                done = "mail" if chosen.value.addresses else "mail-unread"
            case "no-mail":
                await request.run("withdraw_launch_mail", _Anything, path=path)
            case "evidence":
                body = {"text": form.text, "link": form.link}
                await request.run("send_license_evidence", _Anything, path=path, body=body)
            case _:
                raise InvalidInput("This form does nothing that is known.", "act")
    except OperationRefused as refused:
        sentence = " ".join(fault.message for fault in refused.faults)
        return await page_of(request, model, ModelQuery(), status=refused.status, note_fault=sentence)
    return Redirect(to=f"/models/{model.id}?done={done}#{'license' if form.act == 'evidence' else 'vote'}")
