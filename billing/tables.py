"""Billing's tables, as SQLAlchemy sees them. Checks, triggers and grants are in the migration."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from store.base import Base


class AccountRow(Base):
    """An account: who pays."""

    __tablename__ = "accounts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LedgerAccountRow(Base):
    """One ledger account of the chart; ``posted_nano`` and ``version`` are for customers' credit and overdraft only."""

    __tablename__ = "ledger_accounts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    account_id: Mapped[UUID | None]
    detail: Mapped[str] = mapped_column(server_default="")
    posted_nano: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)


class EntryRow(Base):
    """One ledger transaction."""

    __tablename__ = "entries"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    source_ref: Mapped[str]
    account_id: Mapped[UUID | None]
    note: Mapped[str]
    period: Mapped[date | None]
    booked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class PostingRow(Base):
    """One leg of an entry."""

    __tablename__ = "postings"
    entry_id: Mapped[UUID] = mapped_column(primary_key=True)
    leg: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    ledger_account_id: Mapped[UUID]
    amount_nano: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int | None] = mapped_column(BigInteger)


class GrantRow(Base):
    """An amount of credit with its source and expiry."""

    __tablename__ = "grants"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    kind: Mapped[str]
    amount_nano: Mapped[int] = mapped_column(BigInteger)
    remaining_nano: Mapped[int] = mapped_column(BigInteger)
    source_ref: Mapped[str]
    granted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class PriceRow(Base):
    """A price from an instant on."""

    __tablename__ = "prices"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str]
    nano_per_mtok: Mapped[int] = mapped_column(BigInteger)
    batch_nano_per_mtok: Mapped[int | None] = mapped_column(BigInteger)
    effective_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    note: Mapped[str]


class UsageEventRow(Base):
    """The record of one answered call."""

    __tablename__ = "usage_events"
    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    account_id: Mapped[UUID]
    key_id: Mapped[UUID]
    model_id: Mapped[str]
    provider_id: Mapped[UUID]
    endpoint_id: Mapped[UUID]
    space: Mapped[str]
    inputs: Mapped[int]
    tokens: Mapped[int]
    provider_tokens: Mapped[int | None]
    price_id: Mapped[UUID]
    nano_per_mtok: Mapped[int] = mapped_column(BigInteger)
    cost_nano: Mapped[int] = mapped_column(BigInteger)
    charged_nano: Mapped[int] = mapped_column(BigInteger)
    overdraft_nano: Mapped[int] = mapped_column(BigInteger)
    promotional_nano: Mapped[int | None] = mapped_column(BigInteger)
    goodwill_nano: Mapped[int | None] = mapped_column(BigInteger)
    held_nano: Mapped[int | None] = mapped_column(BigInteger)
    provider_cost_nano: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int | None] = mapped_column(BigInteger)
    entry_id: Mapped[UUID | None]
    latency_ms: Mapped[int]
    attempts: Mapped[int] = mapped_column(SmallInteger)
