"""Holds who reads a page: nobody, or a person with accounts and perhaps a role of an operator."""

from datetime import datetime, timedelta

import msgspec

from router.identity.members import Role
from router.identity.people.values import OpenView, SignedIn
from store.ids import AccountId, MemberId

# What changes keys, people, money or anything of operators wants a sign-in that is not older.
FRESH_FOR = timedelta(minutes=15)


class Membership(msgspec.Struct, frozen=True):
    """A person in an account. ``only_reads``: an operator, who sees it as its owner does and changes nothing."""

    account_id: AccountId
    account_name: str
    role: Role
    member_id: MemberId
    only_reads: bool = False


class Staff(msgspec.Struct, frozen=True):
    """A person as an operator, and the account that they see as its owner does, if any."""

    member_id: MemberId
    role: Role
    view: OpenView | None = None


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads. ``person`` is empty for nobody; ``zone`` is the IANA name in which times are shown."""

    person: str = ""
    name: str = ""
    email: str = ""
    zone: str = "UTC"
    memberships: tuple[Membership, ...] = ()
    staff: Staff | None = None
    signed_in_at: datetime | None = None
    # The session and person themselves, for the pages that are about them.
    signed_in: SignedIn | None = None

    @property
    def is_known(self) -> bool:
        """Whether somebody is signed in."""
        return bool(self.person)

    def membership(self, account_id: AccountId) -> Membership | None:
        """The person in that account, an operator who sees it as its owner; None for who is no member of it."""
        own = next((one for one in self.memberships if one.account_id == account_id), None)
        view = None if self.staff is None else self.staff.view
        if own is not None or view is None or self.staff is None or view.account_id != account_id:
            return own
        return Membership(view.account_id, view.account_name, Role.OWNER, self.staff.member_id, only_reads=True)

    def is_fresh(self, now: datetime) -> bool:
        """Whether the person signed in a moment ago."""
        return self.signed_in_at is not None and now - self.signed_in_at <= FRESH_FOR


NOBODY = Viewer()
