"""``/accounts/{account}/billing``: who pays, as the next documents name them; issued ones keep what they say."""

from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Answer, Page, Redirect
from web.customer.money import Section, crumbs, sections
from web.forms import Change, Form, form_of
from web.request import PageRequest

LANGUAGES = (("en", "English"), ("de", "Deutsch"))


class _Address(msgspec.Struct, frozen=True):
    line1: str = ""
    line2: str = ""
    postcode: str = ""
    city: str = ""
    region: str = ""
    country: str = ""


class _Profile(msgspec.Struct, frozen=True):
    legal_name: str
    address: _Address
    tax_ids: list[str]
    emails: list[str]
    po_number: str
    language: str
    terms_days: int
    exempt_reason: str
    version: int


class BillingPage(Page, frozen=True, kw_only=True):
    """The form. ``version`` is 0 where there is no profile yet; ``theirs``: what somebody else changed meanwhile."""

    template: ClassVar[str] = "customer/billing.html"

    sections: tuple[Section, ...]
    here: str
    form: Form
    version: int
    terms_days: int | None
    exempt_reason: str
    languages: tuple[tuple[str, str], ...]
    theirs: tuple[Change, ...] = ()
    notice: str = ""


class BillingQuery(msgspec.Struct, frozen=True):
    """``done``: it was changed a moment ago."""

    done: bool = False


class BillingForm(msgspec.Struct, frozen=True):
    """The fields; lists are a line each."""

    legal_name: str = ""
    line1: str = ""
    line2: str = ""
    postcode: str = ""
    city: str = ""
    region: str = ""
    country: str = ""
    tax_ids: str = ""
    emails: str = ""
    po_number: str = ""
    language: Literal["en", "de"] = "en"
    version: int = 0


ADDRESS = ("line1", "line2", "postcode", "city", "region", "country")


async def show(request: PageRequest) -> BillingPage:
    """Who pays."""
    profile = await _read(request)
    notice = "Saved. Documents that are issued from now on say this." if request.query_as(BillingQuery).done else ""
    return _page(request, profile, Form(_typed(profile)), notice=notice)


async def act(request: PageRequest) -> Answer:
    """Save who pays; refused where somebody else saved it meanwhile."""
    form = request.form_as(BillingForm)
    before = await _read(request)
    if before is not None and before.version != form.version:
        now = _typed(before)
        theirs = tuple(
            Change(name.replace("_", " "), value, now[name])
            for name, value in request.form
            if name in now and now[name] != value
        )
        return _page(request, before, Form(dict(request.form)), theirs=theirs, status=409)
    body = {
        "legal_name": form.legal_name,
        "address": {name: getattr(form, name).strip() for name in ADDRESS} | {"country": form.country.strip().upper()},
        "tax_ids": _lines(form.tax_ids),
        "emails": _lines(form.emails),
        "po_number": form.po_number,
        "language": form.language,
    }
    fields = {f"address.{name}": name for name in ADDRESS}
    fields |= {f"{name}[{place}]": name for name in ("tax_ids", "emails") for place in range(20)}
    try:
        await request.run("set_own_billing_profile", _Profile, body=body)
    except OperationRefused as refused:
        return _page(request, before, form_of(request, refused, fields), status=refused.status)
    return Redirect(to=f"{_here(request)}?done=1")


async def _read(request: PageRequest) -> _Profile | None:
    try:
        return (await request.run("retrieve_own_billing_profile", _Profile)).value
    except OperationRefused as refused:
        if refused.status == 404:
            return None
        raise


def _page(
    request: PageRequest,
    profile: _Profile | None,
    form: Form,
    *,
    theirs: tuple[Change, ...] = (),
    notice: str = "",
    status: int = 200,
) -> BillingPage:
    return BillingPage(
        title="Billing details",
        crumbs=crumbs(request, "Billing details"),
        sections=sections(request),
        here=_here(request),
        form=form,
        version=0 if profile is None else profile.version,
        terms_days=None if profile is None else profile.terms_days,
        exempt_reason="" if profile is None else profile.exempt_reason,
        languages=LANGUAGES,
        theirs=theirs,
        notice=notice,
        status=status,
    )


def _typed(profile: _Profile | None) -> dict[str, str]:
    if profile is None:
        return {"language": "en"}
    lists = {"tax_ids": "\n".join(profile.tax_ids), "emails": "\n".join(profile.emails)}
    own = {"legal_name": profile.legal_name, "po_number": profile.po_number, "language": profile.language}
    return own | lists | {name: getattr(profile.address, name) for name in ADDRESS}


def _here(request: PageRequest) -> str:
    return f"/accounts/{request.values['account']}/billing"


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
