"""Customers are told by mail what happened to their account: once, at the addresses of their billing profile."""

from email import message_from_bytes, policy

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from billing.account_mails import MailKind, add_mail
from billing.documents.parties import Address, BillingProfile
from billing.documents.profiles import write_profile
from gigarouter.account_mail_job import SendAccountMails
from gigarouter.settings import Settings
from store.ids import AccountId
from tests.harness.mail_server import mail_server
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

OFF = {"reason": "A payment was declined three times."}


async def turn(api: ServedApi, port: int) -> None:
    """One of the job, with what is due later due now."""
    settings = Settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{port}"), mail_from="billing@seller.example")
    await SendAccountMails(settings)(api.context)
    async with api.context.db.transaction() as tx:
        await tx.execute(text("UPDATE account_mails SET run_after = now() WHERE state = 'waiting'"))


async def test_a_mail_waits_for_an_address_and_goes_out_once(api: ServedApi) -> None:
    db = api.context.db
    async with db.transaction() as tx:
        account = AccountId(await tx.scalar(text("SELECT id FROM accounts ORDER BY created_at LIMIT 1")))
        for _ in range(3):
            await add_mail(tx, account, MailKind.RECHARGE_OFF, "recharge-off:1", OFF)
        with pytest.raises(KeyError):
            await add_mail(tx, account, MailKind.RECHARGE_CONFIRM, "a fact is missing", {})
    async with mail_server(deferrals=1) as (port, received):
        await turn(api, port)
        assert received == []
        async with db.transaction() as tx:
            assert "no e-mail address" in str(await tx.scalar(text("SELECT fault FROM account_mails")))
            address = Address(line1="1", city="Town", country="US")
            profile = BillingProfile(legal_name="Acme", address=address, emails=("ap@customer.example", "b@c.example"))
            await write_profile(tx, account, profile, "tests")
        for _ in range(4):
            await turn(api, port)
    mails = [message_from_bytes(one, policy=policy.default) for one in received]
    assert [mail["Subject"] for mail in mails] == ["Auto-recharge is switched off"]
    assert mails[0]["To"] == "ap@customer.example, b@c.example"
    assert OFF["reason"] in mails[0].get_content()
    async with db.transaction() as tx:
        rows = (await tx.execute(text("SELECT state, attempts FROM account_mails"))).all()
    assert [tuple(row) for row in rows] == [("sent", 3)]
