"""A mail is sent once to its reader's eye, by any number of processes, whatever the mail server or a crash does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from billing.documents.parties import Address, BillingProfile
from billing.documents.profiles import write_profile
from gigarouter.mail_job import make_sender
from gigarouter.settings import Settings
from mail import Recipient, enqueue
from mail.kinds import KeyCreated, ModelLaunched, RechargeOff, SignInCode
from mail.sending import Sender
from store.postgres import Database
from tests.builders.database import add_account
from tests.harness.mail_server import MailHandler, serve_mail

pytestmark = pytest.mark.anyio

_MEMBER = text("""
    INSERT INTO members (id, account_id, email, role) VALUES (gen_random_uuid(), :account, :email, :role)
""")
ANN = Recipient("ann@customer.example", zone="Asia/Tokyo")
KEY = KeyCreated(key="key_1", name="batch", prefix="gr_live_ab", by="ann@customer.example")
LAUNCH = ModelLaunched(model="tests/small", price_usd="0.01")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


def sender_to(port: int) -> Sender:
    url = SecretStr(f"smtp://127.0.0.1:{port}")
    sender = make_sender(Settings(smtp_url=url, mail_from="news@house.example", web_url="https://house.example"))
    assert sender is not None
    return sender


async def rows(db: Database) -> list[tuple[str, str, int]]:
    async with db.transaction() as tx:
        found = await tx.execute(text("SELECT address, state, attempts FROM mails ORDER BY address"))
        return [tuple(row) for row in found]


async def make_due(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(text("UPDATE mails SET run_after = now() WHERE state = 'waiting'"))


async def add(db: Database, *mails: tuple[object, Recipient, str]) -> None:
    async with db.transaction() as tx:
        for mail, to, dedupe in mails:
            await enqueue(tx, mail, to, dedupe=dedupe)  # type: ignore[arg-type]


async def test_a_mail_is_of_the_transaction_that_causes_it_and_there_once(db: Database) -> None:
    with suppress(RuntimeError):
        async with db.transaction() as tx:
            assert await enqueue(tx, KEY, ANN, dedupe="key:1")
            raise RuntimeError
    assert await rows(db) == []
    async with db.transaction() as tx:
        assert [await enqueue(tx, KEY, ANN, dedupe="key:1") for _ in range(3)] == [True, False, False]
    handler = MailHandler()
    async with serve_mail(handler) as port:
        assert await sender_to(port).send_waiting(db) == 1
        assert await sender_to(port).send_waiting(db) == 0
    [mail] = handler.messages()
    assert (mail["To"], mail["From"], mail["List-Unsubscribe"]) == (ANN.address, "news@house.example", None)
    assert await rows(db) == [(ANN.address, "sent", 1)]


async def test_two_jobs_at_once_send_each_mail_once(db: Database) -> None:
    await add(db, *((KEY, Recipient(f"r{number}@customer.example"), "key:1") for number in range(12)))
    handler = MailHandler()
    async with serve_mail(handler) as port:
        done = await asyncio.gather(*(sender_to(port).send_waiting(db) for _ in range(3)))
    assert sum(done) == 12
    assert sorted(mail["To"] for mail in handler.messages()) == sorted(f"r{n}@customer.example" for n in range(12))


async def test_killed_between_send_and_mark_it_has_the_same_message_id_again(db: Database) -> None:
    await add(db, (KEY, ANN, "key:1"))
    handler, taken, never = MailHandler(), asyncio.Event(), asyncio.Event()

    async def take() -> None:
        taken.set()
        await never.wait()

    handler.taken = take
    async with serve_mail(handler) as port:
        first = asyncio.create_task(sender_to(port).send_waiting(db))
        await asyncio.wait_for(taken.wait(), 30)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        handler.taken = None
        never.set()
        # Somebody may be sending it still: it is left alone until the lease has ended.
        assert await sender_to(port).send_waiting(db) == 0
        await make_due(db)
        assert await sender_to(port).send_waiting(db) == 1
    first_id, second_id = (mail["Message-ID"] for mail in handler.messages())
    assert first_id == second_id
    assert first_id.endswith("@house.example>")
    assert await rows(db) == [(ANN.address, "sent", 2)]


async def test_what_is_refused_for_good_is_on_the_stop_list_and_what_is_deferred_is_tried_again(db: Database) -> None:
    gone, busy = Recipient("Gone@customer.example"), Recipient("busy@customer.example")
    await add(db, (KEY, gone, "1"), (KEY, busy, "2"))
    handler = MailHandler(refuses={gone.address}, deferrals=1)
    async with serve_mail(handler) as port:
        await sender_to(port).send_waiting(db)
        assert await rows(db) == [(gone.address, "failed", 1), (busy.address, "waiting", 1)]
        await add(db, (KEY, Recipient("gone@customer.example"), "3"))
        await make_due(db)
        await sender_to(port).send_waiting(db)
        handler.answer = "554 we like it not"
        await add(db, (LAUNCH, busy, "4"))
        await sender_to(port).send_waiting(db)
    assert {(address, state) for address, state, _ in await rows(db)} == {
        (gone.address, "failed"),
        ("gone@customer.example", "dropped"),
        (busy.address, "sent"),
        (busy.address, "failed"),
    }
    async with db.transaction() as tx:
        stopped = (await tx.execute(text("SELECT address, topic, reason FROM stopped_addresses"))).all()
    assert [tuple(row) for row in stopped] == [("gone@customer.example", "all", "bounced")]
    # Whoever waits for a code gets it, once there is such a mailbox again.
    handler = MailHandler()
    await add(db, (SignInCode(code="1", path="/"), gone, "5"))
    async with serve_mail(handler) as port:
        await sender_to(port).send_waiting(db)
        await add(db, (KEY, gone, "6"))
        await sender_to(port).send_waiting(db)
    assert [mail["To"] for mail in handler.messages()] == [gone.address] * 2


async def test_a_server_that_is_away_ends_the_turn_and_loses_nothing(db: Database) -> None:
    await add(db, (KEY, ANN, "1"), (KEY, Recipient("bob@customer.example"), "2"))
    async with serve_mail(MailHandler()) as port:
        pass
    assert await sender_to(port).send_waiting(db) == 1
    assert sorted(attempts for _, _, attempts in await rows(db)) == [0, 1]
    assert {state for _, state, _ in await rows(db)} == {"waiting"}


async def test_whoever_waits_for_a_code_goes_first_and_its_code_is_not_kept(db: Database) -> None:
    code = SignInCode(code="123456", path="/sign-in/1")
    await add(db, (LAUNCH, ANN, "1"), (KEY, ANN, "2"), (code, ANN, "3"))
    handler = MailHandler()
    async with serve_mail(handler) as port:
        await sender_to(port).send_waiting(db)
    subjects = [mail["Subject"] for mail in handler.messages()]
    assert subjects == ["123456 is your sign-in code", "A key was created: batch", "tests/small can be called"]
    leaving = handler.messages()[2]["List-Unsubscribe"]
    assert leaving.strip().startswith("<https://house.example/unsubscribe/")
    assert handler.messages()[2]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    async with db.transaction() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM mails WHERE facts::text LIKE '%123456%'")) == 0


async def test_a_mail_to_an_account_goes_to_each_of_its_people_who_are_concerned(db: Database) -> None:
    async with db.transaction() as tx:
        account, stranger = await add_account(tx, 0), await add_account(tx, 0)
        for number, role in enumerate(("owner", "developer", "finance")):
            member = {"account": account, "email": f"{role}@customer.example", "role": role, "n": number}
            await tx.execute(_MEMBER, member)
        await enqueue(tx, KEY, account, dedupe="1")
        await enqueue(tx, RechargeOff(reason="A payment was declined."), stranger, dedupe="2")
    handler = MailHandler()
    async with serve_mail(handler) as port:
        await sender_to(port).send_waiting(db)
        assert ("", "waiting", 1) in await rows(db), "it waits until somebody is known"
        async with db.transaction() as tx:
            address = Address(line1="1", city="Town", country="US")
            emails = ("ap@stranger.example", "AP@stranger.example", "no, two@stranger.example")
            await write_profile(
                tx, stranger, BillingProfile(legal_name="Acme", address=address, emails=emails), "tests"
            )
        await make_due(db)
        await sender_to(port).send_waiting(db)
    assert [mail["To"] for mail in handler.messages()[2:]] == ["AP@stranger.example"]
    assert sorted(mail["To"] for mail in handler.messages()[:2]) == [
        "developer@customer.example",
        "owner@customer.example",
    ]
    assert len({mail["Message-ID"] for mail in handler.messages()[:2]}) == 1
    body = handler.messages()[0].get_body(("plain",))
    assert body is not None
    assert f"https://house.example/accounts/acct_{account.hex}/keys/key_1" in body.get_content()


async def test_without_a_mail_server_mails_are_files(db: Database, tmp_path: Path) -> None:
    await add(db, (KEY, ANN, "1"), (KEY, Recipient("../../x@customer.example"), "2"))
    sender = make_sender(Settings(mail_dir=tmp_path / "mails"))
    assert sender is not None
    assert await sender.send_waiting(db) == 2
    files = await asyncio.to_thread(lambda: list(tmp_path.rglob("*.*")))
    assert [file.parent for file in files] == [tmp_path / "mails"] * 2
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
