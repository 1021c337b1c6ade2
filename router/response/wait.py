"""Makes a call with ``Prefer: wait=N`` wait for a model that is being loaded, N seconds at most, its credit held.

Without the header a call never waits: where every endpoint is warming up it gets 503 with Retry-After.
"""

import asyncio
from typing import Final

from router.errors import ClientGone, ModelWarming
from router.values import RawCall, Route

# How soon a waiting call notices that its client has hung up, or that the model is there earlier than was announced.
POLL_S: Final = 0.25
RETRY_S: Final = 2.0


def waiting_route(call: RawCall, warming: ModelWarming) -> Route:
    """The route of a call that would rather wait: no endpoint yet. Raises ``warming`` again for any other call."""
    if call.wait_s <= 0:
        raise warming
    return Route((), warming.left_out, policy="all endpoints are warming up")


async def wait_to_retry(call: RawCall, warming: ModelWarming) -> None:
    """Pause until the model may be there, for 2 s at most, and never longer than the call wants to wait.

    Raises ``warming`` again when the call's time to wait is over, ClientGone when the client hangs up.
    """
    clock = asyncio.get_running_loop().time
    until = min(call.trace.began + call.wait_s, call.deadline_at)
    now = clock()
    if call.wait_s <= 0 or now >= until:
        raise warming
    pause_until = min(until, now + min(RETRY_S, warming.retry_after_s or RETRY_S))
    while (left_s := pause_until - clock()) > 0:
        if call.client_gone():
            raise ClientGone("The client has hung up.")
        await asyncio.sleep(min(POLL_S, left_s))
