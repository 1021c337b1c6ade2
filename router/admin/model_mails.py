"""Mails accounts what changes for them with a model: those that chose the mail, and those that called it of late."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD, Price, to_usd
from catalog import launch_mails
from catalog.values import Model, Status
from mail import enqueue_all
from mail.kinds import ModelLaunched, ModelRetiring, PriceChange
from router.changes.transaction import UnitOfWork
from store.ids import AccountId, ModelId

# Whoever has called a model within so long uses it.
_USERS = text("""
    SELECT DISTINCT u.account_id FROM usage_by_day u JOIN accounts a ON a.id = u.account_id AND a.status <> 'closed'
    WHERE u.model_id = :model AND u.at > now() - interval '30 days'
""")


async def mail_launch(work: UnitOfWork, model: Model, price: Price) -> None:
    """A model can be called, for those who chose to be mailed."""
    batch = price.batch_nano_per_mtok
    mail = ModelLaunched(
        model=model.id,
        price_usd=to_usd(NanoUSD(price.nano_per_mtok)),
        batch_price_usd="" if batch is None else to_usd(NanoUSD(batch)),
    )
    readers = await launch_mails.list_readers(work.connection, model.id)
    await enqueue_all(work.connection, mail, readers, dedupe=f"launch:{model.id}")


async def mail_price(work: UnitOfWork, model: Model, before: Price | None, after: Price) -> None:
    """A model's price changes; its first one is no change, nor is that of a model that cannot be called."""
    if before is None or model.status not in (Status.LIVE, Status.DEPRECATED):
        return
    users = await _users_of(work.connection, model.id)
    for lane, was, is_now in (
        ("standard", before.nano_per_mtok, after.nano_per_mtok),
        ("batch", _batch(before), _batch(after)),
    ):
        if was != is_now:
            amounts = {"before_usd": to_usd(NanoUSD(was)), "after_usd": to_usd(NanoUSD(is_now))}
            mail = PriceChange(model=model.id, at=after.effective_at, lane=lane, **amounts)
            await enqueue_all(work.connection, mail, users, dedupe=f"price:{after.id.hex}:{lane}")


async def mail_retiring(work: UnitOfWork, model: Model, to: Status) -> None:
    """A model is deprecated: it can be called for now; or retired, and cannot."""
    if to not in (Status.DEPRECATED, Status.RETIRED) or model.status is Status.COMING_SOON:
        return
    users = await _users_of(work.connection, model.id)
    mail = ModelRetiring(model=model.id, at=work.now if to is Status.RETIRED else None)
    await enqueue_all(work.connection, mail, users, dedupe=f"{to.value}:{model.id}:{work.now:%Y-%m-%d}")


async def _users_of(tx: AsyncConnection, model_id: ModelId) -> list[AccountId]:
    return [AccountId(account) for account in (await tx.execute(_USERS, {"model": model_id})).scalars()]


def _batch(price: Price) -> int:
    return price.nano_per_mtok if price.batch_nano_per_mtok is None else price.batch_nano_per_mtok
