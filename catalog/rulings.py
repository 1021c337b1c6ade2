"""Pure. Imagines a ruling on a model's license before it is made, for whoever decides which."""

from datetime import datetime
from uuid import UUID

import msgspec

from catalog.claims import combine
from catalog.values import Model, Resolution
from store.ids import ResolutionId

_NO_ID = ResolutionId(UUID(int=0))


def if_resolved(model: Model, license: str, now: datetime) -> Model:
    """The model as it would be if an operator ruled that this license holds: every recorded claim is settled by it."""
    claims = tuple(msgspec.structs.replace(claim, resolved=True) for claim in model.claims)
    ruling = Resolution(_NO_ID, license, reason="", evidence="", decided_by="", decided_at=now)
    return msgspec.structs.replace(model, claims=claims, resolution=ruling)


def needs_a_ruling(model: Model) -> bool:
    """Whether its sources disagree, or say nothing that is known."""
    standing = combine(model.claims, model.resolution)
    return standing.conflict or not standing.is_known
