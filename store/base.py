"""What every package's tables share: the declarative base, the names of constraints, the column types.

The tables themselves belong to the package that writes them (``<package>/tables.py``), the schema to the migrations.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Dialect, MetaData, TypeDecorator, Uuid
from sqlalchemy.orm import DeclarativeBase, mapped_column
from typing_extensions import override

# The names that Postgres itself gives, so that a constraint reads the same in a migration, an error and a test.
NAMING = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


class Instant(TypeDecorator[datetime]):
    """``timestamptz``, read back in UTC. A naive datetime is refused, since its instant is unknown."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC. Raises ``ValueError`` for a datetime without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; instants are UTC")
        return value.astimezone(UTC)


# Money is an integer of nano-USD in BIGINT; the column's name ends in `_nano` or `_nano_per_mtok`.
NanoUSD = BigInteger

Nano = Annotated[int, mapped_column(NanoUSD)]


class Base(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: Instant(), UUID: Uuid()}
