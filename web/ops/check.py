"""Tests a provider or an endpoint by real calls: each step's result, upstream's own words, and what to do next.

A test changes nothing. An endpoint's is the dry run of putting it live: passed, it has a button that does that.
"""

from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Crumb, Page, Redirect
from web.forms import ONCE, Form, Hidden, form_of, hidden_fields, is_confirmed
from web.ops.endpoint import read_endpoint
from web.ops.provider import read_provider
from web.ops.providers import PROVIDERS
from web.ops.write import OPERATIONS, Field
from web.parts.curl import curl
from web.parts.tables import Column
from web.request import PageRequest

MODEL = Field(
    name="upstream_model",
    label="Its name of a model to ask for",
    hint="Empty: that of its first endpoint.",
)
ACTIVATION = (
    Field(
        name="as_reference",
        label="Why its vectors may be the space's reference",
        hint="Empty: they are compared with the reference that there is.",
    ),
    Field(name="allow_zero_cost", label="A cost of 0 is meant", kind="check"),
)
HEAD = (Column("Step"), Column("Result"), Column("What was said"))


class Step(msgspec.Struct, frozen=True):
    """A step of the call."""

    name: str
    outcome: str
    said: str


class Upstream(msgspec.Struct, frozen=True):
    """The call that decided. ``words``: what the provider said, an outsider's text."""

    method: str
    url: str
    status: int | None
    words: str | None


class Report(msgspec.Struct, frozen=True):
    """How a test went."""

    passed: bool
    reason: str
    advice: str
    steps: list[Step]
    upstream: Upstream | None = None
    dimensions: int | None = None
    tokens: int | None = None
    verdict: str | None = None
    cosine_min: float | None = None


class CheckPage(Page, frozen=True, kw_only=True):
    """The form, and the report of a test that was made. ``live``: the button that puts it live, and its fields."""

    template: ClassVar[str] = "ops/check.html"

    fields: tuple[Field, ...]
    form: Form
    back: str
    button: str
    curl: str
    head: tuple[Column, ...] = HEAD
    report: Report | None = None
    live: str = ""
    hidden: tuple[Hidden, ...] = ()


class ProviderForm(msgspec.Struct, frozen=True):
    """What to ask for."""

    upstream_model: str = ""


class EndpointForm(msgspec.Struct, frozen=True):
    """What the test may decide."""

    as_reference: str = ""
    allow_zero_cost: bool = False
    confirm: str = ""
    once: str = ""


async def show_provider(request: PageRequest) -> CheckPage:
    """The form of a provider's test."""
    return await _provider_page(request, Form(dict(request.query)))


async def act_provider(request: PageRequest) -> CheckPage:
    """Make one real call."""
    form = request.form_as(ProviderForm)
    path, body = {"provider_id": request.values["provider"]}, _given(upstream_model=form.upstream_model)
    try:
        tested = await request.run("test_provider", Report, path=path, body=body)
    except OperationRefused as refused:
        return await _provider_page(request, form_of(request, refused), status=refused.status)
    return await _provider_page(request, form_of(request), report=tested.value)


async def show_endpoint(request: PageRequest) -> CheckPage:
    """The form of an endpoint's test."""
    return await _endpoint_page(request, Form())


async def act_endpoint(request: PageRequest) -> Answer:
    """Make real calls and move nothing; confirmed, make them again and put it live where it passes."""
    form = request.form_as(EndpointForm)
    path = {"endpoint_id": request.values["endpoint"]}
    body = _given(as_reference=form.as_reference, allow_zero_cost=form.allow_zero_cost)
    try:
        if not is_confirmed(request):
            tested = await request.run("activate_endpoint", Report, path=path, body=body, dry_run=True)
            return await _endpoint_page(request, form_of(request), report=tested.value)
        made = await request.run("activate_endpoint", Report, path=path, body=body, idempotency_key=form.once)
    except OperationRefused as refused:
        return await _endpoint_page(request, form_of(request, refused), status=refused.status)
    if made.value.passed:
        return Redirect(to=f"/ops/endpoints/{request.values['endpoint']}?done=1")
    return await _endpoint_page(request, form_of(request), report=made.value)


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value not in ("", False)}


async def _provider_page(request: PageRequest, form: Form, **more: Any) -> CheckPage:  # noqa: ANN401 - its fields
    provider = await read_provider(request)
    declared = request.operations.declared("test_provider")
    return CheckPage(
        title=f"Test {provider.name}",
        crumbs=(OPERATIONS, PROVIDERS, Crumb(provider.name, f"/ops/providers/{provider.id}"), Crumb("Test")),
        fields=(MODEL,),
        form=form,
        back=f"/ops/providers/{provider.id}",
        button=f"Test {provider.name}",
        curl=curl("POST", declared.path_of({"provider_id": provider.id}), body=_given(**form.values)),
        **more,
    )


async def _endpoint_page(request: PageRequest, form: Form, **more: Any) -> CheckPage:  # noqa: ANN401 - its fields
    endpoint = await read_endpoint(request)
    declared = request.operations.declared("activate_endpoint")
    name = f"{endpoint.model} at {endpoint.provider_name}"
    report: Report | None = more.get("report")
    return CheckPage(
        title=f"Test {name}",
        crumbs=(OPERATIONS, PROVIDERS, Crumb(name, f"/ops/endpoints/{endpoint.id}"), Crumb("Test")),
        fields=ACTIVATION,
        form=form,
        back=f"/ops/endpoints/{endpoint.id}",
        button=f"Test {name}",
        curl=curl("POST", declared.path_of({"endpoint_id": endpoint.id}), body={"as_reference": "…"}),
        live=f"Put {name} live" if report is not None and report.passed and endpoint.state != "live" else "",
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        **more,
    )
