"""A request of a person about themselves, as its handler has it: it reads, or changes by the one write path."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias, TypeVar
from uuid import UUID

from typing_extensions import override

from router.api.admin.request import Current, Reading, Writing
from router.api.dependencies import depend_on
from router.api.forms import Answer
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork
from router.identity.people.limits import CHANGES_OF_PERSON, count_try
from router.identity.principals import PersonPrincipal
from store.ids import PersonId, wire

A = TypeVar("A", bound=Answer)


class PersonReading(Reading):
    """A request that only asks."""

    @property
    def person(self) -> PersonPrincipal:
        """Who asks."""
        assert self.exchange.person is not None, "an operation for people was reached without one; this is a bug"
        return self.exchange.person

    @property
    @override
    def actor(self) -> Actor:
        return self.person.actor

    @property
    @override
    def is_local(self) -> bool:
        return False


class PersonWriting(PersonReading, Writing):
    """A request that changes something."""

    @property
    @override
    def claimant(self) -> UUID:
        return self.person.person_id

    @override
    async def change(self, command: Callable[[UnitOfWork], Awaitable[A]], *, current: Current | None = None) -> A:
        """Change something. Raises what the command raises, and ``RequestLimit`` beyond a hundred changes a day."""
        if not self.dry_run:
            await count_try(self.context.db, CHANGES_OF_PERSON, wire(PersonId, self.person.person_id))
        return await super().change(command, current=current)


PersonRead: TypeAlias = Annotated[PersonReading, depend_on(PersonReading)]
PersonWrite: TypeAlias = Annotated[PersonWriting, depend_on(PersonWriting)]
