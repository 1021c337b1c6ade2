"""Declares the router's tables for SQLAlchemy; the migrations make them and comment on each column."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from router.networks import Network
from store.base import Base, Nano

Json = dict[str, object]


class MemberRow(Base):
    """A person in an account, or an operator."""

    __tablename__ = "members"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID | None]
    email: Mapped[str]
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    person_id: Mapped[UUID | None]


class KeyRow(Base):
    """An API key, without the key."""

    __tablename__ = "keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    name: Mapped[str]
    handle: Mapped[str]
    last4: Mapped[str]
    digest: Mapped[bytes]
    previous_digest: Mapped[bytes | None]
    previous_until: Mapped[datetime | None]
    use: Mapped[str]
    is_test: Mapped[bool]
    allow_token_ids: Mapped[bool]
    models: Mapped[list[str]] = mapped_column(ARRAY(Text))
    networks: Mapped[list[Network]] = mapped_column(ARRAY(CIDR))
    requests_per_minute: Mapped[int]
    tokens_per_minute: Mapped[int]
    concurrency: Mapped[int]
    cap_nano: Mapped[Nano | None]
    cap_period: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    paused: Mapped[bool]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class OldSecretRow(Base):
    """A secret of a key that was replaced before the key's latest rotation and works on, or that of a trial call."""

    __tablename__ = "old_secrets"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[UUID]
    works_until: Mapped[datetime]
    is_trial: Mapped[bool]


class ProviderRow(Base):
    """Someone who serves models, and our encrypted credential there."""

    __tablename__ = "providers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    base_url: Mapped[str | None]
    sealed: Mapped[bytes | None]
    credential_hint: Mapped[str | None]
    options: Mapped[Json] = mapped_column(JSONB)
    enabled: Mapped[bool]
    regions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    collects_data: Mapped[bool]
    retention_days: Mapped[int | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class EndpointRow(Base):
    """One model at one provider."""

    __tablename__ = "endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model_id: Mapped[str]
    provider_id: Mapped[UUID]
    upstream_model: Mapped[str]
    space: Mapped[str]
    state: Mapped[str]
    state_reason: Mapped[str]
    quarantine_cause: Mapped[str | None]
    priority: Mapped[int]
    cost_nano_per_mtok: Mapped[Nano]
    asks_base64: Mapped[bool]
    upstream_space: Mapped[str | None]
    native_input_type: Mapped[bool]
    max_batch: Mapped[int | None]
    weight: Mapped[int]
    numerics: Mapped[str | None]
    max_batch_tokens: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    concurrency: Mapped[int | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class AuditRow(Base):
    """Who changed what, when; append-only."""

    __tablename__ = "audit"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    account_id: Mapped[UUID | None]
    before: Mapped[Json | None] = mapped_column(JSONB)
    after: Mapped[Json | None] = mapped_column(JSONB)
    reason: Mapped[str]


class SpaceReferenceRow(Base):
    """A vector space's vectors of the probe texts."""

    __tablename__ = "space_references"

    space: Mapped[str] = mapped_column(primary_key=True)
    probe_set: Mapped[str] = mapped_column(primary_key=True)
    dimensions: Mapped[int]
    vectors: Mapped[bytes]
    source: Mapped[str]
    recorded_by: Mapped[str]
    recorded_at: Mapped[datetime]
    texts: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    noise_worst: Mapped[float | None]
    noise_typical: Mapped[float | None]


class ProbeRow(Base):
    """One verification of an endpoint: whether it serves the space that it claims."""

    __tablename__ = "probes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID]
    at: Mapped[datetime]
    occasion: Mapped[str]
    verdict: Mapped[str]
    reason: Mapped[str]
    report: Mapped[Json] = mapped_column(JSONB)


class ProbeScheduleRow(Base):
    """When an endpoint is verified next."""

    __tablename__ = "probe_schedule"

    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    next_at: Mapped[datetime]
    full_at: Mapped[datetime]
    misses: Mapped[int]
    good: Mapped[int]


class OperatorKeyRow(Base):
    """A key of an operator for the admin API, without the key."""

    __tablename__ = "operator_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    member_id: Mapped[UUID]
    name: Mapped[str]
    handle: Mapped[str]
    last4: Mapped[str]
    digest: Mapped[bytes]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class ManagementKeyRow(Base):
    """A management key of an account, without the key."""

    __tablename__ = "management_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    name: Mapped[str]
    handle: Mapped[str]
    last4: Mapped[str]
    digest: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    networks: Mapped[list[Network]] = mapped_column(ARRAY(CIDR))
    member_id: Mapped[UUID | None]
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class RouteRow(Base):
    """A call in the log of calls, and why it went where it did."""

    __tablename__ = "routes"

    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID | None]
    route: Mapped[Json] = mapped_column(JSONB)
    at: Mapped[datetime | None]
    key_id: Mapped[UUID | None]
    model_id: Mapped[str | None]
    lane: Mapped[str | None]
    outcome: Mapped[str | None]
    code: Mapped[str | None]
    took_ms: Mapped[int | None]
    duration_class: Mapped[int | None]
    tokens: Mapped[int | None]
    cost_nano: Mapped[Nano | None]
    attempts: Mapped[int | None]


class CatalogueFileRow(Base):
    """What a catalogue file, or an import, wrote last."""

    __tablename__ = "catalogue_files"

    source: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    applied: Mapped[Json] = mapped_column(JSONB)
    applied_at: Mapped[datetime]
    applied_by: Mapped[str]


class IdempotencyRow(Base):
    """A client's Idempotency-Key and the stored outcome of its call."""

    __tablename__ = "idempotency"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes]
    request_id: Mapped[UUID]
    state: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    lease_until: Mapped[datetime]
    status: Mapped[int | None]
    headers: Mapped[bytes | None]
    body: Mapped[bytes | None]
    sealed: Mapped[bytes | None]
