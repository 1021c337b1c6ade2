"""Counts votes for announced models, one per account, so that demand decides what is launched next."""

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.tables import ModelVoteRow
from store.ids import AccountId, ModelId


async def vote(db: AsyncConnection, model_id: ModelId, account_id: AccountId, note: str = "") -> int:
    """Count an account's vote, once; a second one replaces its note. Returns how many accounts have voted."""
    written = insert(ModelVoteRow).values(model_id=model_id, account_id=account_id, note=note)
    await db.execute(written.on_conflict_do_update(index_elements=["model_id", "account_id"], set_={"note": note}))
    return await _count(db, model_id)


async def withdraw(db: AsyncConnection, model_id: ModelId, account_id: AccountId) -> int:
    """Withdraw a vote, if there was one. Returns how many accounts have voted."""
    row = ModelVoteRow
    await db.execute(delete(row).where(row.model_id == model_id, row.account_id == account_id))
    return await _count(db, model_id)


async def has_voted(db: AsyncConnection, model_id: ModelId, account_id: AccountId) -> bool:
    """Whether an account has voted for a model."""
    row = ModelVoteRow
    return bool(await db.scalar(select(exists().where(row.model_id == model_id, row.account_id == account_id))))


async def _count(db: AsyncConnection, model_id: ModelId) -> int:
    row = ModelVoteRow
    return int(await db.scalar(select(func.count()).select_from(row).where(row.model_id == model_id)) or 0)
