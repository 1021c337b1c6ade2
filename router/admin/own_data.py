"""Writes all that an account has of its own into one archive: tables as CSV, documents as they were issued.

``jobs`` writes it by :mod:`billing.exports.run`, in one snapshot, so that its files agree. It has what the account's
owner can read in ``/v1``, and no secret: of a key there are its name, its beginning and its end. What our providers
cost us, and our operators' names, are nobody's but ours.
"""

import asyncio
import csv
import io
import zipfile
from pathlib import Path
from typing import IO, cast

import msgspec

from billing.exports.storage import HashingFile
from billing.exports.work import Part, Work
from billing.movements import BALANCE_KINDS, COUNTS_AT
from router.admin.own_put_away import write_put_away
from router.changes.amounts import facts_in_usd
from router.changes.own_audit import OWN_AUDIT_ROWS, own_audit_patterns
from store.ids import AccountId, wire

CONTENT = "account"
BLOCK_BYTES = 1 << 20
_AUDIT = ("id", "at", "actor", "actor_name", "action", "subject", "before", "after")
# What a file of a document is called behind its number.
_ENDINGS = {"ubl": "ubl.xml", "facturx": "facturx.pdf"}
README = """All that the account {account} ({name}) had on {at:%Y-%m-%d %H:%M} UTC.

account.json     the account, its billing details, caps and budgets
people.csv       its members, removed ones too, and invitations.csv
keys.csv         its API keys and management-keys.csv, without their secrets
calls.csv        its calls of the last 30 days, refused and failed ones too
usage.csv        every call that was charged or free, for good
movements.csv    what changed its balance, and grants.csv, what credit it was given or bought. Of a month that was put
                 away one row stands for what its calls took (its reference begins with archive:)
put-away.json    those months; each has movements-<month>.csv, which is what that row is the sum of. Where there is
                 none, ask us for the month by the name and the SHA-256 of our file, which are there
documents.csv    what was issued to it; the files are in documents/
acceptances.csv  licenses that it accepted
audit.csv        who changed what in it

Amounts are US dollars, instants UTC. A cell that a spreadsheet would take for a formula stands behind an apostrophe.
"""


def _id(prefix: str, column: str) -> str:
    return f"'{prefix}_' || encode(uuid_send({column}), 'hex')"


def _at(column: str) -> str:
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


def _usd(column: str) -> str:
    return f"({column} * 0.000000001)"


_KEY = "LEFT JOIN keys k ON k.id = v.key_id"
# The tables but for the audit; each query takes the account's id alone.
TABLES: dict[str, str] = {
    "people": f"""
        SELECT {_id("mem", "m.id")} AS id, csv_cell(m.email) AS email, csv_cell(coalesce(p.name, m.name)) AS name,
            m.role, {_at("m.created_at")} AS joined_at, {_at("m.removed_at")} AS removed_at
        FROM members m LEFT JOIN people p ON p.id = m.person_id WHERE m.account_id = $1 ORDER BY m.id
    """,  # noqa: S608
    "invitations": f"""
        SELECT {_id("invite", "i.id")} AS id, csv_cell(i.email) AS email, i.role, i.state,
            {_at("i.created_at")} AS created_at, {_at("i.expires_at")} AS expires_at
        FROM invitations i WHERE i.account_id = $1 ORDER BY i.id
    """,  # noqa: S608
    "keys": f"""
        SELECT {_id("key", "k.id")} AS id, csv_cell(k.name) AS name, k.handle AS begins, k.last4 AS ends, k.use,
            k.is_test, csv_cell(array_to_string(k.models, ' ')) AS models, k.requests_per_minute, k.tokens_per_minute,
            k.concurrency, {_usd("k.cap_nano")} AS cap_usd, k.cap_period, k.paused, {_at("k.created_at")} AS created_at,
            {_at("k.expires_at")} AS expires_at, {_at("k.revoked_at")} AS revoked_at, {_at("u.used_at")} AS used_at,
            u.network AS used_from
        FROM keys k LEFT JOIN key_uses u ON u.key_id = k.id WHERE k.account_id = $1 ORDER BY k.id
    """,  # noqa: S608
    "management-keys": f"""
        SELECT {_id("mgmt", "k.id")} AS id, csv_cell(k.name) AS name, k.handle AS begins, k.last4 AS ends,
            array_to_string(k.scopes, ' ') AS scopes, {_at("k.created_at")} AS created_at,
            {_at("k.expires_at")} AS expires_at, {_at("k.revoked_at")} AS revoked_at
        FROM management_keys k WHERE k.account_id = $1 ORDER BY k.id
    """,  # noqa: S608
    "calls": f"""
        SELECT {_id("req", "v.request_id")} AS request, {_at("v.at")} AS at, {_id("key", "v.key_id")} AS key,
            csv_cell(k.name) AS key_name, csv_cell(v.model_id) AS model, v.lane, v.outcome, v.code, v.took_ms, v.tokens,
            {_usd("v.cost_nano")} AS cost_usd, v.attempts
        FROM routes v {_KEY} WHERE v.account_id = $1 AND v.outcome IS NOT NULL ORDER BY v.request_id
    """,  # noqa: S608
    "usage": f"""
        SELECT {_id("req", "v.request_id")} AS request, {_at("v.occurred_at")} AS at, {_id("key", "v.key_id")} AS key,
            csv_cell(k.name) AS key_name, csv_cell(v.model_id) AS model, v.inputs, v.tokens,
            {_usd("v.nano_per_mtok")} AS usd_per_million_tokens, {_usd("v.cost_nano")} AS cost_usd,
            {_usd("v.charged_nano")} AS charged_usd, {_usd("v.overdraft_nano")} AS debt_usd,
            {_id("entry", "v.entry_id")} AS entry
        FROM usage_events v {_KEY} WHERE v.account_id = $1 ORDER BY v.occurred_at, v.request_id
    """,  # noqa: S608
    "movements": f"""
        SELECT {_id("entry", "e.id")} AS entry, {_at(COUNTS_AT)} AS at, e.kind, csv_cell(e.source_ref) AS reference,
            {_usd("coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_credit'), 0)")} AS balance_change_usd,
            {_usd("coalesce(-sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_overdraft'), 0)")} AS debt_change_usd
        FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
        WHERE l.account_id = $1 AND l.kind IN {BALANCE_KINDS}
        GROUP BY e.id, e.period, e.booked_at, e.kind, e.source_ref ORDER BY {COUNTS_AT}, e.id
    """,  # noqa: S608
    "grants": f"""
        SELECT {_id("grant", "g.id")} AS id, {_at("g.granted_at")} AS at, g.kind, csv_cell(g.source_ref) AS source,
            {_usd("g.amount_nano")} AS amount_usd, {_usd("g.remaining_nano")} AS remaining_usd,
            {_at("g.expires_at")} AS expires_at
        FROM grants g WHERE g.account_id = $1 ORDER BY g.granted_at, g.id
    """,  # noqa: S608
    "documents": """
        SELECT d.name AS number, d.kind, d.issued_on, d.total_cents * 0.01 AS total_usd,
            (SELECT c.name FROM documents c WHERE c.id = d.corrects) AS corrects
        FROM documents d WHERE d.account_id = $1 ORDER BY d.issued_at, d.id
    """,
    "acceptances": f"""
        SELECT {_id("acc", "a.id")} AS id, csv_cell(a.license) AS license, csv_cell(a.text_version) AS text_version,
            csv_cell(a.accepted_by) AS accepted_by, {_at("a.accepted_at")} AS accepted_at
        FROM license_acceptances a WHERE a.account_id = $1 ORDER BY a.id
    """,  # noqa: S608
}
_ACCOUNT = f"""
    SELECT jsonb_pretty(jsonb_build_object('id', {_id("acct", "a.id")}, 'name', a.name, 'status', a.status,
        'created_at', a.created_at,
        'billing_details', (SELECT b.facts FROM billing_profiles b WHERE b.account_id = a.id
            ORDER BY b.version DESC LIMIT 1),
        'caps', (SELECT jsonb_agg(jsonb_build_object('period', c.period, 'amount_usd', {_usd("c.amount_nano")}))
            FROM account_caps c WHERE c.account_id = a.id),
        'budgets', (SELECT jsonb_agg(jsonb_build_object('name', b.name, 'period', b.period,
            'amount_usd', {_usd("b.amount_nano")})) FROM budgets b WHERE b.account_id = a.id),
        'webhooks', (SELECT jsonb_agg(w.url) FROM webhooks w WHERE w.account_id = a.id)))
    FROM accounts a WHERE a.id = $1
"""  # noqa: S608
_NAME = "SELECT name, now() AS at FROM accounts WHERE id = $1"
_FILES = """
    SELECT d.name, f.format, f.content FROM documents d JOIN document_files f ON f.document_id = d.id
    WHERE d.account_id = $1 ORDER BY d.issued_at, d.id, f.format
"""


class OwnData(msgspec.Struct, frozen=True):
    """Writes the archives. ``archives``: the folder of the files of months that were put away, if it is here."""

    archives: Path | None = None

    async def plan(self, work: Work) -> list[Part]:
        """One archive; how many rows it will have is not counted before."""
        return await _plan(work)

    async def write(self, work: Work, part: Part, file: HashingFile) -> tuple[int, dict[str, str]]:
        """Write the archive from front to back; how many rows and documents it has."""
        return await _write(work, file, self.archives)


async def _plan(work: Work) -> list[Part]:
    export = work.export
    assert export.filters.account_id is not None, "it is ordered for one account; this is a bug"
    name = f"{wire(AccountId, export.filters.account_id)}-{export.requested_at:%Y-%m-%d}.zip"
    return [Part(1, name, CONTENT, export.since, export.until, 0)]


async def _write(work: Work, file: HashingFile, archives: Path | None) -> tuple[int, dict[str, str]]:
    account_id, connection = work.export.filters.account_id, work.connection
    assert account_id is not None, "it is ordered for one account; this is a bug"
    archive = zipfile.ZipFile(cast("IO[bytes]", file), "w", zipfile.ZIP_DEFLATED)
    named = await connection.fetchrow(_NAME, account_id)
    readme = README.format(account=wire(AccountId, account_id), name=named["name"], at=named["at"])
    await _add(archive, "README.txt", readme.encode())
    await _add(archive, "account.json", str(await connection.fetchval(_ACCOUNT, account_id)).encode())
    rows = 0
    for table, query in TABLES.items():
        rows += await _copy(work, archive, f"{table}.csv", query, account_id)
    put_away = await write_put_away(work, archive, account_id, archives)
    rows += sum(month.rows for month in put_away)
    await _add(archive, "put-away.json", msgspec.json.format(msgspec.json.encode(put_away), indent=2))
    rows += await _write_audit(work, archive, account_id)
    async for name, form, content in connection.cursor(_FILES, account_id, prefetch=20):
        await _add(archive, f"documents/{name}.{_ENDINGS.get(form, form)}", bytes(content))
        rows += 1
    await asyncio.to_thread(archive.close)
    return rows, {}


async def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    await asyncio.to_thread(archive.writestr, _entry(name), content)


async def _copy(work: Work, archive: zipfile.ZipFile, name: str, query: str, *arguments: object) -> int:
    """Write the rows of a query, as Postgres copies them; how many those are."""
    block = bytearray()
    with archive.open(_entry(name), "w", force_zip64=True) as entry:

        async def take(rows: bytes) -> None:
            block.extend(rows)
            if len(block) >= BLOCK_BYTES:
                await asyncio.to_thread(entry.write, bytes(block))
                block.clear()

        status = await work.connection.copy_from_query(
            query, *arguments, output=take, format="csv", header=True, timeout=None
        )
        await asyncio.to_thread(entry.write, bytes(block))
    count = int(status.split()[1])
    work.count(count)
    return count


async def _write_audit(work: Work, archive: zipfile.ZipFile, account_id: AccountId) -> int:
    """Write who changed what, with amounts as the API writes them; how many changes those are."""
    count, text = 0, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_AUDIT)
    with archive.open(_entry("audit.csv"), "w", force_zip64=True) as entry:
        async for row in work.connection.cursor(OWN_AUDIT_ROWS, account_id, *own_audit_patterns(), prefetch=1000):
            facts = (_facts(row["action"], row["before"]), _facts(row["action"], row["after"]))
            writer.writerow((*(row[name] for name in _AUDIT[:-2]), *facts))
            count += 1
            if text.tell() >= BLOCK_BYTES:
                await asyncio.to_thread(entry.write, text.getvalue().encode())
                text.seek(0)
                text.truncate()
        await asyncio.to_thread(entry.write, text.getvalue().encode())
    work.count(count)
    return count


def _facts(action: str, facts: str | None) -> str:
    return "" if facts is None else msgspec.json.encode(facts_in_usd(action, msgspec.json.decode(facts))).decode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
