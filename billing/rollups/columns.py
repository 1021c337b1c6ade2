"""Names the columns of sums of usage, and how each is summed from usage events. Pure."""

from typing import Final

# What a call adds to each sum, by the columns of usage_events.
PER_CALL: Final[dict[str, str]] = {
    "calls": "1",
    "inputs": "inputs",
    "tokens": "tokens",
    "free_calls": "(cost_nano = 0)::int",
    "free_tokens": "CASE WHEN cost_nano = 0 THEN tokens ELSE 0 END",
    "charged": "charged_nano",
    "overdraft": "overdraft_nano",
    "promotional": "coalesce(promotional_nano, 0)",
    "goodwill": "coalesce(goodwill_nano, 0)",
    "provider_cost": "provider_cost_nano",
}
# Upper bounds of latency in milliseconds; the last bucket has none.
LATENCY_BOUNDS_MS: Final = (5, 10, 15, 25, 40, 60, 100, 150, 250, 400, 600, 1_000, 1_600, 2_500, 5_000)
_BOUNDS = "{" + ",".join(map(str, LATENCY_BOUNDS_MS)) + "}"
LATENCY: Final = tuple(f"latency_{place:02d}" for place in range(len(LATENCY_BOUNDS_MS) + 1))
SUMS: Final = (*PER_CALL, *LATENCY)
# What is read of a call: what it adds, and in which bucket its latency is. A latency that is a bound is in the bucket
# below it. The bucket is computed once, and compared with each place by whoever sums.
CALL_COLUMNS: Final = ", ".join(
    (
        *(f"{expression} AS {name}" for name, expression in PER_CALL.items()),
        f"width_bucket(latency_ms - 1, '{_BOUNDS}'::int[]) AS bucket",
    )
)
OF_BUCKET: Final = {name: f"(bucket = {place})::int" for place, name in enumerate(LATENCY)}
