"""Without a mail server mails are files, which `up` prints a line of, and which are read on this machine alone."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from gigarouter.mail_job import make_sender
from gigarouter.mail_watch import MailWatch
from gigarouter.settings import Settings
from mail import Recipient, enqueue
from mail.kinds import ModelLaunched, SignInCode
from mail.stopped import find_stop
from mail.values import Mail, Topic
from store.ids import AccountId, wire
from store.postgres import Database
from tests.builders.example_mails import ACCOUNT, EXAMPLES
from tests.harness.pages import BASE, Pages, served_pages
from web.route import RouteTable
from web.routes import ROUTES

pytestmark = pytest.mark.anyio


async def test_a_mail_program_leaves_a_topic_by_one_post_and_opening_the_link_leaves_nothing(
    pages: Pages, settings: Settings
) -> None:
    db = Database(settings.require_database_url())
    launched = ModelLaunched(model="tests/small", price_usd="0.01")
    async with db.transaction() as tx:
        await enqueue(tx, launched, Recipient("Bob@x.example"), dedupe="launch")
        link = (await tx.execute(text("SELECT unsubscribe_id FROM mails WHERE dedupe = 'launch'"))).scalar_one().hex
    program = httpx.AsyncClient(transport=httpx.ASGITransport(pages.app), base_url=BASE)
    shown = await program.get(f"/unsubscribe/{link}")
    assert "B…@x.example gets news of models" in shown.text
    async with db.transaction() as tx:
        assert await find_stop(tx, "bob@x.example", Topic.MODELS) is None
    body = {"List-Unsubscribe": "One-Click"}
    for _ in range(2):
        left = await program.post(f"/unsubscribe/{link}", data=body)
        assert (left.status_code, "gets no news of models" in left.text) == (200, True)
    async with db.transaction() as tx:
        assert await find_stop(tx, "bob@x.example", Topic.MODELS) is not None
        assert await find_stop(tx, "bob@x.example", Topic.SPENDING) is None
        assert await find_stop(tx, "bob@x.example", None) is None
    for wrong in ("0" * 32, "x", "a%00b"):
        assert (await program.get(f"/unsubscribe/{wrong}")).status_code in (400, 404)
    await program.aclose()
    await db.close()


async def test_a_code_that_was_mailed_is_printed_and_on_a_page_of_this_machine(
    settings: Settings, tmp_path: Path
) -> None:
    kept = settings.model_copy(update={"mail_dir": tmp_path / "mails"})
    lines: list[str] = []
    watch = MailWatch(tmp_path / "mails", lines.append, f"{BASE}/-/mails")
    watch.look()
    async with served_pages(kept) as pages:
        assert "No mail was written yet" in (await pages.reader().get("/-/mails")).text
        db = Database(settings.require_database_url())
        async with db.transaction() as tx:
            code = SignInCode(code="482913", path="/sign-in/link/abc")
            await enqueue(tx, code, Recipient("ann@x.example"), dedupe="1")
        sender = make_sender(kept)
        assert sender is not None
        await sender.send_waiting(db)
        await db.close()
        watch.look()
        watch.look()
        page = (await pages.reader().get("/-/mails")).text
        assert '<a href="http://localhost:8001/sign-in/link/abc">' in page
        assert "482913 is your sign-in code" in page
        far = httpx.ASGITransport(pages.app, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=far, base_url=BASE) as stranger:
            assert (await stranger.get("/-/mails")).status_code == 404
    mine = [line for line in lines if "ann@" in line]
    assert mine == [f"Mail to ann@x.example: 482913 is your sign-in code   ({BASE}/-/mails)"]


@pytest.mark.parametrize("mail", EXAMPLES, ids=[mail.kind for mail in EXAMPLES])
def test_the_link_of_a_mail_leads_to_a_page_of_ours(mail: Mail) -> None:
    link = mail.link(wire(AccountId, ACCOUNT))
    assert link.startswith("https://pay.example/") or RouteTable(ROUTES).is_page(link), link
