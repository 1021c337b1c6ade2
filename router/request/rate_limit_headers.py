"""The ``x-ratelimit-*`` headers, in OpenAI's names and its Go-style durations (``8ms``, ``1.5s``, ``6m0s``)."""

from billing.values import LimitState


def duration(milliseconds: int) -> str:
    """1500 -> ``1.5s``, 360000 -> ``6m0s``, 8 -> ``8ms``."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds


def limit_headers(state: LimitState) -> list[tuple[bytes, bytes]]:
    """Six headers, on success and on refusal alike."""
    return [
        (b"x-ratelimit-limit-requests", str(state.requests_limit).encode()),
        (b"x-ratelimit-limit-tokens", str(state.tokens_limit).encode()),
        (b"x-ratelimit-remaining-requests", str(state.requests_remaining).encode()),
        (b"x-ratelimit-remaining-tokens", str(state.tokens_remaining).encode()),
        (b"x-ratelimit-reset-requests", duration(state.requests_reset_ms).encode()),
        (b"x-ratelimit-reset-tokens", duration(state.tokens_reset_ms).encode()),
    ]
