"""Sets the caps of accounts through the one write path.

An account's own keys may set and lower caps, and not raise or remove one: what a leaked key could lift would limit
nobody. Its members may.
"""

from collections.abc import Collection, Sequence

from billing.account_caps import caps_of_accounts, write_account_caps
from billing.cap_rules import ordered
from billing.money import to_usd
from billing.values import Cap, CapPeriod
from router.admin.accounts import require_account
from router.admin.own_changes import require_few_changes
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import NotAllowed
from router.identity.key_commands import validate_caps
from router.tables import Json
from store.ids import AccountId, wire


async def set_account_caps(work: UnitOfWork, account_id: AccountId, caps: Collection[Cap]) -> tuple[Cap, ...]:
    """Replace an account's caps. What was spent in their periods counts. Raises ``NotFound``, ``InvalidRequest``."""
    validate_caps(caps)
    await require_account(work, account_id, locked=True)
    before = (await caps_of_accounts(work.connection, [account_id])).get(account_id, ())
    await write_account_caps(work.connection, account_id, caps)
    after = ordered(caps)
    work.record_change(Change("caps.set", wire(AccountId, account_id), account_id, _facts(before), _facts(after)))
    return after


async def tighten_account_caps(work: UnitOfWork, account_id: AccountId, caps: Collection[Cap]) -> tuple[Cap, ...]:
    """Replace an account's caps where none is raised or removed.

    Raises as :func:`set_account_caps` does, ``NotAllowed`` for a cap that would limit less, ``Conflict`` for too many
    changes within a day.
    """
    validate_caps(caps)
    await require_account(work, account_id, locked=True)
    before = (await caps_of_accounts(work.connection, [account_id])).get(account_id, ())
    loosened = find_loosened(before, caps)
    if loosened is not None:
        scope = "in total" if loosened.period is CapPeriod.TOTAL else f"per {loosened.period.value}"
        raise NotAllowed(
            f"A key may set and lower its account's caps. The cap of {to_usd(loosened.amount)} USD {scope} would be "
            "raised or removed, which is for members who are signed in, and for our operators.",
            details={"period": loosened.period.value, "cap_usd": to_usd(loosened.amount)},
        )
    await require_few_changes(work, account_id, "caps", "caps")
    return await set_account_caps(work, account_id, caps)


def find_loosened(before: Sequence[Cap], after: Collection[Cap]) -> Cap | None:
    """The first cap that ``after`` raises or leaves out, if any."""
    amounts = {cap.period: cap.amount for cap in after}
    return next((cap for cap in before if cap.period not in amounts or amounts[cap.period] > cap.amount), None)


def _facts(caps: Sequence[Cap]) -> Json:
    return {f"{cap.period.value}_usd": to_usd(cap.amount) for cap in caps}
