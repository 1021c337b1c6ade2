"""Puts mails to people into the outbox of the transaction that causes them; the kinds are those of the mail part."""

from mail import Mail, Recipient, enqueue
from mail.kinds import Invitation, PasskeyAdded, PasskeyRemoved, SessionStarted, SignInCode, Welcome

__all__ = [
    "Invitation",
    "Mail",
    "PasskeyAdded",
    "PasskeyRemoved",
    "Recipient",
    "SessionStarted",
    "SignInCode",
    "Welcome",
    "enqueue",
]
