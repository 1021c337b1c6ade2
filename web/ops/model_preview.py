"""Makes of what a dry run answers the blocks that the public page would have: by its own functions and macros."""

from datetime import datetime
from typing import Any, Final

import msgspec

from billing.money import from_usd
from catalog.values import Estimate, Model, ModelFacts, Status
from catalog.verdict import verdict_of
from router.catalogue.rows import row_of
from router.catalogue.values import CatalogueRow
from store.ids import ModelId
from web.public.model import NOTICES
from web.public.model_blocks import Block, Fact, Question, figures, month, questions, specifications, texts
from web.request import PageRequest

Json = dict[str, Any]
# The blocks of a page that facts are on.
HEAD: Final = frozenset({"headline", "figures", "specifications", "identity"})


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """A model's page as it would be; ``blocks`` are those to be shown, a text's by the id of its section."""

    blocks: frozenset[str]
    model: Model
    row: CatalogueRow
    published: str
    updated: str
    figures: tuple[Fact, ...]
    specifications: tuple[Fact, ...]
    texts: tuple[Block, ...]
    questions: tuple[Question, ...]
    notice: str


async def preview_of(request: PageRequest, answer: Json, blocks: frozenset[str]) -> Preview:
    """The blocks of a model as an operation answers it."""
    reads, now = request.context.reads, request.exchange.now
    model = model_in(answer, reads.catalog.get(answer["id"]))
    row = row_of(model, reads.prices, reads.endpoints, await reads.statistics.known(reads.db), now)
    return make_preview(model, row, now, blocks)


def make_preview(model: Model, row: CatalogueRow, now: datetime, blocks: frozenset[str]) -> Preview:
    """The same of a model and its row. Pure."""
    verdict = verdict_of(model, now)
    return Preview(
        blocks=blocks,
        model=model,
        row=row,
        published=month(model.published_on),
        updated=month(model.updated_on),
        figures=figures(model, row, verdict),
        specifications=specifications(model),
        texts=tuple(block for block in texts(model) if block.id in blocks),
        notice=NOTICES.get(model.status, ""),
        questions=tuple(one for one in questions(model, row, verdict) if one.source is not None),
    )


def model_in(answer: Json, known: Model | None) -> Model:
    """The model that an operation answers; its license record is that of ``known``. Pure."""
    facts = {name: answer[name] for name in ModelFacts.__struct_fields__ if name != "estimate"}
    record = (
        {} if known is None else {name: getattr(known, name) for name in ("claims", "waivers", "resolution", "votes")}
    )
    typed = msgspec.convert(facts, ModelFacts)
    return Model(
        **{name: getattr(typed, name) for name in ModelFacts.__struct_fields__ if name != "estimate"},
        **record,
        estimate=_estimate(answer["estimate"]),
        status=Status(answer["status"]),
        space=answer["space"],
        successor=None if answer["successor"] is None else ModelId(answer["successor"]),
    )


def _estimate(stated: Json | None) -> Estimate | None:
    if stated is None:
        return None
    others = {name: value for name, value in stated.items() if name != "usd_per_mtok"}
    return msgspec.convert(others | {"nano_per_mtok": from_usd(stated["usd_per_mtok"])}, Estimate)
