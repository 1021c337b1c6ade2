"""Makes a change that a person makes of themselves: audited as theirs, and bounded a day."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from router.admin.sign_in import actor_of
from router.changes.transaction import UnitOfWork, transact
from router.identity.people.limits import CHANGES_OF_PERSON, count_try
from store.ids import PersonId, wire
from web.request import PageRequest

T = TypeVar("T")


async def change_own(request: PageRequest, command: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Run a command as the reader. Raises what it raises, and ``RequestLimit`` beyond a hundred a day."""
    writes, person = request.context.people.writes, request.signed_in().person
    await count_try(writes, CHANGES_OF_PERSON, wire(PersonId, person.id))
    return await transact(writes, actor_of(person), command)
