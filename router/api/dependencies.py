"""Makes what an operation's handler takes on the event loop: FastAPI makes a class in a thread.

Two switches to a thread and back were a tenth of a page's time, for constructors that only read the request.
"""

import inspect
from typing import Any

from fastapi import Depends


def depend_on(made: type) -> Any:  # noqa: ANN401 - what FastAPI declares of its own `Depends`
    """``Depends`` on an object of this class; the parameters of its constructor are solved as FastAPI does."""

    async def make(**solved: Any) -> Any:  # noqa: ANN401
        return made(**solved)

    # FastAPI reads what a dependency takes from its signature.
    vars(make)["__signature__"] = inspect.signature(made)
    return Depends(make)
