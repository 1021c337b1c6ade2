"""Mails accounts what changes for them with a model: those that chose the mail, and those that called it of late."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD, Price, to_usd
from catalog import launch_mails
from catalog.values import Model, Status
from mail import enqueue_all
from mail.kinds import ModelLaunched, ModelRetiring, PriceChange
from mail.outbox import known
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
    readers = await accounts_to_mail(work.connection, model, Status.LIVE, work.now)
    await enqueue_all(work.connection, mail, readers, dedupe=_dedupe(model, Status.LIVE, work.now))


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


async def mail_retiring(work: UnitOfWork, model: Model, to: Status, successor: ModelId | None = None) -> None:
    """A model is deprecated: it can be called for now; or retired, and cannot."""
    if to not in (Status.DEPRECATED, Status.RETIRED):
        return
    users = await accounts_to_mail(work.connection, model, to, work.now)
    at = work.now if to is Status.RETIRED else None
    mail = ModelRetiring(model=model.id, at=at, successor=successor or "")
    await enqueue_all(work.connection, mail, users, dedupe=_dedupe(model, to, work.now))


async def accounts_to_mail(tx: AsyncConnection, model: Model, to: Status, now: datetime) -> list[AccountId]:
    """The accounts that get a mail when a model, as it is now, makes this move, and have not had it yet."""
    if to is Status.LIVE:
        readers = await launch_mails.list_readers(tx, model.id)
    elif to is Status.COMING_SOON or model.status is Status.COMING_SOON:
        readers = []
    else:
        readers = await _users_of(tx, model.id)
    names = {f"{_dedupe(model, to, now)}:{account.hex}": account for account in readers}
    had = await known(tx, list(names))
    return [account for name, account in names.items() if name not in had]


def _dedupe(model: Model, to: Status, now: datetime) -> str:
    return f"launch:{model.id}" if to is Status.LIVE else f"{to.value}:{model.id}:{now:%Y-%m-%d}"


async def _users_of(tx: AsyncConnection, model_id: ModelId) -> list[AccountId]:
    return [AccountId(account) for account in (await tx.execute(_USERS, {"model": model_id})).scalars()]


def _batch(price: Price) -> int:
    return price.nano_per_mtok if price.batch_nano_per_mtok is None else price.batch_nano_per_mtok
