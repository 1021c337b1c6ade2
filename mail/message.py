"""Makes the message of a rendered mail, as RFC 5322 and MIME want it."""

from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import msgspec

from mail.render import Rendered
from mail.values import Attachment

# Longer lines are folded by programs on the way; what is in a header is folded here.
_POLICY = SMTP.clone(max_line_length=76)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """From whom to whom a message goes. ``unsubscribe``: the URL that takes a POST (RFC 8058), or empty."""

    sender: str
    address: str
    message_id: str
    created_at: datetime
    reply_to: str = ""
    unsubscribe: str = ""


def message_of(rendered: Rendered, envelope: Envelope, attachments: tuple[Attachment, ...] = ()) -> EmailMessage:
    """The message: text, HTML that says the same, and files. The same mail has the same Message-ID at every try."""
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = rendered.subject
    message["From"] = envelope.sender
    message["To"] = envelope.address
    message["Message-ID"] = f"<{envelope.message_id}@{domain_of(envelope.sender)}>"
    message["Date"] = format_datetime(envelope.created_at)
    message["Auto-Submitted"] = "auto-generated"
    if envelope.reply_to:
        message["Reply-To"] = envelope.reply_to
    if envelope.unsubscribe:
        message["List-Unsubscribe"] = f"<{envelope.unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(rendered.text, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    for file in attachments:
        message.add_attachment(file.content, maintype="application", subtype=file.subtype, filename=file.name)
    return message


def domain_of(sender: str) -> str:
    """The domain of ``name <user@domain>``."""
    return sender.rpartition("@")[2].rstrip("> ")
