"""Pure. The kinds and the formats of exports."""

from enum import StrEnum


class ExportKind(StrEnum):
    """What can be exported."""

    USAGE = "usage"
    GRANTS = "grants"
    PAYMENTS = "payments"
    MOVEMENTS = "movements"
    TAX = "tax"
    AUDIT = "audit"
    DOCUMENTS = "documents"
    JOURNAL = "journal"
    # All that an account has of its own: its owner orders it, and nobody else has it.
    ACCOUNT = "account"


class ExportFormat(StrEnum):
    """In which form: the first three are tables, the last is an archive, the others are a journal for a program."""

    CSV = "csv"
    CSV_GZ = "csv.gz"
    PARQUET = "parquet"
    HLEDGER = "hledger"
    BEANCOUNT = "beancount"
    GENERIC = "generic"
    QUICKBOOKS = "quickbooks"
    XERO = "xero"
    DATEV = "datev"
    # One archive of everything, of an account.
    ZIP = "zip"


class Grain(StrEnum):
    """What one transaction of a journal is: an entry, all of a day, all of a month."""

    ENTRY = "entry"
    DAY = "day"
    MONTH = "month"


TABLES = frozenset({ExportFormat.CSV, ExportFormat.CSV_GZ, ExportFormat.PARQUET})
PLAIN_TEXT = frozenset({ExportFormat.HLEDGER, ExportFormat.BEANCOUNT})
# Journals in cents, for programs whose accounts are mapped.
PROGRAMS = frozenset(ExportFormat) - TABLES - PLAIN_TEXT - {ExportFormat.ZIP}
