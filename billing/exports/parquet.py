"""Writes rows, which come as Postgres' CSV, into a Parquet file: decimal amounts, UTC instants, one row group a block.

The only importer of pyarrow, which is an extra (``pip install gigarouter[finance]``) and loaded when it is needed.
"""

from typing import Any

from billing.exports.storage import HashingFile
from billing.exports.tables import SCHEMA_VERSION, Table, Type

# The largest amount of the ledger, a bigint of nano-dollars, has nineteen digits; a sum of such may have more.
MONEY_DIGITS = 28


class ParquetUnavailable(Exception):
    """pyarrow is not installed."""


class ParquetSink:
    """Writes blocks of whole rows of a table's CSV, without a header. Raises :class:`ParquetUnavailable`."""

    def __init__(self, file: HashingFile, table: Table) -> None:
        try:
            import pyarrow
            import pyarrow.csv
            import pyarrow.parquet
        except ModuleNotFoundError:
            raise ParquetUnavailable(
                "Parquet needs pyarrow where jobs run: pip install 'gigarouter[finance]'."
            ) from None
        self._pyarrow: Any = pyarrow
        types = {
            Type.TEXT: pyarrow.string(),
            Type.MONEY: pyarrow.decimal128(MONEY_DIGITS, 9),
            Type.INTEGER: pyarrow.int64(),
            Type.INSTANT: pyarrow.timestamp("us", tz="UTC"),
        }
        fields = [pyarrow.field(column.name, types[column.type]) for column in table.columns]
        facts = {"gigarouter.table": table.name, "gigarouter.schema_version": str(SCHEMA_VERSION)}
        schema = pyarrow.schema(fields, metadata=facts)
        self._schema = schema
        self._writer = pyarrow.parquet.ParquetWriter(pyarrow.PythonFile(file, mode="w"), schema, compression="zstd")
        names = [column.name for column in table.columns]
        # One thread: what this shares its cores with has customers who wait.
        self._read = pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 30)
        self._parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        self._convert = pyarrow.csv.ConvertOptions(
            column_types=dict(zip(names, schema.types, strict=True)),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            timestamp_parsers=[pyarrow.csv.ISO8601],
        )

    def write(self, block: bytes | bytearray) -> None:
        """Append a block of whole rows."""
        source = self._pyarrow.BufferReader(block)
        found = self._pyarrow.csv.read_csv(source, self._read, self._parse, self._convert)
        self._writer.write_table(found.cast(self._schema))

    def end(self) -> None:
        """Write the footer."""
        self._writer.close()
