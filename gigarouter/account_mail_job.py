"""Mails customers what happened to their account: claims a mail, sends it, marks it (:mod:`billing.account_mails`)."""

import asyncio
import smtplib

import structlog

from billing.account_mails import AccountMail, claim_mail, mark_failed, mark_sent, message_of
from billing.documents.profiles import list_sellers, read_profile
from gigarouter.mail_job import MailServer, is_refused_for_good
from gigarouter.settings import Settings
from router.context import RouterContext

log = structlog.get_logger("jobs")

AT_MOST = 100


class SendAccountMails:
    """Sends what waits, where a mail server is set; without one nothing is sent."""

    def __init__(self, settings: Settings | None) -> None:
        url = settings and settings.smtp_url
        self._server = MailServer(url.get_secret_value()) if url else None
        self._sender = (settings and settings.mail_from) or ""

    async def __call__(self, context: RouterContext) -> None:
        """One turn."""
        for _ in range(AT_MOST if self._server else 0):
            async with context.db.transaction() as tx:
                mail = await claim_mail(tx)
                if mail is None:
                    return
                stored = await read_profile(tx, mail.account_id)
                sellers = await list_sellers(tx)
            sender = self._sender or next((one.seller.email for one in sellers if one.seller.email), "")
            addresses = tuple(stored.profile.emails) if stored else ()
            if not addresses or not sender:
                fault = (
                    "the account's billing profile has no e-mail address"
                    if sender
                    else "neither GIGAROUTER_MAIL_FROM is set, nor has a seller an e-mail address"
                )
                await self._fail(context, mail, fault, is_final=False)
            else:
                await self._send(context, mail, addresses, sender)

    async def _send(self, context: RouterContext, mail: AccountMail, addresses: tuple[str, ...], sender: str) -> None:
        assert self._server is not None, "nothing is claimed without a mail server; this is a bug"
        try:
            await asyncio.to_thread(self._server.send, message_of(mail, addresses, sender))
        except (OSError, smtplib.SMTPException) as fault:
            await self._fail(context, mail, f"{type(fault).__name__}: {fault}", is_final=is_refused_for_good(fault))
            return
        async with context.db.transaction() as tx:
            await mark_sent(tx, mail)

    async def _fail(self, context: RouterContext, mail: AccountMail, fault: str, *, is_final: bool) -> None:
        log.warning("customer_not_mailed", mail=str(mail.id), kind=mail.kind.value, fault=fault[:300])
        async with context.db.transaction() as tx:
            await mark_failed(tx, mail, fault, is_final=is_final)
