"""Holds facts of changes as domain values have them, and as the API shows them: action, before, shown."""

from typing import Any

FACTS: list[tuple[str, Any, Any]] = [
    ("budget.add", {"name": "b", "amount_nano": 12_500_000_000}, {"name": "b", "amount_usd": "12.50"}),
    ("difference.resolve", {"amount_nano": -1, "entry": None}, {"amount_usd": "-0.000000001", "entry": None}),
    ("caps.set", {"total": 10**9, "day": 5}, {"total_usd": "1.00", "day_usd": "0.000000005"}),
    ("key.edit", {"day": 5, "nano": "x"}, {"day": 5, "nano": "x"}),
    (
        "key.create",
        {"spec": {"caps": [{"amount": 10**9, "period": "month"}], "cap_nano": None, "models": ["nano/model"]}},
        {"spec": {"caps": [{"amount_usd": "1.00", "period": "month"}], "cap_usd": None, "models": ["nano/model"]}},
    ),
    ("endpoint.edit", {"cost_nano_per_mtok": 8_000_000, "weight": 3}, {"cost_usd_per_mtok": "0.008", "weight": 3}),
    (
        "model.edit",
        {"estimate": {"nano_per_mtok": 1}, "is_nano": True},
        {"estimate": {"usd_per_mtok": "0.000000001"}, "is_nano": True},
    ),
    ("any", None, None),
]
