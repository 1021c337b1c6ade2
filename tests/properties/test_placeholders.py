"""Whatever a text is, it goes out as that text, once, wherever a request's JSON has its stand-in."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.litellm.placeholders import Placeholders
from providers.outcomes import Broken

anything = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6)
looking_like_one = st.lists(
    st.sampled_from(["input-0-of-gigarouter", '"input-1-of-gigarouter"', "\\", '"', "x"]), min_size=1
)


@given(anything | looking_like_one, st.booleans())
def test_texts_come_back_where_their_stand_ins_stood(texts: list[str], nested: bool) -> None:
    placeholders = Placeholders(texts)
    names = placeholders.names
    body = {"requests": [{"content": {"parts": [{"text": name}]}} for name in names]} if nested else {"input": names}
    sent = msgspec.json.decode(placeholders.restore(json.dumps(body).encode()))
    assert ([part["content"]["parts"][0]["text"] for part in sent["requests"]] if nested else sent["input"]) == texts
    placeholders.check_all_sent()


def test_a_text_left_out_changed_or_sent_twice_is_noticed() -> None:
    for body in ('["input-0-of-gigarouter"]', '["input-0-of-gigarouter", "input-1-of-gigarouter "]', "[]"):
        placeholders = Placeholders(["a", "b"])
        placeholders.restore(body.encode())
        with pytest.raises(Broken):
            placeholders.check_all_sent()
    for body in ('["input-0-of-gigarouter", "input-0-of-gigarouter"]', '["input-2-of-gigarouter"]'):
        with pytest.raises(Broken):
            Placeholders(["a", "b"]).restore(body.encode())
