"""The body's ``provider`` object: what it may say, and what it may not."""

import pytest

from router.errors import InvalidRequest, UnknownParameter
from router.request.body import parse
from router.request.preferences import MODELS_REFUSED, parse_preferences
from router.values import NO_PREFERENCES, Preferences


def body(provider: str) -> bytes:
    return b'{"model":"m","input":"a","provider":%s}' % provider.encode()


def test_a_call_without_wishes_shares_one_value() -> None:
    assert parse(b'{"model":"m","input":"a"}').preferences is NO_PREFERENCES
    assert parse(body("null")).preferences is NO_PREFERENCES
    assert parse(body("{}")).preferences == NO_PREFERENCES
    nothing = ",".join(f'"{name}":null' for name in Preferences.__struct_fields__)
    assert parse(body("{" + nothing + "}")).preferences == NO_PREFERENCES


def test_every_preference_is_read() -> None:
    wanted = parse(
        body(
            '{"order":["A","b"],"only":["a","b","c"],"ignore":["d"],"sort":"latency","max_price":"0.02",'
            '"allow_fallbacks":false,"data_collection":"deny","zero_retention":true,"quantizations":["bf16"],'
            '"regions":["eu"],"space":"m@1/mean","hedge":true}'
        )
    ).preferences
    assert wanted == Preferences(
        order=("a", "b"),
        only=("a", "b", "c"),
        ignore=("d",),
        sort="latency",
        max_price=20_000_000,
        allow_fallbacks=False,
        data_collection="deny",
        zero_retention=True,
        quantizations=("bf16",),
        regions=("eu",),
        space="m@1/mean",
        hedge=True,
    )


@pytest.mark.parametrize(
    ("literal", "nano"),
    [
        ('"0.02"', 20_000_000),
        ("0.02", 20_000_000),
        ("2e-2", 20_000_000),
        ("0", 0),
        ('{"prompt":"0.02"}', 20_000_000),
        ('{"prompt":0.02}', 20_000_000),
        # What a client computed as a double: read as it stands, and a limit of whole nano-dollars is its floor.
        ("0.30000000000000004", 300_000_000),
        ("1e-05", 10_000),
        ("1e30", 2**63 - 1),
    ],
)
def test_a_price_limit_is_read_from_its_text(literal: str, nano: int) -> None:
    assert parse_preferences(b'{"max_price":%s}' % literal.encode()).max_price == nano


@pytest.mark.parametrize(
    ("provider", "param"),
    [
        ("[]", "provider"),
        ('"fast"', "provider"),
        ('{"sort":"exacto"}', "provider.sort"),
        ('{"order":"a"}', "provider.order"),
        ('{"order":[1]}', "provider.order"),
        ('{"order":["Deep Infra"]}', "provider.order"),
        ('{"only":[]}', "provider.only"),
        ('{"regions":[""]}', "provider.regions"),
        ('{"allow_fallbacks":"no"}', "provider.allow_fallbacks"),
        ('{"data_collection":"never"}', "provider.data_collection"),
        ('{"zero_retention":1}', "provider.zero_retention"),
        ('{"max_price":-1}', "provider.max_price"),
        ('{"max_price":"-1"}', "provider.max_price"),
        ('{"max_price":"1,5"}', "provider.max_price"),
        ('{"max_price":true}', "provider.max_price"),
        ('{"max_price":{}}', "provider.max_price"),
        ('{"max_price":"' + "1" * 41 + '"}', "provider.max_price"),
        ('{"max_price":1e999}', "provider.max_price"),
        ('{"ignore":[' + ",".join(['"a"'] * 65) + "]}", "provider.ignore"),
        ('{"ignore":["' + "a" * 64 + '"]}', "provider.ignore"),
        ('{"space":""}', "provider.space"),
    ],
)
def test_what_is_not_a_preference_is_refused_by_its_name(provider: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(body(provider))
    assert refused.value.param == param
    assert not isinstance(refused.value, UnknownParameter)


@pytest.mark.parametrize(
    ("provider", "param"),
    [
        ('{"zdr":true}', "provider.zdr"),
        ('{"sort":"price","Order":[]}', "provider.Order"),
        ('{"max_price":{"prompt":1,"completion":2}}', "provider.max_price.completion"),
    ],
)
def test_an_unknown_preference_is_refused(provider: str, param: str) -> None:
    with pytest.raises(UnknownParameter) as refused:
        parse(body(provider))
    assert refused.value.param == param


def test_a_list_at_its_bounds_is_taken_and_a_huge_object_is_not_looked_at() -> None:
    names = ",".join('"' + f"{number:063d}" + '"' for number in range(64))
    assert len(parse_preferences(('{"ignore":[' + names + "]}").encode()).ignore) == 64
    with pytest.raises(InvalidRequest, match="larger than"):
        parse_preferences(b'{"ignore":[' + b'"a",' * 100_000 + b'"a"]}')


def test_a_list_of_models_is_refused_because_spaces_cannot_be_mixed() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(b'{"model":"m","input":"a","models":["m","n"]}')
    assert (refused.value.message, refused.value.param) == (MODELS_REFUSED, "models")
    assert "vector spaces" in refused.value.message
    assert parse(b'{"model":"m","input":"a","models":null}').model == "m"
