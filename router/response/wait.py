"""``Prefer: wait=N``: a call waits for a model that is being loaded, with its credit held, until N seconds are over.

A plain call is not held up here: where every endpoint is warming it is told so, and when to come back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from router.dispatch.dispatch import Delivery
from router.errors import ClientGone, ModelWarming
from router.values import RawCall, Route

# How soon a waiting call notices that its client has hung up, or that the model is there earlier than was said.
LOOK_S: Final = 0.25
ASK_AGAIN_S: Final = 2.0

Pick = Callable[[float], Route]
Send = Callable[[Route], Awaitable[Delivery]]


def pick_or_wait(pick: Pick, now: float, wait_s: float) -> Route:
    """The route; without endpoints where all are warming and the call would rather wait. Raises as ``pick`` does."""
    try:
        return pick(now)
    except ModelWarming as cold:
        if wait_s <= 0:
            raise
        return Route((), cold.left_out, policy="all endpoints are warming up")


async def when_warm(call: RawCall, route: Route, pick: Pick, send: Send) -> Delivery:
    """Send the call along its route; if it waits, along new ones until an endpoint is warm or its time is over.

    Raises as ``pick`` and ``send`` do, ModelWarming when the time is over, ClientGone when the client hangs up.
    """
    if call.wait_s <= 0:
        return await send(route)
    loop = asyncio.get_running_loop()
    until = min(call.trace.began + call.wait_s, call.deadline_at)
    while True:
        try:
            if not route.order:
                call.trace.route = route = pick(loop.time())
            return await send(route)
        except ModelWarming as warming:
            now = loop.time()
            if now >= until:
                raise
            pause_until = min(until, now + min(ASK_AGAIN_S, warming.retry_after_s or ASK_AGAIN_S))
        while (left_s := pause_until - loop.time()) > 0:
            if call.client_gone():
                raise ClientGone("The client has hung up.")
            await asyncio.sleep(min(LOOK_S, left_s))
        route = Route(())
