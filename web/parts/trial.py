"""Holds the form that tries a model, which stands on the model's page and on that of the trial call itself."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from catalog.values import Model, Status
from router.trial.keys import UsableKey, read_usable_keys
from router.trial.plan import TEXTS_MAX
from store.ids import AccountId, KeyId, new_id, wire
from web.forms import Form
from web.request import PageRequest
from web.route import BUILDERS

Act = Literal["cost", "call"]
TEXT_NAMES = tuple(f"text{number}" for number in range(1, TEXTS_MAX + 1))
# Where the form goes whose key says the account.
TRY_BY_KEY = "/me/try"
USE_WORDS = {"commercial": "commercial use", "non_commercial": "non-commercial use", "research": "research use"}


class TrialForm(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted. ``most`` is the cost in nano-USD that its author has seen; texts are read as they were typed."""

    model: str = ""
    key_id: str = ""
    width: Annotated[int, Meta(ge=0, le=10**6)] = 0
    text1: str = ""
    text2: str = ""
    text3: str = ""
    text4: str = ""
    text5: str = ""
    once: str = ""
    most: Annotated[int, Meta(ge=0, le=10**18)] = 0
    act: Act = "cost"


class TrialFields(msgspec.Struct, frozen=True, kw_only=True):
    """The form: where it is sent, keys and narrower widths to choose from as pairs of value and words.

    ``key_groups``: the same keys under the names of their accounts, where the reader has several.

    ``once`` stays the same for as long as the form is in front of its reader, whatever is typed and however often it
    is sent: what was charged under it is not charged again.
    """

    action: str
    model_id: str
    keys: tuple[tuple[str, str], ...]
    key_groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    widths: tuple[tuple[str, str], ...]
    form: Form
    once: str


class TrialBlock(msgspec.Struct, frozen=True, kw_only=True):
    """`Try it` on a model's page: a form, or where a key is made for it, or why there is neither.

    ``notice`` is what to know before; ``no_key``: address and name of each account, none of which has a key that works;
    ``sign_in_href``: nobody reads.
    """

    notice: str = ""
    fields: TrialFields | None = None
    no_key: tuple[tuple[str, str], ...] = ()
    sign_in_href: str = ""


def trial_fields(
    action: str,
    model: Model,
    keys: tuple[UsableKey, ...],
    form: Form,
    once: str = "",
    accounts: Mapping[AccountId, str] | None = None,
) -> TrialFields:
    """The form for a model by one of these keys; a width of about a quarter is chosen beforehand.

    ``accounts``: the names of several, under which their keys stand.
    """
    widths = sorted((width for width in model.trained_dimensions if width < model.dimensions), reverse=True)
    options = [(str(width), f"{width:,} numbers") for width in widths]
    if "width" not in form.values and widths:
        first = next((width for width in widths if width * 4 <= model.dimensions), widths[-1])
        form = msgspec.structs.replace(form, values={**form.values, "width": str(first)})
    return TrialFields(
        action=action,
        model_id=model.id,
        keys=_options(keys),
        key_groups=tuple(
            (name, found)
            for account_id, name in (accounts or {}).items()
            if (found := _options(key for key in keys if key.account_id == account_id))
        ),
        widths=(*options, ("", "none")) if options else (),
        form=form,
        once=once or str(new_id()),
    )


def _options(keys: Iterable[UsableKey]) -> tuple[tuple[str, str], ...]:
    return tuple((wire(KeyId, key.id), key_words(key)) for key in keys)


def key_words(key: UsableKey) -> str:
    """A key as its owner chooses it: name, beginning and end, use; of a test key, that nothing is real."""
    what = "test: made-up vectors, free" if key.is_test else USE_WORDS[key.use.value]
    return f"{key.name} · {key.masked} · {what}"


async def trial_block(request: PageRequest, model: Model, *, is_cold: bool) -> TrialBlock:
    """What the model's page says of trying it. ``is_cold``: no endpoint of it is in service."""
    builders = [one for one in request.viewer.memberships if one.role in BUILDERS]
    if notice := _closed(request, model, has_role=bool(builders)):
        return TrialBlock(notice=notice)
    notice = "No endpoint of it is in service now, so a call would be refused." if is_cold else ""
    if not builders:
        return TrialBlock(notice=notice, sign_in_href=request.page_or(f"/sign-in?next=/models/{model.id}", ""))
    names = {one.account_id: one.account_name for one in builders}
    async with request.context.reads.db.transaction() as connection:
        keys = await read_usable_keys(connection, *names)
    if not keys:
        links = ((f"/accounts/{wire(AccountId, one)}/keys/new", name) for one, name in names.items())
        return TrialBlock(notice=notice, no_key=tuple(links))
    if len(names) > 1:
        return TrialBlock(notice=notice, fields=trial_fields(TRY_BY_KEY, model, keys, Form(), accounts=names))
    action = f"/accounts/{wire(AccountId, builders[0].account_id)}/try"
    return TrialBlock(notice=notice, fields=trial_fields(action, model, keys, Form()))


def _closed(request: PageRequest, model: Model, *, has_role: bool) -> str:
    """Why nobody, or not this reader, can try the model here; empty where they can."""
    if model.status is Status.COMING_SOON:
        return "It is announced and not served yet, so there is nothing to try."
    if model.status is Status.RETIRED:
        return "It is served no longer."
    if request.context.send_call is None:
        return "These pages make no calls themselves. The programs above do, with one of your keys."
    if request.viewer.is_known and not has_role:
        return "Owners and developers of an account try it, with one of the account's keys."
    return ""
