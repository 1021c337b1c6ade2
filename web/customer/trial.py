"""``/accounts/{account}/try``: embeds up to five texts by a key of the account, and shows how they lie to each other.

The texts are in the form and nowhere else: no address, no log and no table has them, and no cache keeps the page.
"""

from typing import ClassVar

import msgspec

from catalog.values import Model
from router.api.error_envelope import row
from router.errors import Conflict, Refusal, RequestLimit
from router.identity.people.limits import count_trial
from router.trial.call import ApiUnreachable, TrialRefused, run_trial
from router.trial.keys import UsableKey, read_usable_keys
from router.trial.plan import Trial, quote_trial
from router.trial.vectors import Vectors
from store.ids import AccountId, KeyId, wire
from web.answers import Answer, Crumb, Page, Redirect
from web.customer.remedies import Remedy, remedy_of
from web.customer.trial_result import Result, result_of
from web.faults import NotFound
from web.forms import Form
from web.parts.trial import TEXT_NAMES, TrialFields, TrialForm, key_words, trial_fields
from web.request import PageRequest
from web.route import BUILDERS

UNREACHABLE = {
    False: "The API cannot be reached, so nothing was sent and nothing is charged. Try again shortly.",
    True: "The API did not answer in time. If the call was made, it is charged once: send the form again as it is, and "
    "the answer comes without another charge.",
}


class Fault(msgspec.Struct, frozen=True):
    """Why there is no result: the API's code and sentence."""

    code: str
    message: str
    request_id: str = ""


class Cost(msgspec.Struct, frozen=True):
    """What the call costs at most, of which price, by which key, and how many texts it has."""

    most_nano: int
    tokens_max: int
    nano_per_mtok: int
    texts: int
    key: str
    is_test: bool


class TrialPage(Page, frozen=True, kw_only=True):
    """The form with what became of it; ``fields`` is None where no model is named.

    ``has_risen``: what was typed changed after its cost was seen, and costs more. ``remedy``: what lifts the fault.
    """

    template: ClassVar[str] = "customer/trial.html"

    model_id: str
    base: str
    fields: TrialFields | None
    makes_calls: bool
    cost: Cost | None = None
    has_risen: bool = False
    fault: Fault | None = None
    remedy: Remedy | None = None
    result: Result | None = None


class TrialQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The model, by id or alias."""

    model: str = ""


async def show(request: PageRequest) -> TrialPage:
    """The empty form."""
    wanted = request.query_as(TrialQuery).model
    model = request.context.reads.catalog.get(wanted) if wanted else None
    if wanted and model is None:
        raise NotFound
    if model is None:
        return _page(request, None, None)
    return _page(request, model, trial_fields(request.path, model, await _keys(request), Form()))


async def choose(request: PageRequest) -> Redirect:
    """Send the form on to the account whose key was chosen; of a key of no account of the reader's, to their first.

    It is there that the reader's role counts, and what is wrong with the form is said.
    """
    accounts = [one.account_id for one in request.viewer.memberships if one.role in BUILDERS]
    if not accounts:
        raise NotFound
    async with request.context.reads.db.transaction() as connection:
        keys = await read_usable_keys(connection, *accounts)
    wanted = request.typed("key_id")
    account_id = next((key.account_id for key in keys if wire(KeyId, key.id) == wanted), accounts[0])
    return Redirect(to=f"/accounts/{wire(AccountId, account_id)}/try", status=307)


async def act(request: PageRequest) -> Answer:
    """Say what the call costs at most, or make it where its author has seen that."""
    form = request.form_as(TrialForm)
    model = request.context.reads.catalog.get(form.model)
    if model is None:
        raise NotFound
    keys = await _keys(request)
    texts = tuple(text for name in TEXT_NAMES if (text := request.typed(name)).strip())
    chosen = next((key for key in keys if wire(KeyId, key.id) == form.key_id), None)
    errors = {} if texts else {"text1": "Type at least one text."}
    errors |= {} if chosen is not None else {"key_id": "Choose one of these keys: it works now, and is the account's."}
    fields = trial_fields(request.path, model, keys, Form(dict(request.form), errors), form.once)
    page = _page(request, model, fields)
    if chosen is None or not texts:
        return msgspec.structs.replace(page, status=422)
    trial = Trial(account_id=request.account(), key_id=chosen.id, model_id=model.id, texts=texts, once=fields.once)
    return await _try(request, page, trial, chosen, form)


async def _try(request: PageRequest, page: TrialPage, trial: Trial, chosen: UsableKey, form: TrialForm) -> TrialPage:
    """The page with the cost, with the vectors, or with why there are none."""
    cost: Cost | None = None
    try:
        cost = await _cost(request, trial, chosen)
        if form.act == "cost" or not page.makes_calls:
            return msgspec.structs.replace(page, cost=cost)
        if cost.most_nano > form.most:
            return msgspec.structs.replace(page, cost=cost, has_risen=True)
        vectors = await _call(request, trial)
    except ApiUnreachable as gone:
        fault = Fault("api_unreachable", UNREACHABLE[gone.may_have_run])
        # The cost stays, and with it the button that sends the same form again.
        return msgspec.structs.replace(page, cost=cost, fault=fault, status=503)
    except Refusal as refusal:
        return _refused(page, Fault(refusal.code, refusal.message), row(refusal).status)
    except TrialRefused as refused:
        return _refused(page, Fault(refused.code, refused.message, refused.request_id), refused.status)
    narrow = next((width for width, _ in page.fields.widths if width == str(form.width)), None) if page.fields else None
    result = result_of(vectors, trial.texts, int(narrow) if narrow else None, f"{page.base}/calls/{vectors.request_id}")
    return msgspec.structs.replace(page, title=f"{page.title}: result", result=result)


async def _cost(request: PageRequest, trial: Trial, chosen: UsableKey) -> Cost:
    """What the call costs at most. Raises what the call would be refused with, as far as it is known here."""
    context = request.context.writes
    if context.keys.get(trial.key_id) is None:
        await context.catch_up()
    key = context.keys.get(trial.key_id)
    if key is None:
        raise Conflict("The key was revoked a moment ago. Choose another one.", param="key_id")
    quote = quote_trial(trial, key, context, request.exchange.now)
    return Cost(
        most_nano=quote.amount_max,
        tokens_max=quote.tokens_max,
        nano_per_mtok=quote.price.nano_per_mtok,
        texts=len(trial.texts),
        key=key_words(chosen),
        is_test=chosen.is_test,
    )


async def _call(request: PageRequest, trial: Trial) -> Vectors:
    """Make the call, within the limits of who tries. Raises ``TrialRefused``, ``ApiUnreachable``, ``Refusal``."""
    context, viewer = request.context, request.viewer
    assert context.send_call is not None, "the page makes no calls; this is a bug"
    await count_trial(context.writes.db, viewer.person, viewer.email, request.place.network)
    return await run_trial(context.writes.db, context.send_call, request.member(), trial)


def _refused(page: TrialPage, fault: Fault, status: int) -> TrialPage:
    """The form with the API's code and sentence, and what lifts it."""
    # Without a call of the API's it is the page's own limit, which no setting of a key lifts.
    is_own_limit = fault.code == RequestLimit.code and not fault.request_id
    remedy = None if is_own_limit else remedy_of(fault.code, page.model_id, page.base)
    return msgspec.structs.replace(page, fault=fault, remedy=remedy, status=status)


async def _keys(request: PageRequest) -> tuple[UsableKey, ...]:
    async with request.context.reads.db.transaction() as connection:
        return await read_usable_keys(connection, request.account())


def _page(request: PageRequest, model: Model | None, fields: TrialFields | None) -> TrialPage:
    name = "a model" if model is None else model.id.rpartition("/")[2]
    crumbs = (Crumb("Models", "/models"), *(() if model is None else (Crumb(name, f"/models/{model.id}"),)))
    return TrialPage(
        title=f"Try {name}",
        crumbs=(*crumbs, Crumb("Try it")),
        model_id="" if model is None else model.id,
        base=f"/accounts/{request.values['account']}",
        fields=fields,
        makes_calls=request.context.send_call is not None,
    )
