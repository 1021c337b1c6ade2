"""Serves ``POST /v1/models/{id}/evidence``: a reader knows better what a model's license is, and can show it."""

from typing import Annotated, Literal

from pydantic import Field

from catalog.evidence import EvidenceState
from router.admin.evidence import send_evidence
from router.api.fields import EvidenceIdText, Instant, text_of
from router.api.forms import Answer, Body, answer_of
from router.api.operation import Operations, Who
from router.api.public.models import find_model
from router.api.public.request import Private
from router.changes.transaction import UnitOfWork, transact
from router.identity.scopes import Scope

operations = Operations("models", who=Who.KEY)


class EvidenceIn(Body):
    """What is known better, and where it can be seen."""

    text: Annotated[str, text_of(4000)] = Field(description="What the license is, and how you know.")
    link: str = Field(
        max_length=1000,
        pattern=r"^https?://[!-~]{1,990}$",
        description="Where it can be seen: a link to https or http.",
    )


class EvidenceSent(Answer):
    """That it was taken. Operators look at it; until they record a claim or a resolution nothing changes."""

    id: EvidenceIdText
    model: str
    link: str
    state: EvidenceState
    sent_at: Instant
    object: Literal["model.evidence"] = "model.evidence"


@operations.post(
    "/v1/models/{model_id:path}/evidence",
    verb="send-evidence",
    scope=Scope.USAGE_WRITE,
    name="send_license_evidence",
    summary="Send evidence about a license",
    status=201,
)
async def send(request: Private, model_id: str, body: EvidenceIn) -> EvidenceSent:
    """Send what you know of a model's license to the operators, with a link: at most ten that wait, fifty a day."""
    model = find_model(model_id, request.context, request.models)

    async def command(work: UnitOfWork) -> EvidenceSent:
        sent = await send_evidence(work, request.account_id, model.id, body=body.text, link=body.link)
        return answer_of(EvidenceSent, sent, model=sent.model_id)

    return await transact(request.context.db, request.actor, command)
