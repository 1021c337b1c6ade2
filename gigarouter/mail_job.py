"""Sends the outbox's mails (:mod:`mail`): by the mail server that is set, else as files where a folder is set."""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.mails import finish_mail
from billing.documents.profiles import list_sellers
from gigarouter.settings import Settings
from gigarouter.web_settings import web_url
from mail import outbox
from mail.folder import MailFolder
from mail.kinds import DocumentReference
from mail.outbox import StoredMail
from mail.render import Surroundings
from mail.sending import Sender, Sources
from mail.transports import MailServer, Transport
from mail.values import Finished
from router.context import RouterContext
from router.identity.mail_readers import find_readers

# In the folder nothing is delivered, so that any sender will do.
FOLDER_SENDER = "gigarouter@localhost"


class SendMails:
    """Sends what waits; without a mail server and without a folder nothing is sent, and waits."""

    def __init__(self, settings: Settings | None) -> None:
        self._sender = None if settings is None else make_sender(settings)

    async def __call__(self, context: RouterContext) -> None:
        """One turn."""
        if self._sender is not None:
            await self._sender.send_waiting(context.db)


def make_sender(settings: Settings) -> Sender | None:
    """What sends by these settings; None where nothing does."""
    sender, transport = settings.mail_from or "", _transport(settings)
    if transport is None:
        return None
    if isinstance(transport, MailFolder):
        sender = sender or FOLDER_SENDER
    sources = Sources(find_recipients=find_readers, finish=_finish, find_sender=_find_sender)
    around = Surroundings(web_url(settings))
    return Sender(transport, sources, around, sender=sender, bounces_to=settings.mail_bounces_to or "")


async def forget_mails(context: RouterContext) -> None:
    """Delete what was mailed so long ago that nothing could cause it again."""
    async with context.db.transaction() as tx:
        await outbox.forget_old(tx)


def _transport(settings: Settings) -> Transport | None:
    if settings.smtp_url is not None:
        return MailServer(settings.smtp_url.get_secret_value())
    return None if settings.mail_dir is None else MailFolder(settings.mail_dir.expanduser())


async def _finish(tx: AsyncConnection, stored: StoredMail) -> Finished | None:
    if isinstance(stored.mail, DocumentReference):
        return await finish_mail(tx, stored.mail)
    return Finished(mail=stored.mail)


async def _find_sender(tx: AsyncConnection) -> str:
    return next((one.seller.email for one in await list_sellers(tx) if one.seller.email), "")
