"""Reads the form of a key as the body of its operations, and a key as its form. What fields may hold, these say."""

from typing import Any

import msgspec

from web.customer.key_networks import network_lines, network_names
from web.customer.key_rows import Key
from web.forms import Form

PERIODS = ("total", "month", "day")
USES = (
    ("commercial", "commercial: for money or in a business"),
    ("non_commercial", "non-commercial"),
    ("research", "research"),
)
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrency")


class KeyForm(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a key's form. ``once`` is the Idempotency-Key, ``version`` the one that was read.

    ``expires_at`` is when the key ends as it was read: its day alone, sent again, would be an earlier time of that day.
    ``networks_seen``: the networks of which the reader was told that they exclude them.
    """

    name: str = ""
    use: str = "commercial"
    models: str = ""
    cap_total: str = ""
    cap_month: str = ""
    cap_day: str = ""
    expires_on: str = ""
    expires_at: str = ""
    networks: str = ""
    networks_seen: str = ""
    allow_token_ids: str = ""
    is_test: str = ""
    requests_per_minute: str = ""
    tokens_per_minute: str = ""
    concurrency: str = ""
    once: str = ""
    version: str = ""


def body_of(form: KeyForm) -> dict[str, Any]:
    """The body of an operation that makes or edits a key: all that the form has."""
    body: dict[str, Any] = {
        "name": form.name,
        "use": form.use,
        "models": form.models.replace(",", " ").split(),
        "networks": network_lines(form.networks),
        "allow_token_ids": form.allow_token_ids == "1",  # noqa: S105 - a box
        "caps": [{"amount_usd": amount, "period": period} for period, amount in _caps(form)],
        "expires_at": _expiry(form),
    }
    # A number that is none goes as it is: the operation says what is wrong with it.
    typed = {name: getattr(form, name).strip() for name in LIMITS}
    body |= {name: int(text) if text.isdecimal() and text.isascii() else text for name, text in typed.items() if text}
    return body


def field_names(form: KeyForm) -> dict[str, str]:
    """The form's names of what an operation refuses, by the operation's."""
    names = {"expires_at": "expires_on"}
    for place, (period, _) in enumerate(_caps(form)):
        names |= {f"caps[{place}].amount_usd": f"cap_{period}", f"caps[{place}]": f"cap_{period}"}
    names |= network_names(network_lines(form.networks))
    names |= {f"models[{place}]": "models" for place in range(len(form.models.split()))}
    return names


def form_of_key(key: Key) -> Form:
    """The form with what a key has."""
    caps = {f"cap_{cap.period}": cap.amount_usd for cap in key.caps}
    values = {
        "name": key.name,
        "use": key.use,
        "models": "\n".join(key.models),
        "networks": "\n".join(key.networks),
        "expires_on": f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "",
        "allow_token_ids": "1" if key.allow_token_ids else "",
        **{name: str(getattr(key, name)) for name in LIMITS},
    }
    return Form(values | caps)


def _expiry(form: KeyForm) -> str | None:
    if form.expires_on and form.expires_at.startswith(form.expires_on):
        return form.expires_at
    return f"{form.expires_on}T00:00:00Z" if form.expires_on else None


def _caps(form: KeyForm) -> list[tuple[str, str]]:
    amounts = ((period, getattr(form, f"cap_{period}").strip()) for period in PERIODS)
    return [(period, amount) for period, amount in amounts if amount]
