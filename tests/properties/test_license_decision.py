"""What holds for every set of claims, whatever the licenses: see DESIGN 4.3."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from catalog import decide, may_change_weights, may_charge
from catalog.terms import all_terms, normalize
from catalog.values import Claim, Model, Resolution, Signer, Term, Use, Waiver
from store.ids import ClaimId, ResolutionId, WaiverId
from tests.builders.values import a_model

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LICENSES = (*all_terms(), "LicenseRef-Never-Heard-Of")
TOKENS = tuple(token for terms in all_terms().values() if (token := terms.acceptance_token))

uses = st.sampled_from(Use)
licenses = st.sampled_from(LICENSES)
accepted = st.frozensets(st.sampled_from(TOKENS))


@st.composite
def a_claim(draw: st.DrawFn, resolved: bool | None = None) -> Claim:
    return Claim(
        id=ClaimId(draw(st.uuids())),
        license=draw(licenses),
        source=draw(st.sampled_from(("card", "page", "registry"))),
        evidence="https://example.org",
        claimed_on=date(2026, 11, 1),
        resolved=draw(st.booleans()) if resolved is None else resolved,
    )


resolutions = st.none() | st.builds(
    Resolution,
    id=st.just(ResolutionId(UUID(int=1))),
    license=licenses,
    reason=st.just("read"),
    evidence=st.just("letter"),
    decided_by=st.just("ops"),
    decided_at=st.just(NOW - timedelta(days=1)),
)

waivers = st.builds(
    Waiver,
    id=st.just(WaiverId(UUID(int=2))),
    term=st.sampled_from(Term),
    signed_by=st.just("someone"),
    evidence=st.just("letter"),
    signed_at=st.sampled_from((NOW - timedelta(days=1), NOW, NOW + timedelta(days=1))),
    signer=st.sampled_from(Signer),
    expires_at=st.sampled_from((None, NOW, NOW + timedelta(days=2))),
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    return a_model(
        claims=tuple(draw(st.lists(a_claim(), max_size=4))),
        waivers=tuple(draw(st.lists(waivers, max_size=3))),
        resolution=draw(resolutions),
    )


def permissions(model: Model, tokens: frozenset[str] = frozenset()) -> tuple[bool, ...]:
    return (
        *(decide(model, use, tokens, NOW).allowed for use in Use),
        may_charge(model, NOW).allowed,
        may_change_weights(model, NOW).allowed,
    )


def no_more_than(after: tuple[bool, ...], before: tuple[bool, ...]) -> bool:
    return all(then or not now for now, then in zip(after, before, strict=True))


# A model without any license permits nothing; with its first claim it may permit something.
licensed = models().filter(lambda model: bool(model.claims or model.resolution))


@given(licensed, a_claim(resolved=False), accepted)
def test_one_more_claim_never_allows_more(model: Model, claim: Claim, tokens: frozenset[str]) -> None:
    more = msgspec.structs.replace(model, claims=(*model.claims, claim))
    assert no_more_than(permissions(more, tokens), permissions(model, tokens))


@given(models(), st.randoms(), accepted)
def test_the_order_of_claims_and_waivers_does_not_matter(model: Model, random: object, tokens: frozenset[str]) -> None:
    claims, lifted = list(model.claims), list(model.waivers)
    random.shuffle(claims)  # type: ignore[attr-defined]
    random.shuffle(lifted)  # type: ignore[attr-defined]
    shuffled = msgspec.structs.replace(model, claims=tuple(claims), waivers=tuple(lifted))
    assert permissions(shuffled, tokens) == permissions(model, tokens)


@given(models(), resolutions.filter(lambda ruling: ruling is not None), accepted)
def test_a_resolution_of_every_claim_makes_its_license_the_only_one(
    model: Model, ruling: Resolution, tokens: frozenset[str]
) -> None:
    settled = tuple(msgspec.structs.replace(claim, resolved=True) for claim in model.claims)
    resolved = msgspec.structs.replace(model, claims=settled, resolution=ruling)
    alone = msgspec.structs.replace(model, claims=(), resolution=ruling)
    assert permissions(resolved, tokens) == permissions(alone, tokens)
    assert not decide(resolved, Use.RESEARCH, tokens, NOW).conflict


@given(models(), waivers, accepted)
def test_one_more_waiver_never_allows_less(model: Model, waiver: Waiver, tokens: frozenset[str]) -> None:
    waived = msgspec.structs.replace(model, waivers=(*model.waivers, waiver))
    assert no_more_than(permissions(model, tokens), permissions(waived, tokens))


@given(models(), waivers, accepted)
def test_a_waiver_that_is_not_in_force_changes_nothing(model: Model, waiver: Waiver, tokens: frozenset[str]) -> None:
    for outside in (
        msgspec.structs.replace(waiver, signed_at=NOW + timedelta(seconds=1), expires_at=None),
        msgspec.structs.replace(waiver, signed_at=NOW - timedelta(days=1), expires_at=NOW),
    ):
        waived = msgspec.structs.replace(model, waivers=(*model.waivers, outside))
        assert permissions(waived, tokens) == permissions(model, tokens)


@given(models(), uses, accepted, accepted)
def test_accepting_more_texts_never_allows_less(
    model: Model, use: Use, tokens: frozenset[str], more: frozenset[str]
) -> None:
    assert decide(model, use, tokens | more, NOW).allowed or not decide(model, use, tokens, NOW).allowed


@given(models(), uses, accepted)
def test_every_no_names_its_term_and_what_lifts_it(model: Model, use: Use, tokens: frozenset[str]) -> None:
    for decision in (decide(model, use, tokens, NOW), may_charge(model, NOW), may_change_weights(model, NOW)):
        assert decision.reasons
        assert decision.allowed == (decision.term is None)
        assert decision.allowed or decision.lifted_by
        assert decision.license
        if decision.attribution is not None:
            assert decision.attribution.isascii()
            assert decision.attribution.isprintable()


@given(models(), accepted)
def test_an_unknown_license_permits_nothing_not_even_by_waiver(model: Model, tokens: frozenset[str]) -> None:
    unknown = Claim(ClaimId(UUID(int=3)), "LicenseRef-Never-Heard-Of", "page", "https://example.org", date(2026, 1, 1))
    spoiled = msgspec.structs.replace(model, claims=(*model.claims, unknown))
    assert permissions(spoiled, tokens) == (False,) * 5


@given(licenses, st.sampled_from((str.lower, str.upper, str.title)), st.sampled_from(("", " ", "\n")))
def test_a_license_is_known_by_any_spelling_of_its_id(license_id: str, spell: object, space: str) -> None:
    if license_id in all_terms():
        assert normalize(space + spell(license_id) + space) == license_id  # type: ignore[operator]
