"""Stripe's meters, for the stand-in: identifiers that are taken once, windows, and totals by day.

Stripe takes an event and sums it later: :meth:`MeterWorld.sum_events` is that later. Of a meter with a window, which
event is the newest of a day is not in Stripe's contract: ``by_arrival`` says it, and a test tries both.
"""

import time
from typing import Any

from tests.harness.stripe_collections import CollectionWorld
from tests.harness.stripe_world import Json, Refused

DAY = 24 * 60 * 60


class MeterWorld(CollectionWorld):
    """One account's meters."""

    by_arrival = False
    is_late = False

    def __init__(self) -> None:
        super().__init__()
        # All events that were taken, and how many of them are in the sums.
        self.taken: list[Json] = []
        self._summed = 0
        self._identifiers: set[str] = set()

    def act_on_meter(self, method: str, template: str, parts: dict[str, str], sent: Json) -> Json | None:
        """What the operations of meters answer; None for any other."""
        match method, template:
            case "POST", "/v1/billing/meters":
                return self.create_meter(sent)
            case "POST", "/v1/billing/meter_events":
                return self.take_event(sent)
            case "GET", "/v1/billing/meters/{id}/event_summaries":
                return self.sum_days(parts["id"], sent)
            case _:
                return None

    def create_meter(self, sent: Json) -> Json:
        if any(one["event_name"] == sent["event_name"] for one in self.all("billing.meter")):
            raise Refused(400, f"An active meter with event name {sent['event_name']} exists already.")
        now = int(time.time())
        return self.put(
            "mtr",
            "billing.meter",
            livemode=False,
            status="active",
            status_transitions={"deactivated_at": None},
            updated=now,
            event_name=sent["event_name"],
            display_name=sent["display_name"],
            default_aggregation=sent["default_aggregation"],
            event_time_window=sent.get("event_time_window"),
            customer_mapping=sent.get("customer_mapping", {"type": "by_id", "event_payload_key": "stripe_customer_id"}),
            value_settings=sent.get("value_settings", {"event_payload_key": "value"}),
        )

    def take_event(self, sent: Json) -> Json:
        now, identifier = int(time.time()), sent.get("identifier", "")
        at = sent.get("timestamp", now)
        if at < now - 35 * DAY:
            raise Refused(400, "The timestamp must be within the past 35 calendar days.", "timestamp_too_far_in_past")
        if at > now + 300:
            raise Refused(400, "The timestamp must be at most 5 minutes in the future.", "timestamp_in_future")
        if not any(one["event_name"] == sent["event_name"] for one in self.all("billing.meter")):
            raise Refused(400, f"There is no active meter for {sent['event_name']}.", "no_meter_found")
        if identifier in self._identifiers:
            raise Refused(400, f"An event already exists with identifier {identifier}.")
        self.find("customer", sent["payload"]["stripe_customer_id"])
        if not sent["payload"]["value"].isdecimal():
            raise Refused(400, "The value is no number.")
        event: Json = {
            "object": "billing.meter_event",
            "created": now,
            "livemode": False,
            "identifier": identifier,
            "event_name": sent["event_name"],
            "timestamp": at,
            "payload": sent["payload"],
        }
        self._identifiers.add(identifier)
        self.taken.append(event)
        if not self.is_late:
            self.sum_events()
        return event

    def sum_events(self) -> None:
        """What was taken is in the sums."""
        self._summed = len(self.taken)

    def forget_identifiers(self) -> None:
        """A day has passed: identifiers of before are taken again."""
        self._identifiers.clear()

    def days_of(self, meter_id: str, customer: str) -> dict[int, float]:
        """What a meter has of a customer, by the beginning of the day."""
        meter = self.find("billing.meter", meter_id)
        events = [
            one
            for one in self.taken[: self._summed]
            if one["event_name"] == meter["event_name"] and one["payload"]["stripe_customer_id"] == customer
        ]
        if not self.by_arrival:
            # Of two of one instant the first that came: nobody may rely on the other.
            events.reverse()
            events.sort(key=lambda one: int(one["timestamp"]))
        days: dict[int, float] = {}
        for event in events:
            day, value = event["timestamp"] // DAY * DAY, float(event["payload"]["value"])
            days[day] = value if meter["event_time_window"] == "day" else days.get(day, 0) + value
        return days

    def sum_days(self, meter_id: str, sent: Json) -> Json:
        if sent["start_time"] % DAY or sent["end_time"] % DAY:
            raise Refused(400, "Start and end have to be aligned with days.")
        days = self.days_of(meter_id, sent["customer"])
        rows: list[dict[str, Any]] = [
            {
                "object": "billing.meter_event_summary",
                "id": f"mtrusg_{meter_id}_{day}",
                "livemode": False,
                "meter": meter_id,
                "aggregated_value": value,
                "start_time": day,
                "end_time": day + DAY,
            }
            for day, value in sorted(days.items(), reverse=True)
            if sent["start_time"] <= day < sent["end_time"]
        ]
        return {
            "object": "list",
            "url": f"/v1/billing/meters/{meter_id}/event_summaries",
            "data": rows,
            "has_more": False,
        }
