"""One call, from raw bytes to the answer, as a straight line: read it top to bottom.

Each step is one function with typed input and output. Decisions come back as values and only this line turns a "no"
into an exception. ``hold`` is proof of admission: nothing is dispatched or charged without one. It does not know
HTTP: the edge makes the :class:`RawCall` and turns a :class:`router.errors.Refusal` into a status.
"""

from router.answer import answer
from router.choose import choose
from router.dispatch import dispatch
from router.estimate import estimate
from router.keys import authenticate
from router.parts import Parts
from router.permit import permit
from router.request import parse
from router.resolve import resolve
from router.usage import usage
from router.values import Answer, RawCall


async def embed(call: RawCall, parts: Parts) -> Answer:
    """Raises, in this order, what each line says."""
    request = parse(call.body)  # InvalidRequest
    caller = authenticate(call.authorization, parts.keys, call.now)  # Unauthenticated
    model = resolve(request.model, caller.key, parts.catalog)  # ModelNotFound, ModelNotLive, ModelNotAllowed
    permit(model, caller.key, call.now)  # LicenseRestricted
    quote = estimate(request, model, caller.key, parts.prices, call.now)  # InputTooLong, TooManyTokens, Dimensions…
    async with parts.admission.admit(call, caller.key.payer, quote) as hold:  # OutOfCredit, CapReached, LimitExceeded
        route = choose(parts.endpoints.serving(model, caller.key), parts.health, call.now)  # NoEndpoint
        delivery = await dispatch(hold, route, request, model, parts.providers, parts.health)  # AllAttemptsFailed
        receipt = await parts.charging.charge(hold, usage(delivery, request, model))  # NotRecorded
    return answer(request, model, delivery, receipt, hold)
