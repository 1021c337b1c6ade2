"""One mail of each kind, and how a mail of it is stored."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import mail.kinds as k
from mail.outbox import StoredMail
from mail.values import Mail
from store.ids import AccountId, MailId

AT = datetime(2026, 12, 1, 5, 30, tzinfo=UTC)
ACCOUNT = AccountId(UUID("0199a3f0-0000-7000-8000-000000000001"))
KEY = {"key": "key_0199a3f0", "name": "nightly batch", "prefix": "gr_live_ab12"}
DOCUMENT = {
    "title": "Invoice ACME-INV-2026-000042",
    "number": "ACME-INV-2026-000042",
    "seller": "Acme Vectors GmbH",
    "amount": "USD 1,234.56",
    "due_day": "2026-12-15",
}

EXAMPLES: tuple[Mail, ...] = (
    k.SignInCode(code="482913", path="/sign-in/link/0199a3f0"),
    k.Invitation(account_name="Acme", role="developer", by="ann@acme.example", path="/invitations/0199a3f0", until=AT),
    k.Welcome(account_name="Acme", credit_usd="1.00", credit_until=AT),
    k.PasskeyAdded(name="Ann's laptop", at=AT, device="Firefox on Linux", place="Berlin, DE"),
    k.PasskeyRemoved(name="Ann's laptop", at=AT),
    k.SessionStarted(at=AT, method="a code by e-mail", device="Chrome on Android", place="Osaka, JP"),
    k.OwnDataReady(ordered=AT, until=AT + timedelta(days=3)),
    k.OwnDataFailed(ordered=AT, reason="The disk is full."),
    k.KeyCreated(**KEY, by="ann@acme.example"),
    k.KeyRotated(**KEY, by="ann@acme.example", old_until=AT),
    k.KeyExpiring(**KEY, at=AT),
    k.KeyRevoked(**KEY, reason="It stood in a public repository."),
    k.BalanceLow(left_usd="4.20", last_usd="25.00"),
    k.RechargeDone(amount_usd="25.00", threshold_usd="5.00"),
    k.RechargeConfirm(amount_usd="25.00", threshold_usd="5.00", until=AT, url="https://pay.example/i/1?a=1&b=2"),
    k.RechargeOff(reason="A payment was declined three times."),
    k.RechargeLimitReached(month="2026-11", month_max_usd="100.00"),
    k.PaymentFailed(amount_usd="25.00", reason="The bank declined the payment.", next_try=AT),
    k.PaymentDisputed(state="open", amount_usd="25.00", payment="top-up 0199a3f0"),
    k.SpendingReached(
        limit="cap",
        key="key_0199a3f0",
        key_name="nightly batch",
        spent_usd="50.00",
        begins_again=AT,
        percent=100,
        period="month",
        amount_usd="50.00",
    ),
    k.SpendingForecast(
        limit="budget",
        name="Search",
        key="",
        spent_usd="30.00",
        begins_again=None,
        forecast_usd="61.00",
        period="total",
        amount_usd="50.00",
    ),
    k.CreditExpiring(amount_usd="5.00", credit="goodwill", at=AT, days=30),
    k.Notice(subject="A notice", sentence="Something was said."),
    k.DocumentIssued(**DOCUMENT),
    k.InvoiceOverdue(**DOCUMENT, pause_day="2026-12-29"),
    k.ModelLaunched(model="codefuse-ai/F2LLM-v2-4B", price_usd="0.008", batch_price_usd="0.004"),
    k.PriceChange(model="codefuse-ai/F2LLM-v2-4B", before_usd="0.008", after_usd="0.01", at=AT),
    k.ModelRetiring(model="codefuse-ai/F2LLM-v2-4B", at=AT, successor="codefuse-ai/F2LLM-v3-4B"),
    k.ProviderDown(provider="alpha", model="tests/small", endpoint="ep_1", reason="401 from upstream", at=AT),
    k.CheckFailed(check="postings_sum_to_zero", wrong=3, at=AT),
    k.DisputeChanged(state="open", amount_usd="25.00", payment="top-up 0199a3f0", reason="fraudulent", answer_by=AT),
)


def stored(mail: Mail, *, locale: str = "en", zone: str = "Europe/Berlin") -> StoredMail:
    """The mail as it is claimed, to Ann."""
    return StoredMail(
        id=MailId(UUID(int=1)),
        mail=mail,
        address="ann@acme.example",
        account_id=ACCOUNT,
        staff=None,
        locale=locale,
        zone=zone,
        message_id="00",
        unsubscribe_id=None if mail.topic is None else UUID(int=2),
        attempts=1,
        created_at=AT,
    )
