"""Declares the tables that are exported: each with its columns, its query, and the schema's version.

Every query is run by Postgres' own COPY. Amounts are USD with nine decimals, instants UTC, ids as the API writes them;
text that a person wrote stands in ``{cell}(…)``, which is ``csv_cell`` where the table becomes CSV. A column is never
taken away or given another meaning under the same version.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from billing.exports.formats import ExportKind
from billing.exports.requests import Filters
from billing.movements import BALANCE_KINDS, COUNTS_AT

SCHEMA_VERSION = 1


class Type(StrEnum):
    """What a column has."""

    TEXT = "text"
    MONEY = "money"
    INTEGER = "integer"
    INSTANT = "instant"


class Column(msgspec.Struct, frozen=True):
    """A column: its name, its type, its SQL, and that of its sum, if it has one."""

    name: str
    type: Type
    sql: str
    sum: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of an export. ``at`` is the instant by which it is cut into files; ``filters`` are SQL by their names.

    ``common`` stands before SELECT; in it and in ``source`` are places for ``{cell}`` and ``{filters}``. $1 and $2 are
    the bounds of time. ``counted`` is the source without what only names things, to count and to sum.
    """

    name: str
    columns: tuple[Column, ...]
    common: str = ""
    source: str
    counted: str = ""
    at: str = ""
    order: str
    filters: dict[str, str] = {}

    @property
    def sums(self) -> tuple[str, ...]:
        """The columns whose sums the manifest has."""
        return tuple(column.name for column in self.columns if column.sum)


def _id(prefix: str, sql: str) -> str:
    # In a third of the time that taking the dashes out of its text needs.
    return f"'{prefix}_' || encode(uuid_send({sql}), 'hex')"


def _usd(sql: str) -> str:
    # Bigint times a numeric of nine decimals has nine, exactly.
    return f"{sql} * 0.000000001"


def _text(name: str, sql: str) -> Column:
    return Column(name, Type.TEXT, sql)


def _money(name: str, sql: str) -> Column:
    # Integers are summed, and become dollars once.
    return Column(name, Type.MONEY, _usd(sql), f"coalesce(sum({sql}), 0) * 0.000000001")


def _cents(name: str, sql: str) -> Column:
    return Column(name, Type.MONEY, f"{sql} * 0.010000000", f"coalesce(sum({sql}), 0) * 0.010000000")


def _integer(name: str, sql: str) -> Column:
    return Column(name, Type.INTEGER, sql, f"coalesce(sum({sql}), 0)")


def _instant(name: str, sql: str) -> Column:
    return Column(name, Type.INSTANT, f"to_char({sql} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")


# Names are few and rows are many: each is made harmless once.
_ACCOUNTS = f"a AS MATERIALIZED (SELECT id, {_id('acct', 'id')} AS wire, {{cell}}(name) AS name FROM accounts)"  # noqa: S608
_KEYS = f"k AS MATERIALIZED (SELECT id, {_id('key', 'id')} AS wire, {{cell}}(name) AS name FROM keys)"  # noqa: S608
_MODELS = "m AS MATERIALIZED (SELECT id, {cell}(id) AS name FROM models)"
_PROVIDERS = "p AS MATERIALIZED (SELECT id, {cell}(name) AS name FROM providers)"
_ACCOUNT_COLUMNS = (_text("account", "a.wire"), _text("account_name", "a.name"))

USAGE = Table(
    name="usage",
    common=f"WITH {_ACCOUNTS}, {_KEYS}, {_PROVIDERS}, {_MODELS}",
    columns=(
        _text("request", _id("req", "v.request_id")),
        _instant("at", "v.occurred_at"),
        *_ACCOUNT_COLUMNS,
        _text("key", "k.wire"),
        _text("key_name", "k.name"),
        _text("model", "m.name"),
        _text("provider", "p.name"),
        _integer("inputs", "v.inputs"),
        _integer("tokens", "v.tokens"),
        Column("usd_per_million_tokens", Type.TEXT, f"({_usd('v.nano_per_mtok')})::text"),
        _money("cost_usd", "v.cost_nano"),
        _money("charged_usd", "v.charged_nano"),
        _money("debt_usd", "v.overdraft_nano"),
        _money("promotional_usd", "v.promotional_nano"),
        _money("goodwill_usd", "v.goodwill_nano"),
        _money("provider_cost_usd", "v.provider_cost_nano"),
        _text("entry", _id("entry", "v.entry_id")),
    ),
    source="""
        usage_events v LEFT JOIN a ON a.id = v.account_id LEFT JOIN k ON k.id = v.key_id
        LEFT JOIN p ON p.id = v.provider_id LEFT JOIN m ON m.id = v.model_id
        WHERE v.occurred_at >= $1 AND v.occurred_at < $2 {filters}
    """,
    counted="usage_events v WHERE v.occurred_at >= $1 AND v.occurred_at < $2 {filters}",
    at="v.occurred_at",
    order="v.occurred_at, v.request_id",
    filters={
        "account_id": "v.account_id",
        "key_id": "v.key_id",
        "model_id": "v.model_id",
        "provider_id": "v.provider_id",
    },
)
GRANTS = Table(
    name="grants",
    common=f"WITH {_ACCOUNTS}",
    columns=(
        _text("grant", _id("grant", "g.id")),
        _instant("at", "g.granted_at"),
        *_ACCOUNT_COLUMNS,
        _text("kind", "g.kind"),
        _text("source", "{cell}(g.source_ref)"),
        _money("amount_usd", "g.amount_nano"),
        _money("remaining_usd", "g.remaining_nano"),
        _instant("expires_at", "g.expires_at"),
    ),
    source="grants g LEFT JOIN a ON a.id = g.account_id WHERE g.granted_at >= $1 AND g.granted_at < $2 {filters}",
    at="g.granted_at",
    order="g.granted_at, g.id",
    filters={"account_id": "g.account_id"},
)
PAYMENTS = Table(
    name="payments",
    common=f"WITH {_ACCOUNTS}",
    columns=(
        _text("entry", _id("entry", "e.id")),
        _integer("leg", "e.leg"),
        _instant("at", "e.at"),
        *_ACCOUNT_COLUMNS,
        _text("kind", "e.kind"),
        _text("reference", "{cell}(e.source_ref)"),
        _text("ledger_account", "e.ledger_account"),
        _text("detail", "{cell}(e.detail)"),
        _money("debit_usd", "greatest(-e.amount_nano, 0)"),
        _money("credit_usd", "greatest(e.amount_nano, 0)"),
    ),
    source=f"""
        (SELECT e.*, {COUNTS_AT} AS at, p.leg, p.amount_nano, l.kind AS ledger_account, l.detail,
            coalesce(l.account_id, e.account_id) AS payer
         FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
         WHERE e.booked_at >= $1::timestamptz - interval '1 hour'
            AND l.kind IN ('clearing', 'stripe_clearing', 'stripe_fees',
            'bank', 'refunds', 'disputes', 'customer_receivable', 'tax_payable', 'write_off')) e
        LEFT JOIN a ON a.id = e.payer WHERE e.at >= $1 AND e.at < $2 {{filters}}
    """,  # noqa: S608 - constants
    at="e.at",
    order="e.at, e.id, e.leg",
    filters={"account_id": "e.payer"},
)
MOVEMENTS = Table(
    name="movements",
    common=f"WITH {_ACCOUNTS}",
    columns=(
        _text("entry", _id("entry", "e.id")),
        _instant("at", "e.at"),
        _instant("booked_at", "e.booked_at"),
        *_ACCOUNT_COLUMNS,
        _text("kind", "e.kind"),
        _text("reference", "{cell}(e.source_ref)"),
        _text("note", "{cell}(e.note)"),
        _money("balance_change_usd", "e.balance"),
        _money("debt_change_usd", "e.debt"),
    ),
    source=f"""
        (SELECT e.id, {COUNTS_AT} AS at, e.booked_at, e.kind, e.source_ref, e.note, l.account_id AS payer,
            coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_credit'), 0)::bigint AS balance,
            coalesce(-sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_overdraft'), 0)::bigint AS debt
         FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
         WHERE e.booked_at >= $1::timestamptz - interval '1 hour'
            AND l.kind IN {BALANCE_KINDS} GROUP BY e.id, l.account_id) e
        LEFT JOIN a ON a.id = e.payer WHERE e.at >= $1 AND e.at < $2 {{filters}}
    """,  # noqa: S608 - constants
    at="e.at",
    order="e.at, e.id",
    filters={"account_id": "e.payer"},
)
# What is owed of each jurisdiction's tax, as the ledger has it: its sums are those of the close's tax report.
TAX = Table(
    name="tax",
    common=f"WITH {_ACCOUNTS}",
    columns=(
        _text("entry", _id("entry", "e.id")),
        _integer("leg", "e.leg"),
        _instant("at", "e.at"),
        _instant("booked_at", "e.booked_at"),
        *_ACCOUNT_COLUMNS,
        _text("kind", "e.kind"),
        _text("reference", "{cell}(e.source_ref)"),
        _text("jurisdiction", "{cell}(e.detail)"),
        _money("charged_usd", "greatest(e.amount_nano, 0)"),
        _money("taken_off_usd", "greatest(-e.amount_nano, 0)"),
    ),
    source=f"""
        (SELECT e.*, {COUNTS_AT} AS at, p.leg, p.amount_nano, l.detail
         FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
         WHERE e.booked_at >= $1::timestamptz - interval '1 hour' AND l.kind = 'tax_payable') e
        LEFT JOIN a ON a.id = e.account_id WHERE e.at >= $1 AND e.at < $2 {{filters}}
    """,  # noqa: S608 - constants
    at="e.at",
    order="e.at, e.id, e.leg",
    filters={"account_id": "e.account_id"},
)
# Opening and closing of every account; one file, which is read at the end.
BALANCES = Table(
    name="balances",
    common=f"WITH {_ACCOUNTS}",
    columns=(
        *_ACCOUNT_COLUMNS,
        _money("opening_balance_usd", "b.opening_balance"),
        _money("opening_debt_usd", "b.opening_debt"),
        _money("closing_balance_usd", "b.closing_balance"),
        _money("closing_debt_usd", "b.closing_debt"),
    ),
    source=f"""
        (SELECT l.account_id AS payer,
            coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_credit' AND {COUNTS_AT} < $1), 0)::bigint
                AS opening_balance,
            coalesce(-sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_overdraft' AND {COUNTS_AT} < $1), 0)::bigint
                AS opening_debt,
            coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_credit'), 0)::bigint AS closing_balance,
            coalesce(-sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_overdraft'), 0)::bigint AS closing_debt
         FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
         WHERE {COUNTS_AT} < $2 AND l.kind IN {BALANCE_KINDS} GROUP BY l.account_id) b
        LEFT JOIN a ON a.id = b.payer WHERE true {{filters}}
    """,  # noqa: S608 - constants
    order="b.payer",
    filters={"account_id": "b.payer"},
)
AUDIT = Table(
    name="audit",
    common=f"WITH {_ACCOUNTS}",
    columns=(
        _text("change", _id("audit", "c.id")),
        _instant("at", "c.at"),
        _text("actor", "{cell}(c.actor)"),
        _text("action", "c.action"),
        _text("subject", "{cell}(c.subject)"),
        *_ACCOUNT_COLUMNS,
        # Rows of earlier releases have money in nano-USD: all are shown as the API writes it.
        _text("before", "{cell}(facts_in_usd(c.action, c.before)::text)"),
        _text("after", "{cell}(facts_in_usd(c.action, c.after)::text)"),
        _text("reason", "{cell}(c.reason)"),
    ),
    source="audit c LEFT JOIN a ON a.id = c.account_id WHERE c.at >= $1 AND c.at < $2 {filters}",
    at="c.at",
    order="c.at, c.id",
    filters={"account_id": "c.account_id"},
)
# Credit notes have the amounts of what they take back, positive.
_DOCUMENTS = "d AS MATERIALIZED (SELECT *, convert_from(facts, 'UTF8')::jsonb -> 'draft' AS draft FROM documents)"
DOCUMENTS = Table(
    name="documents",
    common=f"WITH {_ACCOUNTS}, {_DOCUMENTS}",
    columns=(
        _text("document", "d.name"),
        _text("kind", "d.kind"),
        _text("issued_on", "d.issued_on::text"),
        _text("seller", "{cell}(d.seller)"),
        *_ACCOUNT_COLUMNS,
        _text("buyer", "{cell}(d.draft #>> '{buyer,legal_name}')"),
        _text("buyer_country", "d.draft #>> '{buyer,address,country}'"),
        _text("since", "d.draft ->> 'since'"),
        _text("until", "d.draft ->> 'until'"),
        _text("corrects", "(SELECT c.name FROM documents c WHERE c.id = d.corrects)"),
        _text("tax_category", "d.draft #>> '{tax,category}'"),
        _text("tax_rate_percent", "((d.draft #>> '{tax,rate}')::bigint * 0.01)::text"),
        _text("tax_jurisdiction", "{cell}(d.draft #>> '{tax,jurisdiction}')"),
        _cents("net_usd", "(d.draft ->> 'net_cents')::bigint"),
        _cents("tax_usd", "(d.draft ->> 'tax_cents')::bigint"),
        _cents("total_usd", "d.total_cents"),
        _cents("paid_usd", "(d.draft ->> 'paid_cents')::bigint"),
        _text("local_currency", "d.draft #>> '{local_tax,currency}'"),
        _text("local_tax", "((d.draft #>> '{local_tax,cents}')::bigint * 0.01)::text"),
    ),
    source="d LEFT JOIN a ON a.id = d.account_id WHERE d.issued_at >= $1 AND d.issued_at < $2 {filters}",
    at="d.issued_at",
    order="d.issued_at, d.id",
    filters={"account_id": "d.account_id"},
)
_LINE_PRICE = "((l.line #>> '{usage,nano_per_mtok}')::bigint * 0.000000001)::text"
DOCUMENT_LINES = Table(
    name="document_lines",
    common=f"WITH {_DOCUMENTS}",
    columns=(
        _text("document", "d.name"),
        _integer("line", "l.number"),
        _text("description", "{cell}(l.line ->> 'description')"),
        _text("model", "{cell}(l.line #>> '{usage,model}')"),
        _text("lane", "l.line #>> '{usage,lane}'"),
        Column("usd_per_million_tokens", Type.TEXT, _LINE_PRICE),
        _integer("calls", "(l.line #>> '{usage,calls}')::bigint"),
        _integer("tokens", "(l.line #>> '{usage,tokens}')::bigint"),
        _money("amount_usd", "(l.line ->> 'amount_nano')::bigint"),
        _cents("billed_usd", "(l.line ->> 'cents')::bigint"),
    ),
    source="""
        d CROSS JOIN LATERAL jsonb_array_elements(d.draft -> 'lines') WITH ORDINALITY AS l (line, number)
        WHERE d.issued_at >= $1 AND d.issued_at < $2 {filters}
    """,
    at="d.issued_at",
    order="d.issued_at, d.id, l.number",
    filters={"account_id": "d.account_id"},
)
TABLES_OF: dict[ExportKind, tuple[Table, ...]] = {
    ExportKind.USAGE: (USAGE,),
    ExportKind.GRANTS: (GRANTS,),
    ExportKind.PAYMENTS: (PAYMENTS,),
    ExportKind.MOVEMENTS: (MOVEMENTS, BALANCES),
    ExportKind.TAX: (TAX,),
    ExportKind.AUDIT: (AUDIT,),
    ExportKind.DOCUMENTS: (DOCUMENTS, DOCUMENT_LINES),
}


class Query(msgspec.Struct, frozen=True):
    """A query with its arguments."""

    sql: str
    arguments: tuple[object, ...]


def rows_query(table: Table, since: datetime, until: datetime, filters: Filters, *, is_csv: bool) -> Query:
    """The rows of a table over a span of time, in their order."""
    columns = ", ".join(f'{column.sql} AS "{column.name}"' for column in table.columns)
    start = f"{table.common} SELECT {columns} FROM {table.source}"  # noqa: S608 - constants
    return _query(table, start, f"ORDER BY {table.order}", since, until, filters, is_csv=is_csv)


def sums_query(table: Table, since: datetime, until: datetime, filters: Filters) -> Query:
    """How many rows those are, and the sums of their amounts."""
    return _query(table, _summed(table), "", since, until, filters, is_csv=False)


def hours_query(table: Table, since: datetime, until: datetime, filters: Filters) -> Query:
    """The same for each hour, by which they are cut into files."""
    start = _summed(table, f"date_trunc('hour', {table.at}, 'UTC') AS hour, ")
    return _query(table, start, "GROUP BY 1 ORDER BY 1", since, until, filters, is_csv=False)


def _summed(table: Table, columns: str = "") -> str:
    sums = [f'{column.sum} AS "{column.name}"' for column in table.columns if column.sum]
    before, source = ("", table.counted) if table.counted else (table.common, table.source)
    return f"{before} SELECT {columns}{', '.join(['count(*) AS rows', *sums])} FROM {source}"  # noqa: S608 - constants


def _query(
    table: Table, start: str, end: str, since: datetime, until: datetime, filters: Filters, *, is_csv: bool
) -> Query:
    arguments: list[object] = [since, until]
    conditions = []
    for name, column in table.filters.items():
        if (wanted := getattr(filters, name)) is not None:
            arguments.append(wanted)
            conditions.append(f"AND {column} = ${len(arguments)}")
    sql = f"{start} {end}".replace("{filters}", " ".join(conditions))
    return Query(sql.replace("{cell}", "csv_cell" if is_csv else ""), tuple(arguments))
