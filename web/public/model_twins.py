"""A model's page as Markdown and as JSON, for programs and for who reads without a browser.

JSON is the answer of ``GET /v1/models/{id}``, byte for byte; Markdown has the page's blocks.
"""

from collections.abc import Iterable

import msgspec

from billing.money import to_usd
from web.answers import File
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
    yield "## License\n"
    if verdict.conflict:
        yield "Sources disagree.\n"
    for claim in verdict.claims:
        yield f"- {claim.license}: {claim.source}, {claim.claimed_on.isoformat()}, <{claim.evidence}>"
    yield f"\nWhat holds: {verdict.license}. {verdict.disagreement}\n"
    for use in (*verdict.uses, verdict.charging, verdict.weights):
        yield f"- {use.what}: {'yes' if use.allowed else 'no'}. {' '.join(use.reasons)} {use.lifted_by}".rstrip()
    yield ""
    if page.endpoints:
        yield "## Endpoints\n"
        for one in page.endpoints:
            price = "not set" if page.row.price_nano is None else f"${to_usd(page.row.price_nano)} per 1M tokens"
            yield f"- {one.provider} ({one.standing.value}): {one.regions or 'region not stated'}, {price}"
        yield f"\n{page.figures_note}\n"
    yield "## Call it\n"
    for snippet in page.snippets:
        yield f"### {snippet.name}\n\n```{snippet.language}\n{snippet.code}\n```\n"
    yield "## Vector identity\n"
    yield f"Space `{model.space}`, {model.dimensions} dimensions.\n"
    for kind, prompt in page.prompts:
        yield f"Prompt of {kind}, as JSON: `{msgspec.json.encode(prompt).decode()}`\n"
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


def _facts(title: str, facts: Iterable[Fact]) -> Iterable[str]:
    yield f"## {title}\n"
    for fact in facts:
        said = "; ".join(filter(None, (fact.note, *map(_source, fact.sources))))
        yield f"- {fact.name}: {fact.value}" + (f" ({said})" if said else "")
    yield ""


def _source(source: Source) -> str:
    return f"source: {source.name}, {source.stated_on.isoformat()}" + (f", <{source.href}>" if source.href else "")
