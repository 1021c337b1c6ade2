"""A catalogue file is read strictly: every fault at once, with its line and path, and amounts from their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import from_usd
from providers.protocol import ProviderKind
from router.manifest import schema
from router.manifest.current_state import defaults
from router.manifest.values import Fault, FileRefused, Kind
from router.registry.specs import EndpointSpec, ProviderSpec

PROVIDER = """\
providers:
  - name: alpha
    kind: openai
    base_url: https://api.alpha.example/v1
"""
PRICE = """\
prices:
  - model: acme/embed-1
    usd_per_mtok: {amount}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(FileRefused) as refused:
        schema.read(text)
    return [str(fault) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("0.008", "0.008"),
        ('"0.008"', "0.008"),
        ("0.10", "0.10"),
        ("0.000000001", "0.000000001"),
        ("0.1000000000000000055", None),
        ("8e-3", None),
        ("0x10", None),
        ("1_000", None),
        ("12:30", None),
        (".5", None),
        ("-1", None),
        ("9001", None),
        ("null", None),
        ("[1]", None),
        ("yes", None),
    ],
)
def test_an_amount_is_what_its_text_says_or_is_refused(written: str, means: str | None) -> None:
    text = PRICE.format(amount=written)
    if means is None:
        (fault,) = faults(text)
        assert fault.startswith("line 3, prices[0].usd_per_mtok: ")
    else:
        assert schema.read(text)[0].fields["usd_per_mtok"] == means


@given(st.decimals(0, 9000, places=9))
def test_every_amount_of_nine_decimals_is_read_exactly(amount: object) -> None:
    (price,) = schema.read(PRICE.format(amount=f"{amount:f}"))
    assert from_usd(str(price.fields["usd_per_mtok"])) == int(f"{amount:f}".replace(".", ""))


def test_all_faults_are_told_at_once_with_line_and_path() -> None:
    told = faults(
        PROVIDER
        + """\
  - name: beta
    kind: opnai
  - name: gamma
    kind: openai
    regions: [eu, eu]
  - name: delta
    kind: openai
    region: eu
prices:
  - model: acme/embed-1
    usd_per_mtok: 1
    batch_usd_per_mtok: 2
  - usd_per_mtok: 1
  - model: acme/embed-1
    usd_per_mtok: 1
    from: yesterday
vouchers: []
"""
    )
    assert [fault.partition(": ")[0] for fault in told] == [
        "line 6, providers[1].kind",
        "line 9, providers[2].regions",
        "line 12, providers[3].region",
        "line 16, prices[0].batch_usd_per_mtok",
        "line 17, prices[1]",
        "line 20, prices[2].from",
        "line 21, vouchers",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("providers: [{name: a, name: b, kind: openai}]", "It stands here twice."),
        ("providers: []\nproviders: []", "It stands here twice."),
        ("a: &x 1\nb: *x", "Anchors and aliases are not taken"),
        ("providers: !!python/object:os.system []", "Tags such as"),
        ("providers: {a: 1}", "A list belongs here"),
        ("providers: [1]", "Names with values belong here"),
        ("providers: [", "This is no YAML"),
        ("providers: []\n---\nmodels: []", "This is no YAML"),
        ("- 1", "Names with values belong here"),
        ("[" * 5000, "This is no YAML"),
        ("providers: [{name: a, kind: openai}, {name: a, kind: openai}]", "stands at providers[0] already"),
        (
            "prices: [{model: a/b, usd_per_mtok: 1}, {model: a/b, usd_per_mtok: 1, from: 2030-01-01}]",
            "one price without",
        ),
        ("resolutions: [{model: a/b, license: Mine-1, reason: r, evidence: e}]", "The terms of Mine-1 are not known"),
        ("providers: [{name: a, kind: litellm, options: {n: 1.5}}]", "write it in quotes"),
        ("providers: [{name: a, kind: openai, options: 5}]", "Names with values belong here"),
        ("providers: [{name: a, kind: openai, enabled: yes}]", "neither true nor false"),
        ("providers: [{name: a, kind: openai, credential: sk-1}]", "There is no such field"),
    ],
)
def test_what_a_reader_could_misread_is_refused(text: str, says: str) -> None:
    assert says in " ".join(faults(text))


def test_a_plain_word_is_text_where_text_stands() -> None:
    (provider,) = schema.read(
        "providers: [{name: no, kind: openai, regions: [no, on], options: {always: {a: yes, b: true, c: 7}}}]"
    )
    assert provider.subject == "no"
    assert provider.fields["regions"] == ["no", "on"]
    assert provider.fields["options"] == {"always": {"a": "yes", "b": True, "c": 7}}


@given(st.text() | st.text("[]{}:-,&*!|>'\"\n #%@`?~ab1.", max_size=60))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    told: tuple[Fault, ...] = ()
    try:
        schema.read(text)
    except FileRefused as refused:
        told = refused.faults
    assert all(fault.line >= 1 and fault.message for fault in told)


def test_the_file_knows_every_field_that_a_command_can_set() -> None:
    endpoint = {*EndpointSpec.__struct_fields__, "cost_usd_per_mtok", "model", "provider", "space"} - {
        "cost_nano_per_mtok"
    }
    assert set(schema.FIELDS[Kind.ENDPOINT]) == endpoint
    assert set(schema.FIELDS[Kind.PROVIDER]) == {*ProviderSpec.__struct_fields__, "name", "kind"}
    required = {"id", "status", "owned_by", "summary", "dimensions", "max_input_tokens", "normalized"}
    assert set(schema.FIELDS[Kind.MODEL]) == {*defaults()[Kind.MODEL], *required}
    kinds = {kind for kind in ProviderKind if schema.read(f"providers: [{{name: a, kind: {kind}}}]")}
    assert kinds == set(ProviderKind)
