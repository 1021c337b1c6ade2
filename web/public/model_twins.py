"""A model's page as Markdown and as JSON, for programs and for who reads without a browser.

JSON is the answer of ``GET /v1/models/{id}``, byte for byte; Markdown has the page's blocks.
"""

from collections.abc import Iterable
from datetime import UTC

import msgspec

from billing.money import to_usd
from catalog.values import Model
from catalog.verdict import Verdict
from router.registry.model_changes import ModelChange
from web.answers import File
from web.parts.numbers import percent
from web.public.model import ModelPage, ModelQuery, find, page_of
from web.public.model_blocks import Fact, Source
from web.request import PageRequest


class _Anything(msgspec.Struct, frozen=True):
    """The answer is passed on unread."""


async def show_json(request: PageRequest) -> File:
    """What the API answers of the model."""
    outcome = await request.run("retrieve_model", _Anything, path={"model_id": find(request).id})
    return File(body=outcome.body, media="application/json")


async def show_markdown(request: PageRequest) -> File:
    """The page as Markdown."""
    page = await page_of(request, find(request), ModelQuery())
    return File(body="\n".join(_lines(page)).encode(), media="text/markdown; charset=utf-8")


def _lines(page: ModelPage) -> Iterable[str]:
    model, verdict = page.model, page.verdict
    yield f"# {page.row.name}\n"
    dates = "".join(
        f", {word} {when}" for word, when in (("published", page.published), ("updated", page.updated)) if when
    )
    yield f"`{model.id}`, {page.row.status.value}{dates}\n"
    yield f"{model.summary}\n"
    yield from _facts("Figures", page.figures)
    yield from _facts("Specifications", page.specifications)
    yield from _license(verdict)
    yield from _endpoints(page)
    yield "## Call it\n"
    for snippet in page.snippets:
        yield f"### {snippet.name}\n\n```{snippet.language}\n{snippet.code}\n```\n"
    yield "## Vector identity\n"
    yield from _identity(page)
    if page.prices:
        yield "## Price history\n"
        yield from _changes(page.prices)
    yield from _benchmarks(model)
    for block in page.texts:
        yield f"## {block.title}\n"
        for text in block.paragraphs:
            if text.about:
                yield f"A statement about another model, {text.about}:\n"
            yield f"{text.body.strip()}\n\n{_source(text.source)}\n"
    yield "## FAQ\n"
    for question in page.questions:
        yield f"### {question.question}\n\n{question.answer.strip()}\n"
    if page.related:
        yield "## Related\n"
        yield from (f"- {one.id}: {one.reason}" for one in page.related)
        yield ""
    if page.changes:
        yield "## Changes of this entry\n"
        yield from _changes(page.changes)
    if page.takes_votes:
        yield "## Not yet live\n"
        votes = "1 account wants" if page.row.votes == 1 else f"{page.row.votes:,} accounts want"
        yield f"{votes} this model. `POST /v1/models/{model.id}/vote` with a key votes for it.\n"


def _license(verdict: Verdict) -> Iterable[str]:
    yield "## License\n"
    if verdict.conflict:
        yield "Sources disagree.\n"
    for claim in verdict.claims:
        yield f"- {claim.license}: {claim.source}, {claim.claimed_on.isoformat()}, <{claim.evidence}>"
    yield f"\nWhat holds: {verdict.license}. {verdict.disagreement}\n"
    for use in (*verdict.uses, verdict.charging, verdict.weights):
        answer = ("yes, with attribution" if use.attribution else "yes") if use.allowed else "no"
        yield f"- {use.what}: {answer}. {' '.join(use.reasons)} {use.lifted_by}".rstrip()
    yield ""


def _benchmarks(model: Model) -> Iterable[str]:
    if model.benchmarks:
        yield "## Benchmarks\n"
        for score in model.benchmarks:
            said = Source(score.source, score.evidence, score.stated_on)
            revision = f"revision {score.revision}" if score.revision else "revision not stated"
            measured = f"measured by {score.measured_by}, {revision}; {_source(said)}"
            yield f"- {score.name}: {score.value} ({score.unit}), {measured}"
        yield ""


def _endpoints(page: ModelPage) -> Iterable[str]:
    if not page.endpoints:
        return
    yield "## Endpoints\n"
    list_price, batch = _price(page.row.price_nano), _price(page.row.paid_batch_nano)
    for one in page.endpoints:
        available = " and ".join(
            f"{'too few calls' if share is None else percent(share)} in {span}"
            for share, span in ((one.availability_24h, "24 h"), (one.availability_30d, "30 d"))
        )
        latencies = ", ".join(
            f"{size.size} too few calls"
            if size.p50_ms is None
            else f"{size.size} {size.p50_ms:.0f} / {size.p95_ms:.0f}"
            for size in one.latencies
        )
        yield (
            f"- {one.provider} ({one.standing.value}{', ' + one.state if one.state else ''}): "
            f"{one.regions or 'region not stated'}; {list_price}, in the batch lane {batch}; "
            f"p50 / p95 in ms: {latencies}; available {available}; inputs: {one.retention}, {one.data_use}; "
            f"largest call: {one.limits or 'not stated'}; "
            f"check of its space: {one.check or 'not checked yet'}"
        )
    yield f"\n{page.figures_note}\n"


def _price(nano: int | None) -> str:
    return "not set" if nano is None else f"${to_usd(nano)} per 1M tokens"


def _identity(page: ModelPage) -> Iterable[str]:
    model = page.model
    yield f"- Space: `{model.space}`"
    yield f"- Dimensions: {model.dimensions}"
    if page.row.widths:
        yield f"- Trained widths: {', '.join(map(str, page.row.widths))}"
    yield f"- Normalized: {'yes, length 1' if model.normalized else 'no'}"
    yield f"- Pooling: {model.pooling}"
    for name, value in (("Tokenizer", model.tokenizer), ("Revision", model.revision)):
        if value:
            yield f"- {name}: `{value}`"
    yield f"- Same space as: {', '.join(page.same_space) or 'no other model here'}\n"
    for kind, prompt in page.prompts:
        yield f"Prompt of {kind}, as JSON: `{msgspec.json.encode(prompt).decode()}`\n"
    if page.prompts and "document" in model.prompts and not model.prompts["document"]:
        yield "Nothing stands before documents.\n"


def _changes(changes: Iterable[ModelChange]) -> Iterable[str]:
    yield from (f"- {one.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {one.sentence}" for one in changes)
    yield ""


def _facts(title: str, facts: Iterable[Fact]) -> Iterable[str]:
    yield f"## {title}\n"
    for fact in facts:
        said = "; ".join(filter(None, (fact.note.removesuffix("."), *map(_source, fact.sources))))
        yield f"- {fact.name}: {fact.value}" + (f" ({said})" if said else "")
    yield ""


def _source(source: Source) -> str:
    return f"source: {source.name}, {source.stated_on.isoformat()}" + (f", <{source.href}>" if source.href else "")
