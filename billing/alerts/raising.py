"""Raises alerts: each is a row that is there once, and is written with the mail and the deliveries that tell of it.

Any number of processes may look at once, and any may be killed: of an alert either everything is written or nothing,
and a second row of the same cap or budget, period, threshold and amount is refused by an index.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.deliveries import add_event
from billing.alerts.rules import Spending, Threshold, due, forecast
from billing.cap_rules import period_end, period_label
from billing.money import NanoUSD, to_usd
from billing.values import CapPeriod
from mail import Mail, enqueue
from mail.kinds import SpendingForecast, SpendingReached
from store.ids import AccountId, BudgetId, KeyId, new_id, wire
from store.postgres import Database

# So many alerts are written in one transaction.
BATCH = 200
KEPT = "90 days"
# Of each cap and budget what is spent in its present period. Caps of an account and of keys that work, and budgets; of
# those of which enough is spent for any alert.
_SPENDINGS = text("""
    WITH limits AS (
        SELECT 'cap' AS kind, k.account_id, k.id AS key_id, NULL::uuid AS budget_id, '' AS name, k.name AS key_name,
            k.cap_period AS period,
            k.cap_nano AS amount_nano
        FROM keys k WHERE k.cap_nano > 0 AND k.revoked_at IS NULL
        UNION ALL
        SELECT 'cap', k.account_id, k.id, NULL, '', k.name, c.period, c.amount_nano
        FROM key_caps c JOIN keys k ON k.id = c.key_id
        WHERE c.amount_nano > 0 AND k.revoked_at IS NULL AND c.period IS DISTINCT FROM k.cap_period
        UNION ALL
        SELECT 'cap', account_id, NULL, NULL, '', '', period, amount_nano FROM account_caps WHERE amount_nano > 0
        UNION ALL
        SELECT 'budget', b.account_id, b.key_id, b.id, b.name, coalesce(k.name, ''), b.period, b.amount_nano
        FROM budgets b LEFT JOIN keys k ON k.id = b.key_id
    ), labelled AS (
        SELECT *, CASE period WHEN 'total' THEN 'total' WHEN 'month' THEN :month ELSE :day END AS label FROM limits
    ), spendings AS (
        SELECT l.*, CASE WHEN l.key_id IS NULL THEN (
            SELECT sum(s.spent_nano) FROM key_spend s WHERE s.account_id = l.account_id AND s.period = l.label
        ) ELSE (
            SELECT s.spent_nano FROM key_spend s WHERE s.key_id = l.key_id AND s.period = l.label
        ) END::bigint AS spent_nano
        FROM labelled l
    )
    SELECT * FROM spendings WHERE spent_nano > 0 AND (period <> 'total' OR 2 * spent_nano >= amount_nano)
    ORDER BY account_id, kind, key_id, budget_id, period
""")
_INSERT = text("""
    INSERT INTO spend_alerts (id, account_id, subject, label, threshold, amount_nano, spent_nano)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:accounts AS uuid[]), CAST(:subjects AS text[]),
        CAST(:labels AS text[]), CAST(:thresholds AS text[]), CAST(:amounts AS bigint[]), CAST(:spents AS bigint[]))
    ON CONFLICT ON CONSTRAINT spend_alerts_once DO NOTHING RETURNING id
""")
_KNOWN = text("SELECT subject, label, threshold, amount_nano FROM spend_alerts WHERE subject = ANY(:subjects)")
_FORGET = text(f"DELETE FROM spend_alerts WHERE label <> 'total' AND raised_at < now() - interval '{KEPT}'")  # noqa: S608


class Alert(msgspec.Struct, frozen=True):
    """An alert that is due: of a cap or a budget, of an account or of one key of it. ``name`` is the budget's."""

    account_id: AccountId
    key_id: KeyId | None
    budget_id: BudgetId | None
    name: str
    key_name: str
    threshold: Threshold
    spending: Spending

    @property
    def subject(self) -> str:
        """What it is about, as the index knows it."""
        if self.budget_id is not None:
            return f"budget:{self.budget_id.hex}"
        owner = self.account_id if self.key_id is None else self.key_id
        return f"cap:{owner.hex}:{self.spending.period.value}"

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """What there is one alert of."""
        label = period_label(self.spending.period, self.spending.now)
        return self.subject, label, self.threshold.value, self.spending.amount


async def raise_due(db: Database, now: datetime) -> int:
    """Raise every alert that is due and was not raised; how many. Raises the stores' own faults."""
    raised = 0
    async with db.transaction() as tx:
        rows = (await tx.execute(_SPENDINGS, {"month": f"{now:%Y-%m}", "day": f"{now:%Y-%m-%d}"})).all()
    alerts = [alert for row in rows for alert in _alerts(row, now)]
    for first in range(0, len(alerts), BATCH):
        async with db.transaction() as tx:
            raised += await _raise(tx, alerts[first : first + BATCH])
    return raised


async def forget_old(db: Database) -> None:
    """Delete alerts of periods that are long over."""
    async with db.transaction() as tx:
        await tx.execute(_FORGET)


def _alerts(row: Row[tuple[object, ...]], now: datetime) -> Iterable[Alert]:
    spending = Spending(CapPeriod(row.period), NanoUSD(row.amount_nano), NanoUSD(row.spent_nano), now)
    for threshold in due(spending):
        yield Alert(row.account_id, row.key_id, row.budget_id, row.name, row.key_name, threshold, spending)


async def _raise(tx: AsyncConnection, alerts: Sequence[Alert]) -> int:
    """Write those that nobody has raised, with what tells of them."""
    known = {tuple(row) for row in await tx.execute(_KNOWN, {"subjects": [alert.subject for alert in alerts]})}
    fresh = {new_id(): alert for alert in alerts if alert.identity not in known}
    if not fresh:
        return 0
    identities = [alert.identity for alert in fresh.values()]
    columns: dict[str, list[object]] = {"ids": list(fresh), "accounts": [alert.account_id for alert in fresh.values()]}
    for place, name in enumerate(("subjects", "labels", "thresholds", "amounts")):
        columns[name] = [identity[place] for identity in identities]
    columns["spents"] = [alert.spending.spent for alert in fresh.values()]
    raised = [row.id for row in await tx.execute(_INSERT, columns)]
    for alert_id in raised:
        alert = fresh[alert_id]
        await enqueue(tx, mail_of(alert), alert.account_id, dedupe=f"alert:{alert_id.hex}")
        name = "spend.forecast" if alert.threshold is Threshold.FORECAST else "spend.threshold"
        await add_event(tx, alert.account_id, name, alert.spending.now, event_data(alert))
    return len(raised)


# What mails call a period.
PERIODS: dict[CapPeriod, Literal["day", "month", "total"]] = {
    CapPeriod.DAY: "day",
    CapPeriod.MONTH: "month",
    CapPeriod.TOTAL: "total",
}


def mail_of(alert: Alert) -> Mail:
    """What a mail says of it."""
    spending = alert.spending
    limit: Literal["cap", "budget"] = "cap" if alert.budget_id is None else "budget"
    key = "" if alert.key_id is None else wire(KeyId, alert.key_id)
    amount, spent = to_usd(spending.amount), to_usd(spending.spent)
    period, again = PERIODS[spending.period], period_end(spending.period, spending.now)
    if alert.threshold is Threshold.FORECAST:
        return SpendingForecast(
            limit=limit,
            name=alert.name,
            key=key,
            key_name=alert.key_name,
            period=period,
            amount_usd=amount,
            spent_usd=spent,
            begins_again=again,
            forecast_usd=to_usd(forecast(spending) or NanoUSD(0)),
        )
    return SpendingReached(
        limit=limit,
        name=alert.name,
        key=key,
        key_name=alert.key_name,
        period=period,
        amount_usd=amount,
        spent_usd=spent,
        begins_again=again,
        percent=int(alert.threshold.value),
    )


def event_data(alert: Alert) -> dict[str, object]:
    """What a webhook's body says, beside its type and time."""
    spending, ends_at = alert.spending, period_end(alert.spending.period, alert.spending.now)
    expected = forecast(spending)
    is_forecast = alert.threshold is Threshold.FORECAST
    return {
        "account": wire(AccountId, alert.account_id),
        "kind": "cap" if alert.budget_id is None else "budget",
        "scope": "account" if alert.key_id is None else "key",
        "key": None if alert.key_id is None else wire(KeyId, alert.key_id),
        "budget": None if alert.budget_id is None else wire(BudgetId, alert.budget_id),
        "period": spending.period.value,
        "resets_at": None if ends_at is None else f"{ends_at:%Y-%m-%dT%H:%M:%SZ}",
        "threshold_percent": None if is_forecast else int(alert.threshold.value),
        "amount_usd": to_usd(spending.amount),
        "spent_usd": to_usd(spending.spent),
        "forecast_usd": None if expected is None else to_usd(expected),
    }
