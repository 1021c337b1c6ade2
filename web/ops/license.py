"""Lays a model's claims side by side, with what each ruling would allow and which keys it would touch.

Every sentence is the verdict's (catalog.verdict), of the model as it is and as each ruling would make it.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

import msgspec

from catalog.permit import decide
from catalog.rulings import if_resolved
from catalog.values import Model
from catalog.verdict import Verdict, verdict_of
from router.values import Key
from store.ids import AccountId, wire
from web.answers import Crumb, Page
from web.faults import NotFound
from web.ops.account import DoneQuery
from web.ops.licenses import LICENSES, Evidence
from web.ops.lists import all_of
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

SHOWN_MAX = 25


class TouchedKey(msgspec.Struct, frozen=True):
    """A key for which a ruling changes whether it may call the model."""

    name: str
    account: str
    use: str
    may_then: bool


class Ruling(msgspec.Struct, frozen=True):
    """What it would mean that one license holds. ``keys`` are the first of those that it touches."""

    license: str
    verdict: Verdict
    gain: int
    lose: int
    keys: tuple[TouchedKey, ...]


class Waiver(msgspec.Struct, frozen=True):
    """A term that is lifted."""

    id: str
    term: str
    status: str
    signed_by: str
    evidence: str
    expires_at: datetime | None


class Resolution(msgspec.Struct, frozen=True):
    """A ruling that was made."""

    id: str
    license: str
    status: str
    reason: str
    evidence: str
    decided_by: str
    decided_at: datetime


class LicensePage(Page, frozen=True, kw_only=True):
    """A model's license record."""

    template: ClassVar[str] = "ops/license.html"

    model_id: str
    verdict: Verdict
    rulings: tuple[Ruling, ...]
    waivers: list[Waiver]
    resolutions: list[Resolution]
    evidence: list[Evidence]
    claims_head: tuple[Column, ...] = (
        Column("License"),
        Column("Who says so"),
        Column("Seen at"),
        Column("On"),
        Column("Now"),
    )
    is_done: bool = False


async def show(request: PageRequest) -> LicensePage:
    """A model's record as it is in Postgres now, and every ruling that its sources offer."""
    query, reads, now = request.query_as(DoneQuery), request.context.reads, request.exchange.now
    model = reads.catalog.get(request.values["model"])
    if model is None:
        raise NotFound
    which = {"model": model.id}
    keys = [key for key in reads.keys.all() if not key.models or model.id in key.models]
    licenses = dict.fromkeys(claim.license for claim in model.claims)
    return LicensePage(
        title=f"License of {model.id}",
        crumbs=(OPERATIONS, LICENSES, Crumb(model.id)),
        model_id=model.id,
        verdict=verdict_of(model, now),
        rulings=tuple(_ruling(model, license, keys, now) for license in licenses),
        waivers=await all_of(request, "list_waivers", Waiver, which),
        resolutions=await all_of(request, "list_resolutions", Resolution, which),
        evidence=await all_of(request, "list_evidence", Evidence, which),
        is_done=query.done,
    )


def _ruling(model: Model, license: str, keys: Iterable[Key], now: datetime) -> Ruling:
    then = if_resolved(model, license, now)
    gain = lose = 0
    shown: list[TouchedKey] = []
    for key in keys:
        may_now, may_then = (decide(one, key.use, key.accepted, now).allowed for one in (model, then))
        if may_now == may_then:
            continue
        gain, lose = gain + may_then, lose + may_now
        if len(shown) < SHOWN_MAX:
            shown.append(TouchedKey(key.name, wire(AccountId, key.account_id), key.use.value, may_then))
    return Ruling(license, verdict_of(then, now), gain, lose, tuple(shown))
