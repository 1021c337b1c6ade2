"""A reader is told of a license what calls are told: who claims what, what holds, and what would lift it."""

from datetime import UTC, date, datetime

import pytest

from catalog.permit import decide
from catalog.seed import shipped
from catalog.terms import normalize
from catalog.values import Claim, Model, Resolution, Signer, Status, Term, Use, Waiver
from catalog.verdict import Chip, KeyUse, chip_of, verdict_of, verdicts_of_keys
from store.ids import ClaimId, ResolutionId, WaiverId, new_id

NOW = datetime(2026, 11, 28, tzinfo=UTC)
THE_4B = next(model for model in shipped() if model.id == "codefuse-ai/F2LLM-v2-4B")


def model(*licenses: str, **more: object) -> Model:
    claims = tuple(Claim(ClaimId(new_id()), normalize(one), f"source {one}", "link", NOW.date()) for one in licenses)
    return the_4b(claims=claims, **more)


def the_4b(**more: object) -> Model:
    facts = {name: getattr(THE_4B, name) for name in ("id", "owned_by", "summary", "estimate")}
    facts |= {"published_on": None, "dimensions": 8, "max_input_tokens": 8, "normalized": True}
    return Model(**{**facts, "status": Status.COMING_SOON, "space": "s", **more})


def the_conflict(**more: object) -> Model:
    claimed = [
        Claim(ClaimId(new_id()), normalize(one.license), one.source, one.evidence, one.claimed_on)
        for one in THE_4B.claim
    ]
    return the_4b(claims=tuple(claimed), **more)


def test_the_conflict_of_f2llm_v2_4b_is_told_whole_and_nothing_says_one_license_alone() -> None:
    told = verdict_of(the_conflict(), NOW)
    assert (told.chip, told.license) == (Chip.CONFLICT, "Apache-2.0 AND CC-BY-NC-ND-4.0")
    claimed = [(one.license, one.source.rpartition(", ")[2], one.claimed_on) for one in told.claims]
    day = date(2026, 11, 24)
    assert claimed == [
        ("Apache-2.0", "MTEB model registry", day),
        ("Apache-2.0", "side panel", day),
        ("CC-BY-NC-ND-4.0", "specifications", day),
    ]
    commercial, *others = told.uses
    assert not commercial.allowed
    assert "waiver" in commercial.lifted_by
    assert "resolution" in commercial.lifted_by
    assert all(use.allowed and use.attribution for use in others)
    assert not told.charging.allowed
    assert "no offer" in told.estimate
    assert "quantized, pruned" in told.weights.reasons[0]
    assert told.answer.startswith("No. CC-BY-NC-ND-4.0 does not permit commercial use. Sources disagree: ")
    assert told.answer.endswith("Research use and non-commercial use: yes, with attribution.")


def test_the_verdict_of_a_key_is_the_decision_that_its_calls_get() -> None:
    disputed, gemma = the_conflict(), model("Gemma")
    accepted = frozenset({"LicenseRef-Gemma@2025-03-24"})
    keys = [KeyUse("search", Use.COMMERCIAL, frozenset()), KeyUse("lab", Use.RESEARCH, accepted, "DE")]
    for one in (disputed, gemma):
        for key, told in zip(keys, verdicts_of_keys(one, keys, NOW), strict=True):
            decision = decide(one, key.use, key.accepted, NOW, key.region)
            assert (told.name, told.verdict.allowed) == (key.name, decision.allowed)
            assert told.verdict.lifted_by == decision.lifted_by
    assert [told.verdict.allowed for told in verdicts_of_keys(gemma, keys, NOW)] == [False, True]


def _resolution() -> Resolution:
    return Resolution(ResolutionId(new_id()), "Apache-2.0", "asked", "mail", "ops", NOW)


def _waiver() -> Waiver:
    return Waiver(WaiverId(new_id()), Term.COMMERCIAL_USE, "Ada", "mail", NOW, Signer.LICENSOR)


@pytest.mark.parametrize(
    ("one", "chip"),
    [
        (model("MIT"), Chip.PERMITTED),
        (model("CC BY-NC 4.0"), Chip.NON_COMMERCIAL),
        (model("CC BY-NC 4.0", waivers=(_waiver(),)), Chip.PERMITTED),
        (model("MIT", "Apache-2.0"), Chip.CONFLICT),
        (model("MIT", "Homemade-1.0"), Chip.CONFLICT),
        (model("MIT", resolution=_resolution()), Chip.CONFLICT),
        (model(resolution=_resolution()), Chip.PERMITTED),
        (model("Gemma"), Chip.ACCEPTANCE),
        (model("Homemade-1.0"), Chip.UNKNOWN),
        (model(), Chip.UNKNOWN),
    ],
)
def test_the_chip_says_in_words_what_holds_for_commercial_use(one: Model, chip: Chip) -> None:
    assert chip_of(one, NOW) is chip is verdict_of(one, NOW).chip
