"""``/accounts/{account}/management-keys/{key}/networks``: from which networks a management key may be used."""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Answer, Page, Redirect
from web.customer.key_networks import exclusion, network_lines, network_names
from web.customer.management_keys import ManagementKey, base_of, crumbs
from web.faults import NotFound
from web.forms import Form, form_of
from web.request import PageRequest


class NetworksPage(Page, frozen=True, kw_only=True):
    """The form."""

    template: ClassVar[str] = "customer/management_networks.html"

    base: str
    action: str
    key: ManagementKey
    form: Form
    client: str
    version: str


class NetworksForm(msgspec.Struct, frozen=True):
    """The networks, one a line, the ones of which the reader was warned, and the version that was read."""

    networks: str = ""
    networks_seen: str = ""
    version: str = ""


async def show(request: PageRequest) -> NetworksPage:
    """The form with the networks of the key."""
    return await _page(request)


async def act(request: PageRequest) -> Answer:
    """Replace the networks, or show the form again with what is wrong."""
    form = request.form_as(NetworksForm)
    if warning := exclusion(form.networks, form.networks_seen, request.client):
        return await _page(request, msgspec.structs.replace(form_of(request), fault=warning), version=form.version)
    networks = network_lines(form.networks)
    try:
        await request.run(
            "edit_own_management_key",
            ManagementKey,
            path={"key_id": request.values["key"]},
            body={"networks": networks},
            if_match=form.version or '"none"',
        )
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        shown = form_of(request, refused, network_names(networks))
        if refused.error.code == "version_conflict":
            shown = Form(shown.values, fault="Somebody else changed the key meanwhile. What you typed is still here.")
            return await _page(request, shown, status=refused.status)
        return await _page(request, shown, version=form.version, status=refused.status)
    return Redirect(to=f"{base_of(request)}?done=networks")


async def _page(
    request: PageRequest, form: Form | None = None, *, version: str = "", status: int = 200
) -> NetworksPage:
    try:
        read = await request.run("retrieve_own_management_key", ManagementKey, path={"key_id": request.values["key"]})
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise
    key = read.value
    return NetworksPage(
        title=f"Networks of the management key {key.name}",
        crumbs=crumbs(request),
        base=base_of(request),
        action=request.path,
        key=key,
        form=form or Form({"networks": "\n".join(key.networks)}),
        client=request.client,
        version=version or read.etag or "",
        status=status,
    )
