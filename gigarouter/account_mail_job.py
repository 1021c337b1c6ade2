"""Mails customers what happened to their account: claims a mail, sends it, marks it (:mod:`billing.account_mails`)."""

import structlog

from billing.account_mails import AccountMail, claim_mail, mark_failed, mark_sent, message_of
from billing.documents.profiles import list_sellers, read_profile
from gigarouter.mail_job import Failure, Outbox
from gigarouter.settings import Settings
from router.context import RouterContext

log = structlog.get_logger("jobs")


class SendAccountMails:
    """Sends what waits, where a mail server is set; without one nothing is sent."""

    def __init__(self, settings: Settings | None) -> None:
        self._outbox = Outbox(settings)

    async def __call__(self, context: RouterContext) -> None:
        """One turn."""
        for _ in range(self._outbox.at_most):
            async with context.db.transaction() as tx:
                mail = await claim_mail(tx)
                if mail is None:
                    return
                stored = await read_profile(tx, mail.account_id)
                sellers = await list_sellers(tx)
            sender = self._outbox.sender or next((one.seller.email for one in sellers if one.seller.email), "")
            addresses = tuple(stored.profile.emails) if stored else ()
            failure = await self._send(mail, addresses, sender)
            async with context.db.transaction() as tx:
                if failure is None:
                    await mark_sent(tx, mail)
                else:
                    facts = {"mail": str(mail.id), "kind": mail.kind.value, "fault": failure.fault[:300]}
                    log.warning("customer_not_mailed", **facts)
                    await mark_failed(tx, mail, failure.fault, is_final=failure.is_final)

    async def _send(self, mail: AccountMail, addresses: tuple[str, ...], sender: str) -> Failure | None:
        if not sender:
            return Failure("neither GIGAROUTER_MAIL_FROM is set, nor has a seller an e-mail address", False)
        if not addresses:
            return Failure("the account's billing profile has no e-mail address", False)
        return await self._outbox.send(message_of(mail, addresses, sender))
