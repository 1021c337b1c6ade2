"""What waited in the two outboxes that were is in the one that is: once, with its Message-ID, before and after."""

import asyncio

from alembic import command
from sqlalchemy import text

from gigarouter.schema import _config, migrate
from store.embedded import Embedded
from store.ids import new_id
from store.postgres import Database
from tests.builders.database import add_account

_ACCOUNT_MAIL = text("""
    INSERT INTO account_mails (id, account_id, source_ref, kind, facts, state, sent_at)
    VALUES (:id, :account, :source, :kind, CAST(:facts AS jsonb), :state, CASE WHEN :state = 'sent' THEN now() END)
    ON CONFLICT (source_ref) DO NOTHING
""")
_DOCUMENT = text("""
    INSERT INTO documents (id, seller, series, number, name, kind, account_id, issued_on, total_cents, facts)
    VALUES (:id, 'acme', 'ACME-ST-2026', 1, 'ACME-ST-2026-000001', 'statement', :account, '2026-11-01', 0, :facts)
""")
_DOCUMENT_MAIL = text("""
    INSERT INTO document_mails (document_id, address, step) VALUES (:document, 'ap@customer.example', :step)
    ON CONFLICT DO NOTHING
""")
_MAILS = text("SELECT dedupe, address, kind, locale, facts, message_id, state FROM mails ORDER BY dedupe, address")
OFF = '{"reason": "It was declined: 100 %."}'


def expected(hexed: str, document: str, first: str, second: str, third: str) -> list[tuple[object, ...]]:
    notice = {
        "subject": "Auto-recharge is switched off",
        "sentence": "Auto-recharge of your account was switched off. It was declined: 100 %.",
    }
    address, name = "ap@customer.example", b"ap@customer.example".hex()
    issued, reminder = {"document": document, "step": 0}, {"document": document, "step": 2}
    return [
        (f"document:{hexed}:0", address, "document", "de", issued, f"{hexed}.{name}", "waiting"),
        (f"document:{hexed}:2", address, "document", "de", reminder, f"{hexed}.2.{name}", "waiting"),
        ("off:1", "", "notice", "en", notice, first, "waiting"),
        ("off:2", "", "notice", "en", notice, second, "sent"),
        ("off:3", "", "notice", "en", notice, third, "waiting"),
    ]


def test_nothing_that_waited_is_lost_or_sent_twice(servers: Embedded) -> None:
    servers.postgres.ensure_database("moved")
    url = servers.postgres.url("moved")
    command.upgrade(_config(url), "0049")
    document, first, second, third = (new_id() for _ in range(4))

    async def story() -> None:
        db = Database(url, as_owner=True)
        async with db.transaction() as tx:
            account = await add_account(tx, 0)
            row = {"account": account, "facts": OFF, "kind": "recharge_off"}
            await tx.execute(_ACCOUNT_MAIL, {**row, "id": first, "source": "off:1", "state": "waiting"})
            await tx.execute(_ACCOUNT_MAIL, {**row, "id": second, "source": "off:2", "state": "sent"})
            # A document without its files: what it would take to issue one is not what is tested.
            await tx.execute(text("SET LOCAL session_replication_role = replica"))
            facts = b'{"draft": {"buyer": {"language": "de"}}}'
            await tx.execute(_DOCUMENT, {"id": document, "account": account, "facts": facts})
            await tx.execute(text("SET LOCAL session_replication_role = origin"))
            for step in (0, 2):
                await tx.execute(_DOCUMENT_MAIL, {"document": document, "step": step})
        await asyncio.to_thread(migrate, url)
        # A process of the release before goes on: what it writes is where what was is.
        async with db.transaction() as tx:
            for source in ("off:1", "off:2", "off:3"):
                await tx.execute(_ACCOUNT_MAIL, {**row, "id": third, "source": source, "state": "waiting"})
            await tx.execute(_DOCUMENT_MAIL, {"document": document, "step": 2})
            found = [tuple(one) for one in await tx.execute(_MAILS)]
            left = await tx.scalar(text("SELECT count(*) FROM account_mails"))
            left += await tx.scalar(text("SELECT count(*) FROM document_mails"))
        await db.close()
        assert found == expected(document.hex, str(document), first.hex, second.hex, third.hex)
        assert left == 0

    asyncio.run(story())
