"""An account votes for a model, or chooses a mail when it goes live, or both; each can be taken back by itself."""

from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text

from mail.kinds import ModelLaunched
from mail.outbox import enqueue
from mail.stopped import StopReason, find_stop, stop
from mail.values import Recipient, Topic
from router.identity.members import Role
from store.ids import AccountId, MemberId, ModelId, new_id, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, a_member
from tests.harness.reading import Reader, words_of
from web.viewer import Membership

pytestmark = pytest.mark.anyio

MODEL = ModelId("codefuse-ai/F2LLM-v2-4B")
OWNER = "owner@voters.example"
MEMBER = """
INSERT INTO members (id, account_id, email, role, created_at) VALUES ($1, $2, $3, $4, now())
"""


@pytest.fixture(scope="module")
def voters(build: DatabaseBuilder) -> AccountId:
    account = build.an_account(0, "Voters")
    build.rows(MEMBER, new_id(), account, OWNER, "owner")
    return account


async def mailed(pages: Pages) -> list[UUID]:
    """The accounts that a launch would mail."""
    async with pages.context.writes.db.transaction() as tx:
        rows = await tx.execute(text("SELECT account_id FROM launch_mails WHERE model_id = :model"), {"model": MODEL})
        return [row.account_id for row in rows]


async def test_the_mail_and_the_vote_are_chosen_and_taken_back_each_by_itself(pages: Pages, voters: AccountId) -> None:
    ann = Reader(pages.reader(a_member(voters, now=pages.now)))

    async def post(act: str, **more: str) -> str:
        sent = await ann.client.post(f"/accounts/{wire(AccountId, voters)}/models/{MODEL}", data={"act": act, **more})
        assert sent.status_code == 303, words_of(sent)
        return words_of(await ann.open(sent.headers["location"]))

    shown = words_of(await ann.open(f"/models/{MODEL}"))
    assert "A mail to the owners of Acme when it goes live" in shown
    assert "You get a mail when it goes live" in await post("mail")
    assert await mailed(pages) == [voters]
    assert "The owners of Acme get a mail when it goes live" in words_of(await ann.open(f"/models/{MODEL}"))
    assert "Mail Acme when it goes live" in await post("vote", note="search")
    # The box was not ticked, so the vote said: no mail.
    assert await mailed(pages) == []
    await post("vote", mail_at_launch="1")
    assert "Your vote is taken back" in await post("withdraw")
    assert await mailed(pages) == [voters]
    assert "You get no mail" in await post("no-mail")
    assert await mailed(pages) == []


async def test_leaving_the_mails_ends_the_choice_and_choosing_takes_them_again(pages: Pages, voters: AccountId) -> None:
    db = pages.context.writes.db
    async with db.transaction() as tx:
        owner = await tx.scalar(text("SELECT id FROM members WHERE email = :email"), {"email": OWNER})
        mail = ModelLaunched(model="tests/small", price_usd="0.01")
        await enqueue(tx, mail, Recipient(OWNER), dedupe="leaves")
        link = (await tx.scalar(text("SELECT unsubscribe_id FROM mails WHERE dedupe = 'leaves'"))).hex
    membership = Membership(voters, "Acme", Role.OWNER, MemberId(owner))
    viewer = msgspec.structs.replace(a_member(voters, now=pages.now), memberships=(membership,))
    ann = Reader(pages.reader(viewer))

    async def choose() -> str:
        place = f"/accounts/{wire(AccountId, voters)}/models/{MODEL}"
        sent = await ann.client.post(place, data={"act": "mail"})
        return words_of(await ann.open(sent.headers["location"]))

    await choose()
    assert await mailed(pages) == [voters]
    left = await ann.client.post(f"/unsubscribe/{link}", data={"List-Unsubscribe": "One-Click"})
    assert "gets no news of models" in left.text
    assert await mailed(pages) == []
    assert "You get a mail when it goes live" in await choose()
    async with db.transaction() as tx:
        assert await find_stop(tx, OWNER, Topic.MODELS) is None
        await stop(tx, OWNER, StopReason.COMPLAINED)
    # What the reader did not leave by themselves, nobody takes back for them.
    assert "nobody would get it" in await choose()
    async with db.transaction() as tx:
        await tx.execute(text("DELETE FROM stopped_addresses WHERE address = :email"), {"email": OWNER})
        await tx.execute(text("DELETE FROM launch_mails"))
