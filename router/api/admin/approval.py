"""Carries a proposed operation out: its own function, with the body that was proposed, in the approver's transaction.

The function gets a request in place of the proposer's, whose write path is that transaction. What it would change now
is compared with what it would have changed then.
"""

import inspect
from typing import Any, get_type_hints

from fastapi import Response
from fastapi.dependencies.utils import request_params_to_args
from typing_extensions import override

from billing.money import NanoUSD
from router.api.admin.request import A, Command, Current, Writing, match_version
from router.api.forms import Answer
from router.api.operation import OperationRequest, OperationRoute, body_model
from router.changes.second_person import MoneyKind, Proposal, differences, facts_of
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, VersionConflict
from store.ids import AccountId


class ApprovedRequest(Writing):
    """A request of a proposed operation, which runs in the transaction of the one that approves it."""

    def __init__(self, approving: Writing, route: OperationRoute, work: UnitOfWork, proposal: Proposal) -> None:
        self.exchange, self.context, self.paging = approving.exchange, approving.context, approving.paging
        self.route, self.accept, self.dry_run, self.claim = route, None, False, None
        self._response = Response()
        self._work, self._proposal = work, proposal
        self.answered: Answer | None = None

    @override
    async def change(self, command: Command[A], *, current: Current | None = None) -> A:
        """Run the command. Raises what it raises, and ``VersionConflict`` with what has changed since."""
        if current is not None and self._proposal.if_match is not None:
            match_version(self._proposal.if_match, await current(self._work))
        before = len(self._work.changes)
        answer = await command(self._work)
        found = differences(self._proposal.changes, facts_of(self._work.changes[before:]))
        if found:
            raise VersionConflict(
                "What would be done now is not what was proposed: "
                + "; ".join(f"{one['field']} was {one['proposed']}, is {one['now']}" for one in found[:3])
                + ". Propose it anew.",
                details={"difference": found},
            )
        self.answered = answer
        return answer

    @override
    async def require_second_person(
        self, work: UnitOfWork, kind: MoneyKind, account_id: AccountId | None, amount: NanoUSD
    ) -> None:
        """It is the second person's decision that this carries out."""


async def carry_out(approving: Writing, work: UnitOfWork, proposal: Proposal) -> bytes:
    """Run a proposed operation, and return its answer as JSON.

    Raises what the operation refuses, and ``VersionConflict`` where it would do something else than was proposed.
    """
    route = next((one for one in approving.routes() if " ".join(one.spec.name) == proposal.operation), None)
    if route is None:
        raise Conflict(f"There is no operation {proposal.operation} any more: propose it anew.")
    request = ApprovedRequest(approving, route, work, proposal)
    values, faults = request_params_to_args(route.dependant.path_params, proposal.path_values)
    arguments: dict[str, Any] = dict(values)
    if route.body_field is not None:
        arguments[route.body_field.name] = body_model(route).model_validate_json(proposal.body)
    assert not faults, "its path was valid when it was proposed; this is a bug"
    for name, hint in get_type_hints(route.endpoint).items():
        if inspect.isclass(hint) and issubclass(hint, OperationRequest):
            arguments[name] = request
    await route.endpoint(**arguments)
    answered = request.answered
    assert answered is not None, "an operation that writes answers what it changed; this is a bug"
    return answered.storable().model_dump_json().encode()
