"""Shows an account to operators: balance, caps, grants and keys, what may be done with it, and its latest changes."""

from datetime import datetime
from typing import ClassVar

import msgspec

from billing.credits import Grant as Granted
from billing.credits import list_grants
from billing.money import to_usd
from router.api.in_process import OperationRefused
from router.changes.audit import list_changes
from router.identity.key_views import KeyView, list_keys
from store.ids import AccountId, KeyId, parse, wire
from web.answers import Crumb, Page
from web.faults import NotFound
from web.ops.audit import ChangeRow, rows_of
from web.ops.write import OPERATIONS, Field, Write
from web.parts.tables import Column
from web.request import PageRequest

ROWS = 25
ACCOUNTS = Crumb("Accounts", "/ops/accounts")
REASON = Field(name="reason", label="Reason", kind="area", hint="For whoever looks next; the audit has it.")


class Account(msgspec.Struct, frozen=True):
    """An account with its people."""

    id: str
    name: str
    status: str
    credit_usd: str
    debt_usd: str
    created_at: datetime
    keys: int | None = None
    members: list[str] | None = None


class Grant(msgspec.Struct, frozen=True):
    """Credit that it was given or bought."""

    kind: str
    amount_usd: str
    remaining_usd: str
    source: str
    expires_at: datetime | None


class Key(msgspec.Struct, frozen=True):
    """A key of it. ``networks`` empty: it may be used from everywhere."""

    id: str
    name: str
    shown_as: str
    use: str
    state: str
    networks: tuple[str, ...]


class DoneQuery(msgspec.Struct, frozen=True):
    """``done``: a write was carried out a moment ago."""

    done: bool = False


class AccountPage(Page, frozen=True, kw_only=True):
    """An account."""

    template: ClassVar[str] = "ops/account.html"

    account: Account
    grants: list[Grant]
    keys: list[Key]
    changes: tuple[ChangeRow, ...]
    grant_head: tuple[Column, ...] = (
        Column("Grant"),
        Column("Amount", "USD", is_number=True),
        Column("Left", "USD", is_number=True),
        Column("Expires"),
    )
    key_head: tuple[Column, ...] = (Column("Key"), Column("For"), Column("Status"), Column("Networks"))
    is_done: bool = False


async def show(request: PageRequest) -> AccountPage:
    """An account, with the newest of each of its lists."""
    query = request.query_as(DoneQuery)
    known = {"account_id": request.values["account"]}
    try:
        account = (await request.run("admin_retrieve_account", Account, path=known)).value
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise
    account_id = AccountId(parse(AccountId, account.id))
    # By the functions that the lists' operations call, of which each would look for the account again.
    async with request.context.reads.db.transaction() as connection:
        grants = [_grant(grant) for grant in (await list_grants(connection, account_id))[:ROWS]]
        keys = [_key(view) for view in await list_keys(connection, account_id, limit=ROWS)]
        changes = rows_of(await list_changes(connection, account_id=account_id, limit=10))
    return AccountPage(
        title=account.name,
        crumbs=(OPERATIONS, ACCOUNTS, Crumb(account.name)),
        account=account,
        grants=grants,
        keys=keys,
        changes=changes,
        is_done=query.done,
    )


def _grant(grant: Granted) -> Grant:
    return Grant(
        kind=grant.kind.value,
        amount_usd=to_usd(grant.amount),
        remaining_usd=to_usd(grant.remaining),
        source=grant.source_ref,
        expires_at=grant.expires_at,
    )


def _key(view: KeyView) -> Key:
    spec = view.spec
    return Key(wire(KeyId, view.id), spec.name, view.masked, spec.use.value, view.state, spec.networks)


def _write(operation: str, verb: str, explanation: str, *, is_dangerous: bool = False) -> Write:
    return Write(
        operation=operation,
        verb=verb,
        explanation=explanation,
        values={"account_id": "account"},
        reads="admin_retrieve_account",
        fields=(REASON,),
        names={"name": "Account", "status": "Status", "credit_usd": "Credit, USD"},
        back="/ops/accounts/{account}",
        crumbs=(OPERATIONS, ACCOUNTS),
        is_dangerous=is_dangerous,
    )


SUSPEND = _write(
    "suspend_account", "Suspend", "Its keys stop within a second; credit and usage stay.", is_dangerous=True
)
BOUND_KEYS = Write(
    operation="edit_key_policy",
    verb="Bound the keys of",
    explanation="The longest life of a new key. Keys that exceed it stay as they are until they are edited or rotated.",
    noun="{account}",
    values={"account_id": "account"},
    reads="retrieve_key_policy",
    fields=(
        Field(
            name="max_days",
            label="Longest life, days",
            kind="count",
            hint="1 to 3650; empty: no bound.",
            is_empty_null=True,
        ),
    ),
    names={
        "max_days": "Longest life, days",
        "exceeding_keys": "Keys that exceed it",
        "exceeding_management_keys": "Management keys that exceed it",
    },
    back="/ops/accounts/{account}",
    crumbs=(OPERATIONS, ACCOUNTS),
)
RESUME = _write("resume_account", "Resume", "Its keys work again within a second.")
GRANT = Write(
    operation="create_grant",
    verb="Grant credit to",
    explanation="Credit without a payment. Above what one operator may give it waits for a second person.",
    values={"account_id": "account"},
    reads="admin_retrieve_account",
    fields=(
        Field(name="amount_usd", label="Amount, USD", hint="Such as 25.00.", is_required=True),
        Field(
            name="kind",
            label="Kind",
            kind="choice",
            options=(("promotional", "Promotional"), ("goodwill", "Goodwill")),
            hint="Promotional credit is spent first.",
        ),
        Field(
            name="source",
            label="Source",
            hint="The fact behind it, which the customer sees; the same one is granted once.",
            is_required=True,
        ),
        Field(name="expires_at", label="Expires at", hint="Such as 2027-01-31T00:00:00Z; empty: never."),
        Field(name="note", label="Reason", kind="area", hint="For whoever reads the audit."),
    ),
    names={"amount_usd": "Amount, USD", "kind": "Kind", "source": "Source", "expires_at": "Expires"},
    back="/ops/accounts/{account}",
    crumbs=(OPERATIONS, ACCOUNTS),
)
