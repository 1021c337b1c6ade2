"""Finds the models of a provider: asks for its list, shows what is proposed, and registers those that are chosen.

Nothing is stored before the last step: the list is asked for anew when models are chosen, and what was registered is
marked in it, so that this can be left at any step and gone on with by anybody.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Crumb, Page, Redirect
from web.forms import ONCE, Change, ConfirmPage, Form, hidden_fields, is_confirmed
from web.ops.check import Step, Upstream
from web.ops.provider import read_provider
from web.ops.providers import PROVIDERS, Provider
from web.ops.write import OPERATIONS
from web.parts.curl import curl
from web.parts.tables import Column
from web.request import PageRequest

SHOWN_MAX, CHOSEN_MAX = 200, 25
HEAD = (
    Column("Register"),
    Column("Its name there"),
    Column("Model"),
    Column("Endpoint"),
    Column("Our cost", "USD per 1M tokens", is_number=True),
    Column("Dimensions", is_number=True),
    Column("Input limit", "tokens", is_number=True),
)
STEPS_HEAD = (Column("Step"), Column("Result"), Column("What was said"))
# The fields of one chosen model, by the operation's names.
UPSTREAM, MODEL, COST, WIDTH, LENGTH = "upstream_model", "model", "cost_usd_per_mtok", "dimensions", "max_input_tokens"
FIELDS = (UPSTREAM, MODEL, COST, WIDTH, LENGTH)


class Found(msgspec.Struct, frozen=True):
    """A model at the provider, as the operation answers it."""

    upstream_model: str
    model: str | None
    matched_by: str
    new_model: str | None
    endpoint: str | None
    state: str | None
    is_embedding: bool | None
    cost_usd_per_mtok: str | None
    cost_source: str
    dimensions: int | None
    dimensions_source: str
    max_input_tokens: int | None
    max_input_tokens_source: str
    notes: list[str]


class Discovery(msgspec.Struct, frozen=True):
    """The provider's list, or why there is none."""

    passed: bool
    reason: str
    advice: str
    steps: list[Step]
    upstream: Upstream | None
    source: str
    models: list[Found]
    others: int
    more: int


class Added(msgspec.Struct, frozen=True):
    """A draft that was registered, or would be."""

    model: str
    upstream_model: str
    cost_usd_per_mtok: str
    is_new_model: bool


class AddedAnswer(msgspec.Struct, frozen=True):
    """All that were registered, or would be."""

    endpoints: list[Added]


class ChosenRow(msgspec.Struct, frozen=True):
    """A chosen model's fields: ``number`` is in their names; ``is_new``: the catalogue lacks it."""

    number: int
    upstream_model: str
    is_new: bool


class FoundPage(Page, frozen=True, kw_only=True):
    """The form, the list where it was asked for, or the fields of those chosen."""

    template: ClassVar[str] = "ops/found_models.html"

    provider: Provider
    form: Form
    curl: str
    discovery: Discovery | None = None
    models: tuple[Found, ...] = ()
    left_out: int = 0
    chosen: tuple[ChosenRow, ...] = ()
    head: tuple[Column, ...] = HEAD
    steps_head: tuple[Column, ...] = STEPS_HEAD
    chosen_max: int = CHOSEN_MAX


class FindForm(msgspec.Struct, frozen=True):
    """What to show of the list, and which of it is chosen."""

    name: str = ""
    choose: tuple[str, ...] = ()
    step: str = ""


async def show(request: PageRequest) -> FoundPage:
    """The form that asks for the list."""
    return _page(request, await read_provider(request), Form())


async def act(request: PageRequest) -> Answer:
    """Show the list, the fields of those chosen, what would be registered, or register it."""
    provider = await read_provider(request)
    if request.typed("step") == "register":
        return await _register(request, provider)
    form = request.form_as(FindForm)
    path = {"provider_id": provider.id}
    try:
        found = (await request.run("discover_provider_models", Discovery, path=path, body={})).value
    except OperationRefused as refused:
        return _page(request, provider, Form({"name": form.name}, fault=refused.error.message), status=refused.status)
    if form.step == "choose" and form.choose and len(form.choose) <= CHOSEN_MAX:
        return _fields_page(request, provider, [one for one in found.models if one.upstream_model in form.choose])
    fault = ""
    if form.step == "choose":
        fault = "Choose a model, at least one." if not form.choose else f"Choose at most {CHOSEN_MAX} at once."
    named = [one for one in found.models if form.name.lower() in one.upstream_model.lower()]
    return _page(
        request,
        provider,
        Form({"name": form.name}, fault=fault),
        discovery=found,
        models=tuple(named[:SHOWN_MAX]),
        left_out=found.more + len(named) - len(named[:SHOWN_MAX]),
        status=400 if fault else 200,
    )


def _fields_page(request: PageRequest, provider: Provider, chosen: list[Found]) -> FoundPage:
    """The fields of those chosen, filled in with what is proposed; what is unknown stays empty."""
    values: dict[str, str] = {}
    for number, one in enumerate(chosen):
        proposed: dict[str, object | None] = {
            UPSTREAM: one.upstream_model,
            MODEL: one.model or one.new_model,
            COST: one.cost_usd_per_mtok,
            WIDTH: None if one.model else one.dimensions,
            LENGTH: None if one.model else one.max_input_tokens,
        }
        values |= {f"{name}-{number}": "" if value is None else str(value) for name, value in proposed.items()}
    rows = [ChosenRow(number, one.upstream_model, one.model is None) for number, one in enumerate(chosen)]
    return _page(request, provider, Form(values), chosen=tuple(rows))


async def _register(request: PageRequest, provider: Provider) -> Answer:
    """Show what would be registered; confirmed, register it."""
    typed = dict(request.form)
    numbers = [number for number in range(CHOSEN_MAX) if f"{UPSTREAM}-{number}" in typed]
    path, body = {"provider_id": provider.id}, {"models": [_item(typed, number) for number in numbers]}
    try:
        if is_confirmed(request):
            await request.run(
                "add_provider_models", AddedAnswer, path=path, body=body, idempotency_key=request.typed(ONCE)
            )
            return Redirect(to=f"/ops/providers/{provider.id}?done=1")
        dry = await request.run("add_provider_models", AddedAnswer, path=path, body=body, dry_run=True)
    except OperationRefused as refused:
        rows = [ChosenRow(n, typed[f"{UPSTREAM}-{n}"], f"{WIDTH}-{n}" in typed) for n in numbers]
        form = _form_of(typed, numbers, refused)
        return _page(request, provider, form, chosen=tuple(rows), status=refused.status)
    what = f"Register {len(numbers)} {'model' if len(numbers) == 1 else 'models'} at {provider.name}"
    return ConfirmPage(
        title=what,
        crumbs=_crumbs(provider, what),
        action=request.path,
        button=what,
        back=f"/ops/providers/{provider.id}/models",
        changes=tuple(_change(one) for one in dry.value.endpoints),
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        notes=("They are drafts without traffic; a price and a check of their space come next.",),
    )


def _item(typed: Mapping[str, str], number: int) -> dict[str, object]:
    """One of the operation's models: what was filled in; a number that is none, the operation refuses itself."""
    given = {name: typed.get(f"{name}-{number}", "").strip() for name in FIELDS}
    return {
        name: int(value) if name in (WIDTH, LENGTH) and _is_count(value) else value
        for name, value in given.items()
        if value
    }


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _form_of(typed: Mapping[str, str], numbers: list[int], refused: OperationRefused) -> Form:
    """The fields as they were typed, with each fault at its field: ``models[2].model`` is the third one's."""
    errors: dict[str, str] = {}
    whole: list[str] = []
    for fault in refused.faults:
        place, _, name = (fault.param or "").removeprefix("models[").removeprefix("$.models[").partition("].")
        number = numbers[int(place)] if place.isdecimal() and int(place) < len(numbers) else -1
        field = f"{name}-{number}"
        if field in typed and name != UPSTREAM:
            errors.setdefault(field, fault.message)
        else:
            whole.append(fault.message)
    return Form(typed, errors, " ".join(whole))


def _change(one: Added) -> Change:
    model = f"{one.model}, new in the catalogue" if one.is_new_model else one.model
    cost = "cost not known" if one.cost_usd_per_mtok == "0.00" else f"{one.cost_usd_per_mtok} USD per 1M tokens"
    return Change(one.upstream_model, "none", f"a draft of {model}, {cost}")


def _crumbs(provider: Provider, last: str) -> tuple[Crumb, ...]:
    return (OPERATIONS, PROVIDERS, Crumb(provider.name, f"/ops/providers/{provider.id}"), Crumb(last))


def _page(request: PageRequest, provider: Provider, form: Form, **more: Any) -> FoundPage:  # noqa: ANN401 - its fields
    named, body = "discover_provider_models", None
    if more.get("chosen"):
        named = "add_provider_models"
        body = {"models": [_item(form.values, row.number) for row in more["chosen"]]}
    declared = request.operations.declared(named)
    return FoundPage(
        title=f"Models at {provider.name}",
        crumbs=_crumbs(provider, "Models"),
        provider=provider,
        form=form,
        curl=curl("POST", declared.path_of({"provider_id": provider.id}), body=body, writes=declared.writes),
        **more,
    )
