"""A write that changes a model, as a page: what differs line by line, whom a move touches, and the public page then."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from router.api.in_process import Outcome
from web.answers import Answer, Crumb
from web.forms import VERSION, Change, ConfirmPage, Form
from web.ops.audit import read_changes
from web.ops.model_preview import Preview, preview_of
from web.ops.write import WAS, Field, Json, Write, WritePage
from web.parts.difference import Difference, compare
from web.parts.hidden import restored
from web.parts.tables import Column
from web.request import PageRequest

MODELS = Crumb("Models", "/ops/models")
PAGE = "/ops/models/{owner}/{name}"
REASON = Field(name="reason", label="Reason", kind="area", hint="For whoever looks next; the audit has it.")
IMPACT_HEAD = (
    Column("Account"),
    Column("Calls", "30 days", is_number=True),
    Column("Tokens", "30 days", is_number=True),
    Column("Is mailed"),
)


class ModelUser(msgspec.Struct, frozen=True):
    """An account that a move touches."""

    account: str
    account_name: str
    calls: int
    tokens: int
    is_mailed: bool


class MoveImpact(msgspec.Struct, frozen=True):
    """Whom a move touches, as its dry run answers it."""

    accounts: int
    calls: int
    tokens: int
    mailed_accounts: int
    addresses: int
    keys: int
    only_keys: int
    first: list[ModelUser]


class ModelChangePage(ConfirmPage, frozen=True, kw_only=True):
    """What a write would change of a model. ``texts`` are long ones, line by line."""

    template: ClassVar[str] = "ops/model_change.html"

    texts: tuple[Difference, ...] = ()
    impact: MoveImpact | None = None
    impact_head: tuple[Column, ...] = IMPACT_HEAD
    preview: Preview | None = None


class ModelWrite(Write, frozen=True, kw_only=True):
    """A write to the model that the path names as ``{owner}/{name}``, or that adds one.

    ``blocks`` are those of the public page to be shown as they would be; ``long`` are fields that are compared line by
    line, with their names for a person. The object of a subclass may be a part of the model: ``answer`` is all of it.
    """

    blocks: frozenset[str] = frozenset()
    long: Mapping[str, str] = {}
    shows_facts: bool = True

    @override
    async def act(self, request: PageRequest) -> Answer:
        page = await Write.act(self, request)
        if not isinstance(page, WritePage) or page.version == request.typed(VERSION):
            return page
        texts = self._their_texts(request, page)
        theirs = page.theirs if page.theirs or texts else await _latest(request)
        return msgspec.structs.replace(page, their_texts=texts, theirs=theirs)

    def _their_texts(self, request: PageRequest, page: WritePage) -> tuple[Difference, ...]:
        """What somebody else changed of long texts, which stand in the page's hidden fields as they are now."""
        now = dict(page.was)
        found = [
            compare(name, restored(request.typed(f"{WAS}{field}")), now.get(f"{WAS}{field}", ""))
            for field, name in self.long.items()
        ]
        return tuple(one for one in found if one.lines)

    @override
    async def _confirmation(self, request: PageRequest, before: Json, after: Outcome[Json]) -> ConfirmPage:
        answer = after.value.get("answer", after.value)
        bare = msgspec.structs.replace(after, value={**after.value, "impact": None})
        page = await Write._confirmation(self, request, before, bare)
        texts = [
            compare(name, before.get(field) or "", after.value.get(field) or "") for field, name in self.long.items()
        ]
        blocks = self._blocks(before, after.value)
        impact = answer.get("impact")
        differing = tuple(one for one in texts if one.lines)
        return ModelChangePage(
            **{name: getattr(page, name) for name in ConfirmPage.__struct_fields__ if name != "changes_more"},
            changes_more=bool(differing),
            texts=differing,
            impact=None if impact is None else msgspec.convert(impact, MoveImpact),
            preview=await preview_of(request, answer, blocks) if blocks else None,
        )

    def _blocks(self, before: Json, after: Json) -> frozenset[str]:
        """Which blocks of the public page to show."""
        del before, after
        return self.blocks

    @override
    def _read_back(self) -> tuple[str, ...]:
        return (*Write._read_back(self), *self.long)

    @override
    def _page(self, request: PageRequest, before: Json, version: str, form: Form, **more: Any) -> WritePage:
        page = Write._page(self, request, before, version, form, **more)
        return page if self.shows_facts else msgspec.structs.replace(page, facts=())

    @override
    def _path(self, request: PageRequest) -> dict[str, str]:
        return {} if self.reads is None else {"model_id": model_id_of(request)}


def model_id_of(request: PageRequest) -> str:
    """The id of the model that the path names."""
    return f"{request.values['owner']}/{request.values['name']}"


async def _latest(request: PageRequest) -> tuple[Change, ...]:
    """What the latest change of the model was, where somebody else changed another part of it."""
    if "owner" not in request.values:
        return ()
    rows, _ = await read_changes(request, {"subject": model_id_of(request)}, 1)
    return tuple(field for row in rows for field in row.fields)
