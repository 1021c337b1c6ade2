"""The catalogue's tables as the migrations make them; checks, triggers and grants are in their SQL."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, ForeignKey, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.base import Base, NanoUSD


class ModelRow(Base):
    """A catalogue entry; :class:`catalog.values.ModelFacts` and the database explain the columns."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    owned_by: Mapped[str] = mapped_column(Text)
    summary: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    published_on: Mapped[date | None] = mapped_column(Date)
    dimensions: Mapped[int]
    trained_dimensions: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    only_trained_dimensions: Mapped[bool]
    max_input_tokens: Mapped[int]
    max_input_tokens_ceiling: Mapped[int | None]
    normalized: Mapped[bool]
    pooling: Mapped[str] = mapped_column(Text)
    numerics: Mapped[str] = mapped_column(Text)
    tokenizer: Mapped[str | None] = mapped_column(Text)
    vocabulary_size: Mapped[int | None]
    special_tokens: Mapped[int]
    prompts: Mapped[dict[str, str]] = mapped_column(JSONB)
    revision: Mapped[str | None] = mapped_column(Text)
    space: Mapped[str] = mapped_column(Text)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    languages: Mapped[str] = mapped_column(Text)
    estimated_nano_per_mtok: Mapped[int | None] = mapped_column(NanoUSD)
    estimate_source: Mapped[str | None] = mapped_column(Text)
    estimate_stated_on: Mapped[date | None] = mapped_column(Date)
    estimate_is_list_price: Mapped[bool]
    estimate_note: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    updated_on: Mapped[str | None] = mapped_column(Text)
    downloads: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    task: Mapped[str] = mapped_column(Text)
    architecture: Mapped[str | None] = mapped_column(Text)
    language_codes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    programming_languages: Mapped[list[str]] = mapped_column(ARRAY(Text))
    statements: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    benchmarks: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    texts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    successor: Mapped[str | None] = mapped_column(Text)
    seed_digest: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ModelAliasRow(Base):
    """Another name for a model in a request."""

    __tablename__ = "model_aliases"

    alias: Mapped[str] = mapped_column(Text, primary_key=True)
    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"))
    created_at: Mapped[datetime]


class ModelVoteRow(Base):
    """An account's vote for a model that is not served yet."""

    __tablename__ = "model_votes"

    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class LaunchMailRow(Base):
    """An account's choice of a mail when a model that is not served yet can be called."""

    __tablename__ = "launch_mails"

    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    by_vote: Mapped[bool]
    created_at: Mapped[datetime]


class LicenseClaimRow(Base):
    """One source's statement of a model's license; append-only."""

    __tablename__ = "license_claims"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"))
    license: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    claimed_on: Mapped[date] = mapped_column(Date)
    recorded_by: Mapped[str] = mapped_column(Text)
    recorded_at: Mapped[datetime]


class LicenseResolutionRow(Base):
    """An operator's decision which license holds; append-only, the newest holds."""

    __tablename__ = "license_resolutions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"))
    license: Mapped[str] = mapped_column(Text)
    settles: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    decided_by: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[datetime]


class LicenseWaiverRow(Base):
    """A signed lifting of one term; only its revocation is written later, once."""

    __tablename__ = "license_waivers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"))
    term: Mapped[str] = mapped_column(Text)
    signer: Mapped[str] = mapped_column(Text)
    signed_by: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    signed_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime]


class LicenseAcceptanceRow(Base):
    """An account's acceptance of one version of a license text; append-only. The account is billing's."""

    __tablename__ = "license_acceptances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    license: Mapped[str] = mapped_column(Text)
    text_version: Mapped[str] = mapped_column(Text)
    accepted_by: Mapped[str] = mapped_column(Text)
    accepted_at: Mapped[datetime]


class LicenseEvidenceRow(Base):
    """What an account knows better of a license; written later once, when an operator has looked at it."""

    __tablename__ = "license_evidence"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"))
    account_id: Mapped[UUID]
    body: Mapped[str] = mapped_column(Text)
    link: Mapped[str] = mapped_column(Text)
    sent_by: Mapped[str] = mapped_column(Text)
    sent_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    decided_by: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None]


class ModelEventRow(Base):
    """One move of a model between its states; append-only."""

    __tablename__ = "model_events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(Text, ForeignKey("models.id"))
    from_status: Mapped[str] = mapped_column(Text)
    to_status: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    occurred_at: Mapped[datetime]
