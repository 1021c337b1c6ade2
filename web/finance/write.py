"""A write of the finance console: a :class:`Write` whose object and answer are shown in finance's words.

Some operations answer something else than the object that they are about: a document's gives the request for one, a
refund's a list. ``view`` makes of the object and the answer what the confirmation sets side by side.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from typing_extensions import override

from router.api.in_process import Outcome
from web.ops.write import PROPOSED, Json, Write
from web.request import PageRequest


def _same(thing: Json) -> Json:
    return thing


class FinanceWrite(Write, frozen=True, kw_only=True):
    """``view`` is of the object as it is read, ``view_after`` of what the operation answers.

    ``keeps``: what the answer does not say stays as it is, since the answer is not the object.
    """

    view: Callable[[Json], Json] = _same
    view_after: Callable[[Json], Json] = _same
    keeps: bool = False

    @override
    async def _read(self, request: PageRequest) -> tuple[Json, str]:
        thing, version = await Write._read(self, request)
        return self.view(thing) if thing else thing, version

    @override
    async def _run(self, request: PageRequest, **how: Any) -> Outcome[Json]:
        outcome = await Write._run(self, request, **how)
        if outcome.status == PROPOSED:
            return outcome
        after = self.view_after(outcome.value)
        if self.keeps:
            before, _ = await self._read(request)
            after = before | after
        return msgspec.structs.replace(outcome, value=after)
