"""``POST /v1/me/accounts``: a person opens another account of their own."""

from typing import ClassVar, Literal

from pydantic import Field

from router.admin.own_accounts import Opened, open_own_account
from router.api.fields import AccountIdText, Instant, Usd
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.person_request import PersonWrite
from router.changes.transaction import UnitOfWork
from router.identity.people.people import get_person
from router.identity.scopes import Scope

operations = Operations("own-accounts", "/v1/me/accounts", tag="You", who=Who.PERSON)


class AccountOpened(Answer):
    """An account that was opened, with its two keys."""

    once: ClassVar[frozenset[str]] = frozenset({"key", "test_key"})

    account: AccountIdText
    account_name: str
    key: str | None = Field(description="A key for calls, in this answer and its replays alone.")
    test_key: str | None = Field(description="A key for tests: free, with made-up vectors.")
    credit_usd: Usd = Field(description="Free credit, once for a person; 0 where there was some before.")
    credit_until: Instant | None = Field(description="When that credit expires.")
    object: Literal["account_opened"] = "account_opened"


@operations.post(
    "",
    verb="open",
    name="open_own_account",
    scope=Scope.PERSON_WRITE,
    summary="Open an account of your own",
    shows_once=True,
)
async def open_(request: PersonWrite) -> AccountOpened:
    """Open an account of which you are the owner, with a key and a key for tests. At most five that are open."""

    async def command(work: UnitOfWork) -> AccountOpened:
        person = await get_person(work.connection, request.person.person_id, locked=True)
        return _out(await open_own_account(work, person, request.context.free_credit))

    return await request.change(command)


def _out(opened: Opened) -> AccountOpened:
    return AccountOpened(
        account=opened.account_id,
        account_name=opened.account_name,
        key=opened.key.text,
        test_key=opened.test_key.text,
        credit_usd=opened.credit,
        credit_until=opened.credit_until,
    )
