"""A write of the finance console: a :class:`Write` whose object and answer are shown in finance's words.

Some operations answer something else than the object that they are about: a document's gives the request for one, a
refund's a list. ``view`` makes of the object and the answer what the confirmation sets side by side.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from typing_extensions import override

from router.api.in_process import Outcome
from web.forms import Change, ConfirmPage
from web.ops.write import PROPOSED, Json, Write
from web.request import PageRequest


def _same(thing: Json) -> Json:
    return thing


class FinanceWrite(Write, frozen=True, kw_only=True):
    """``view`` is of the object as it is read, ``view_after`` of what the operation answers.

    ``keeps``: what the answer does not say stays as it is, since the answer is not the object. ``rows`` are further
    lines of the confirmation: what of the answer is a list, such as the legs of an entry.
    """

    view: Callable[[Json], Json] = _same
    view_after: Callable[[Json], Json] = _same
    keeps: bool = False
    rows: Callable[[Json], tuple[Change, ...]] | None = None

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

    @override
    async def _confirmation(self, request: PageRequest, before: Json, after: Outcome[Json]) -> ConfirmPage:
        page = await Write._confirmation(self, request, before, after)
        rows = () if self.rows is None else self.rows(after.value)
        return msgspec.structs.replace(page, changes=(*page.changes, *rows))
