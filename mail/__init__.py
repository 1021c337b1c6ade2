"""Mails people: one outbox in Postgres, whose rows `jobs` sends by SMTP, each at most once to the reader's eye.

It stands on ``store`` alone; whoever causes a mail enqueues it in the transaction that causes it::

    from mail import Recipient, enqueue
    from mail.kinds import KeyCreated, SignInCode

    code = SignInCode(code="123456", path="/sign-in/…", minutes=10)
    await enqueue(tx, code, Recipient("ann@example.com"), dedupe=f"sign-in:{attempt.hex}")
    created = KeyCreated(key="key_…", name="batch", prefix="gr_live_ab12", by="ann@example.com")
    await enqueue(tx, created, account_id, dedupe=f"key-created:{key_id.hex}")

``to`` is a :class:`Recipient` (an address with its reader's language and time zone), an account, whose addresses are
found when the mail is sent, or :attr:`Staff.OPS` and :attr:`Staff.FINANCE`. The same ``dedupe`` for the same address is
one mail, however often it is enqueued. A kind of mail is a frozen struct in :mod:`mail.kinds` and a template of the
same name in ``mail/templates``; docs/mail.md says how to add one.
"""

from mail.outbox import enqueue, enqueue_all
from mail.values import Audience, Mail, Recipient, Staff, Topic

__all__ = ["Audience", "Mail", "Recipient", "Staff", "Topic", "enqueue", "enqueue_all"]
