"""A request of a member or a management key as its handler has it: what operators' requests do, for one account.

As :mod:`router.api.admin.request`: ``AccountRead`` only asks, ``AccountWrite`` changes something by the one write path,
with dry run and Idempotency-Key, and ``AccountEdit`` needs If-Match.
"""

from typing import Annotated, TypeAlias
from uuid import UUID

from typing_extensions import override

from router.api.admin.request import Editing, Reading, Writing
from router.api.dependencies import depend_on
from router.changes.audit import Actor
from router.identity.principals import ManagementKey, Manager, actor_of
from router.values import Caller
from store.ids import AccountId


class AccountReading(Reading):
    """A request that only asks."""

    @property
    def principal(self) -> Manager:
        """Who asks."""
        found = self.exchange.principal
        assert found is not None, "an operation for an account was reached without a principal; this is a bug"
        assert not isinstance(found, Caller), "an API key reached an operation of managers; this is a bug"
        return found

    @property
    def account_id(self) -> AccountId:
        """Whose account it is."""
        return self.principal.account_id

    @property
    @override
    def actor(self) -> Actor:
        return actor_of(self.principal)

    @property
    @override
    def is_local(self) -> bool:
        return False


class AccountWriting(AccountReading, Writing):
    """A request that changes something."""

    @property
    @override
    def claimant(self) -> UUID:
        principal = self.principal
        return principal.id if isinstance(principal, ManagementKey) else principal.member_id


class AccountEditing(AccountWriting, Editing):
    """A request that edits what somebody else may have changed since it was read."""


AccountRead: TypeAlias = Annotated[AccountReading, depend_on(AccountReading)]
AccountWrite: TypeAlias = Annotated[AccountWriting, depend_on(AccountWriting)]
AccountEdit: TypeAlias = Annotated[AccountEditing, depend_on(AccountEditing)]
