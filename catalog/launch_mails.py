"""Keeps which accounts get a mail when an announced model can be called: their own choice, apart from their votes."""

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.tables import LaunchMailRow
from store.ids import AccountId, ModelId

_Row = LaunchMailRow


async def choose(db: AsyncConnection, model_id: ModelId, account_id: AccountId, *, by_vote: bool = False) -> None:
    """Note that an account gets the mail; a choice of its own stays one when a vote follows."""
    written = insert(_Row).values(model_id=model_id, account_id=account_id, by_vote=by_vote)
    if by_vote:
        await db.execute(written.on_conflict_do_nothing())
    else:
        await db.execute(
            written.on_conflict_do_update(index_elements=["model_id", "account_id"], set_={"by_vote": False})
        )


async def withdraw(db: AsyncConnection, model_id: ModelId, account_id: AccountId, *, by_vote: bool = False) -> None:
    """Note that an account gets no mail; with ``by_vote`` only where its vote alone brought it."""
    gone = delete(_Row).where(_Row.model_id == model_id, _Row.account_id == account_id)
    await db.execute(gone.where(_Row.by_vote) if by_vote else gone)


async def is_chosen(db: AsyncConnection, model_id: ModelId, account_id: AccountId) -> bool:
    """Whether an account gets the mail."""
    wanted = exists().where(_Row.model_id == model_id, _Row.account_id == account_id)
    return bool(await db.scalar(select(wanted)))


async def list_readers(db: AsyncConnection, model_id: ModelId) -> list[AccountId]:
    """The accounts that get the mail."""
    rows = await db.scalars(select(_Row.account_id).where(_Row.model_id == model_id))
    return [AccountId(account_id) for account_id in rows]
