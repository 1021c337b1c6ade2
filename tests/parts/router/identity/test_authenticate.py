"""A typo is told from an unknown key without asking anyone; an index that is cut off never says "no"."""

import random
import string
from datetime import UTC, datetime, timedelta
from typing import Unpack

import pytest
from typing_extensions import override

from router.errors import KeyExpired, KeyMissing, KeyPaused, KeyUnknown, StoreUnavailable
from router.identity.authenticate import FRESH, TRUST, KeyIndex, authenticate
from router.identity.keys import NewKey, is_well_formed, new_key
from router.values import Key
from tests.builders.values import KeyFields, a_key

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def an_index(*keys: tuple[NewKey, Key], fresh_at: datetime = NOW) -> KeyIndex:
    index = KeyIndex()
    for fresh, key in keys:
        index.put(key.id, {fresh.digest: key})
    index.mark_fresh(fresh_at)
    return index


def an_issued_key(**fields: Unpack[KeyFields]) -> tuple[NewKey, Key]:
    return new_key(), a_key(**fields)


class NoLookUps(KeyIndex):
    """Fails the test where a typo is looked up as if it could exist somewhere."""

    @override
    def is_fresh(self, now: datetime) -> bool:
        raise AssertionError("the answer to a typo does not depend on what is known")


def test_ten_thousand_typos_never_pass_the_checksum_and_are_never_looked_up() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    index = NoLookUps()
    for _ in range(10_000):
        text = new_key().text
        at = rng.randrange(len(text))
        if rng.random() < 0.2 and at + 1 < len(text) and text[at] != text[at + 1]:
            typo = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        else:
            other = rng.choice([c for c in string.ascii_letters + string.digits + "_-" if c != text[at]])
            typo = text[:at] + other + text[at + 1 :]
        assert not is_well_formed(typo), f"seed {seed}: {typo}"
        with pytest.raises(KeyUnknown):
            authenticate(f"Bearer {typo}", index, NOW)


def test_a_known_key_is_its_account() -> None:
    fresh, key = an_issued_key()
    index = an_index((fresh, key))
    assert authenticate(f"Bearer {fresh.text}", index, NOW).key is key
    assert authenticate(f"bearer {fresh.text}", index, NOW).key is key


@pytest.mark.parametrize("header", [None, "", "Bearer ", "Basic Z3I6", "gr_live_", "Bearer"])
def test_no_key_is_told_as_openai_tells_it(header: str | None) -> None:
    with pytest.raises(KeyMissing, match=r"^You didn't provide an API key"):
        authenticate(header, an_index(), NOW)


def test_nothing_but_the_whole_key_opens_the_door() -> None:
    fresh, key = an_issued_key()
    index = an_index((fresh, key))
    text = fresh.text
    for wrong in (
        fresh.digest.hex(),
        fresh.digest.decode("latin-1"),
        text[:-1],
        text[:17],
        text.upper(),
        f" {text}",
        f"{text} ",
        f"{text}\0",
        f"Bearer {text}",
        f"{text},{text}",
        "\udcff" * 60,
        "'; DROP TABLE keys; --",
    ):
        with pytest.raises(KeyUnknown, match=r"^Incorrect API key provided: "):
            authenticate(f"Bearer {wrong}", index, NOW)


def test_an_error_shows_little_of_a_key_and_less_of_another_services() -> None:
    text = new_key().text
    with pytest.raises(KeyUnknown) as ours:
        authenticate(f"Bearer {text}", an_index(), NOW)
    assert f"provided: {text[:12]}…{text[-4:]}." in ours.value.message
    assert text[12:-4] not in ours.value.message
    with pytest.raises(KeyUnknown) as theirs:
        authenticate("Bearer sk-proj-abcdefghijklmnopqrstuvwxyz", an_index(), NOW)
    assert "abcdef" not in theirs.value.message
    with pytest.raises(KeyUnknown) as short:
        authenticate("Bearer hunter2\r\n", an_index(), NOW)
    assert "hunter" not in short.value.message


def test_an_expired_and_a_paused_key_say_so() -> None:
    expired, paused = an_issued_key(expires_at=NOW), an_issued_key(paused=True)
    index = an_index(expired, paused)
    with pytest.raises(KeyExpired, match="expired at 2026-11-24T12:00:00Z"):
        authenticate(f"Bearer {expired[0].text}", index, NOW)
    assert authenticate(f"Bearer {expired[0].text}", index, NOW - timedelta(seconds=1)).key is expired[1]
    with pytest.raises(KeyPaused, match="paused"):
        authenticate(f"Bearer {paused[0].text}", index, NOW)


def test_while_changes_do_not_arrive_an_unknown_key_is_our_fault_and_never_the_keys() -> None:
    header = f"Bearer {new_key().text}"
    index = an_index()
    with pytest.raises(KeyUnknown):
        authenticate(header, index, NOW)
    with pytest.raises(StoreUnavailable):
        authenticate(header, index, NOW + FRESH + timedelta(seconds=1))
    index.mark_stale()
    with pytest.raises(StoreUnavailable):
        authenticate(header, index, NOW)


def test_a_known_key_outlives_a_cut_by_a_minute_and_no_longer() -> None:
    fresh, key = an_issued_key()
    index = an_index((fresh, key))
    index.mark_stale()
    assert authenticate(f"Bearer {fresh.text}", index, NOW + TRUST).key is key
    with pytest.raises(StoreUnavailable):
        authenticate(f"Bearer {fresh.text}", index, NOW + TRUST + timedelta(seconds=1))


def test_a_replaced_secret_leaves_nothing_behind() -> None:
    fresh, key = an_issued_key()
    index = an_index((fresh, key))
    other = new_key()
    index.put(key.id, {other.digest: key})
    assert (index.find(fresh.digest), index.find(other.digest), len(index)) == (None, key, 1)
    index.retain([])
    assert (index.find(other.digest), len(index)) == (None, 0)
