"""Sends mails again or drops them, and keeps the list of addresses that nothing is mailed to: operators' writes."""

from collections.abc import Sequence

from mail import records, stopped
from mail.kinds import KINDS
from mail.records import MailRecord
from mail.stopped import StopReason
from mail.values import Topic
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from store.ids import MailId, wire

TOPICS = frozenset({stopped.EVERYTHING, *(topic.value for topic in Topic)})
ADDRESSES_MAX = 1000


async def retry_mail(work: UnitOfWork, mail_id: MailId) -> MailRecord:
    """Let a mail be sent now. Raises ``NotFound``, ``Conflict`` for one that was sent or whose code is erased."""
    mail = await _require(work, mail_id)
    if mail.state not in ("waiting", "failed"):
        raise Conflict(f"{wire(MailId, mail_id)} is {mail.state}: only what waits or has failed is sent again.")
    kind = KINDS.get(mail.kind)
    if mail.state == "failed" and kind is not None and kind.has_secret:
        raise Conflict(f"{wire(MailId, mail_id)} had a secret, which was erased: let its reader ask for another.")
    await records.retry(work.connection, mail_id)
    return await _changed(work, mail, "mail.retry")


async def drop_mail(work: UnitOfWork, mail_id: MailId, reason: str) -> MailRecord:
    """Let a mail never be sent. Raises ``NotFound``, ``Conflict`` for one that waits no more."""
    mail = await _require(work, mail_id)
    if mail.state != "waiting":
        raise Conflict(f"{wire(MailId, mail_id)} is {mail.state}: only what waits is dropped.")
    await records.drop(work.connection, mail_id, reason)
    return await _changed(work, mail, "mail.drop", reason)


async def stop_addresses(
    work: UnitOfWork, addresses: Sequence[str], topic: str, reason: StopReason, detail: str
) -> tuple[str, ...]:
    """Put addresses onto the stop list; those that were new. The audit has how many: they are people's."""
    _require_topic(topic)
    known = dict.fromkeys(address.lower() for address in addresses)
    facts_of_stop = {"topic": topic, "detail": detail, "by": work.actor}
    fresh = [one for one in known if await stopped.stop(work.connection, one, reason, **facts_of_stop)]
    facts: dict[str, object] = {"addresses": len(fresh), "topic": topic, "cause": reason.value}
    work.record_change(Change("stopped_addresses.add", topic, after=facts, reason=detail))
    return tuple(fresh)


async def resume_address(work: UnitOfWork, address: str, topic: str, reason: str) -> None:
    """Take an address off the stop list. Raises ``NotFound`` where it is not on it."""
    _require_topic(topic)
    if not await stopped.remove(work.connection, address, topic):
        raise NotFound("The address is not on the list for that topic.", param="address")
    work.record_change(Change("stopped_addresses.remove", topic, after={"addresses": 1, "topic": topic}, reason=reason))


def _require_topic(topic: str) -> None:
    if topic not in TOPICS:
        raise InvalidRequest(f"'topic' is one of {', '.join(sorted(TOPICS))}.", param="topic")


async def _require(work: UnitOfWork, mail_id: MailId) -> MailRecord:
    found = await records.find_mail(work.connection, mail_id)
    if found is None:
        raise NotFound(f"There is no mail {wire(MailId, mail_id)}.", param="mail_id")
    return found


async def _changed(work: UnitOfWork, before: MailRecord, action: str, reason: str = "") -> MailRecord:
    after = await _require(work, before.id)
    was: dict[str, object] = {"state": before.state}
    now: dict[str, object] = {"state": after.state, "kind": after.kind}
    work.record_change(Change(action, wire(MailId, before.id), before.account_id, was, now, reason=reason))
    return after
