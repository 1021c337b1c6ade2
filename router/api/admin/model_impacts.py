"""The answers that say whom a move of a model touches, in the dry run that would make it."""

from typing import ClassVar

from pydantic import Field

from catalog.values import Model, Status
from router.admin.model_impact import ModelUser, MoveImpact, measure_move
from router.api.fields import AccountIdText, Instant
from router.api.forms import Answer, answer_of
from router.changes.transaction import UnitOfWork

# So many accounts stand in a dry run.
FIRST = 20


class ModelUserOut(Answer):
    """An account that used the model in the last 30 days, or gets a mail."""

    columns: ClassVar[tuple[str, ...]] = ("account", "account_name", "calls", "tokens", "is_mailed")

    account: AccountIdText
    account_name: str
    calls: int
    tokens: int
    is_mailed: bool = Field(description="Whether its owners get a mail about it.")


class MoveImpactOut(Answer):
    """Whom a move of a model touches."""

    since: Instant
    until: Instant
    accounts: int = Field(description="How many accounts called it in the last 30 days.")
    calls: int
    tokens: int
    mailed_accounts: int = Field(description="How many accounts are mailed: those that use it, or wait for its launch.")
    addresses: int = Field(description="Of their owners, those that take mails about models.")
    keys: int = Field(description="Keys that name it among the models that they may call.")
    only_keys: int = Field(description="Of those, keys that name no other model.")
    first: tuple[ModelUserOut, ...] = Field(description="The accounts with the most tokens, at most 20.")


async def move_impact(work: UnitOfWork, model: Model, to: Status) -> MoveImpactOut:
    """Whom it touches that a model, as it is now, makes this move."""
    return _out(await measure_move(work.connection, model, to, work.now))


def _out(impact: MoveImpact) -> MoveImpactOut:
    used = [user for user in impact.users if user.calls]
    return answer_of(
        MoveImpactOut,
        impact,
        accounts=len(used),
        calls=sum(user.calls for user in used),
        tokens=sum(user.tokens for user in used),
        mailed_accounts=sum(user.is_mailed for user in impact.users),
        first=tuple(_user(user) for user in impact.users[:FIRST]),
    )


def _user(user: ModelUser) -> ModelUserOut:
    return answer_of(ModelUserOut, user, account=user.account_id)
