"""Replaces our credential at a provider: typed once, shown never again, carried out only where a dry run passes."""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Crumb, Page, Redirect
from web.forms import Form
from web.ops.provider import read_provider
from web.ops.providers import PROVIDERS, Provider
from web.ops.write import OPERATIONS
from web.parts.curl import curl
from web.request import PageRequest


class CredentialPage(Page, frozen=True, kw_only=True):
    """The form, which says what would change; it is empty again whatever came of it."""

    template: ClassVar[str] = "ops/credential.html"

    provider: Provider
    form: Form
    once: str
    curl: str


class CredentialForm(msgspec.Struct, frozen=True):
    """The credential."""

    credential: str = ""
    once: str = ""


async def show(request: PageRequest) -> CredentialPage:
    """The form."""
    return _page(request, await read_provider(request), Form())


async def act(request: PageRequest) -> Answer:
    """Try it dry, then replace it: a credential is in no page, so nothing is sent back to be confirmed."""
    form, provider = request.form_as(CredentialForm), await read_provider(request)
    path, body = {"provider_id": provider.id}, {"credential": form.credential}
    try:
        await request.run("rotate_provider_credential", Provider, path=path, body=body, dry_run=True)
        await request.run("rotate_provider_credential", Provider, path=path, body=body, idempotency_key=form.once)
    except OperationRefused as refused:
        return _page(request, provider, Form({}, {"credential": refused.error.message}), refused.status)
    return Redirect(to=f"/ops/providers/{provider.id}?done=1")


def _page(request: PageRequest, provider: Provider, form: Form, status: int = 200) -> CredentialPage:
    declared = request.operations.declared("rotate_provider_credential")
    return CredentialPage(
        title=f"Credential of {provider.name}",
        crumbs=(OPERATIONS, PROVIDERS, Crumb(provider.name, f"/ops/providers/{provider.id}"), Crumb("Credential")),
        provider=provider,
        form=form,
        once=str(new_id()),
        curl=curl("POST", declared.path_of({"provider_id": provider.id}), body={"credential": "…"}),
        status=status,
    )
