"""A key's form: a double click takes the whole of it, and its digest is of the whole."""

import string

from router.identity.keys import digest_of, new_key


def test_a_key_is_taken_whole_by_a_double_click_and_has_190_random_bits() -> None:
    brand, kind, handle, secret, checksum = new_key().text.split("_")
    assert (brand, kind, len(handle), len(secret), len(checksum)) == ("gr", "live", 8, 32, 6)
    assert set(handle + secret + checksum) <= set(string.ascii_letters + string.digits)
    assert len({new_key().text for _ in range(1_000)}) == 1_000
    assert new_key(is_test=True).text.startswith("gr_test_")


def test_keys_with_a_common_beginning_are_two_keys() -> None:
    one, two = new_key(handle="aaaaaaaa"), new_key(handle="aaaaaaaa")
    assert digest_of(one.text) != digest_of(two.text)
