"""Sends what waits in the outbox: claims a mail, finds whom it is for, renders it, hands it on, marks it.

Any number of processes may do so at once, and any may be killed at any moment. What only others know (the addresses of
an account, a document's file) they give as functions.
"""

from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage
from typing import TypeAlias

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from mail import outbox, stopped
from mail.message import Envelope, message_of
from mail.outbox import StoredMail
from mail.render import Surroundings, render, unsubscribe_url
from mail.transports import Failure, Transport
from mail.values import Finished, Recipient
from store.postgres import Database

log = structlog.get_logger("mail")


FindRecipients: TypeAlias = Callable[[AsyncConnection, StoredMail], Awaitable[Sequence[Recipient]]]
Finish: TypeAlias = Callable[[AsyncConnection, StoredMail], Awaitable[Finished | None]]
FindSender: TypeAlias = Callable[[AsyncConnection], Awaitable[str]]


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What others know of a mail. ``finish``: None where it is not true any more."""

    find_recipients: FindRecipients
    finish: Finish
    find_sender: FindSender


class Sender:
    """Sends mails by one transport. ``sender``: the address in From; ``bounces_to``: the envelope's, if another."""

    def __init__(
        self, transport: Transport, sources: Sources, around: Surroundings, *, sender: str = "", bounces_to: str = ""
    ) -> None:
        self._transport = transport
        self._sources = sources
        self._around = around
        self._sender = sender
        self._bounces_to = bounces_to

    async def send_waiting(self, db: Database, *, at_most: int = 100) -> int:
        """Send what is due, one after the other; how many rows were worked on. Ends early where the server is away."""
        async with db.transaction() as tx:
            await outbox.give_up(tx)
        for done in range(at_most):
            # Apart from what comes after: a mail that cannot be made is out of the others' way for some minutes.
            async with db.transaction() as tx:
                stored = await outbox.claim(tx)
            if stored is None:
                return done
            async with db.transaction() as tx:
                message = await self._prepare(tx, stored)
            if message is None:
                continue
            failure = await self._transport.send(message, stored.address, self._bounces_to)
            async with db.transaction() as tx:
                await self._mark(tx, stored, failure)
            if failure is not None and failure.is_server:
                return done + 1
        return at_most

    async def _prepare(self, tx: AsyncConnection, stored: StoredMail) -> EmailMessage | None:
        """The message of a mail; None where there is none now, and the row says why."""
        if not stored.address:
            await self._split(tx, stored)
            return None
        mail = stored.mail
        why = await stopped.find_stop(tx, stored.address, mail.topic, despite_bounces=mail.is_wanted)
        if why is not None:
            await outbox.drop(tx, stored, why)
            return None
        finished = await self._sources.finish(tx, stored)
        if finished is None:
            await outbox.drop(tx, stored, "what it says is not so any more")
            return None
        sender = self._sender or finished.sender or await self._sources.find_sender(tx)
        if not sender:
            fault = "neither GIGAROUTER_MAIL_FROM is set, nor has a seller an e-mail address"
            await outbox.postpone(tx, stored, fault)
            return None
        envelope = Envelope(
            sender=sender,
            address=stored.address,
            message_id=stored.message_id,
            created_at=stored.created_at,
            reply_to=finished.reply_to,
            unsubscribe=unsubscribe_url(stored, self._around),
        )
        return message_of(render(stored, finished.mail, self._around), envelope, finished.attachments)

    async def _split(self, tx: AsyncConnection, stored: StoredMail) -> None:
        recipients = await self._sources.find_recipients(tx, stored)
        if recipients:
            await outbox.split(tx, stored, recipients)
        else:
            await outbox.postpone(tx, stored, "nobody is known whom it is for, or none with an e-mail address")

    async def _mark(self, tx: AsyncConnection, stored: StoredMail, failure: Failure | None) -> None:
        if failure is None:
            await outbox.mark_sent(tx, stored)
            if stored.mail.is_wanted:
                await stopped.note_delivered(tx, stored.address)
            return
        log.warning("mail_not_sent", mail=str(stored.id), kind=stored.mail.kind, fault=failure.fault.partition(":")[0])
        if failure.is_unknown:
            await stopped.stop(tx, stored.address, stopped.StopReason.BOUNCED, detail=failure.fault)
        if failure.is_final:
            await outbox.mark_failed(tx, stored, failure.fault)
        else:
            await outbox.postpone(tx, stored, failure.fault)
