from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, StatementError

from catalog import LicenseUnknown, Model, ModelUnknown, Signer, Term, Use, decide, may_change_weights, may_charge
from catalog.licenses import accept, accepted_tokens, record_claim, resolve, revoke_waiver, sign_waiver
from catalog.models import get
from router.errors import LicenseRestricted
from router.request.model import permit
from store.ids import AccountId, ModelId, new_id
from store.postgres import Database
from tests.builders.values import a_key

F2LLM_4B = ModelId("codefuse-ai/F2LLM-v2-4B")
F2LLM_80M = ModelId("codefuse-ai/F2LLM-v2-80M")
JINA_V4 = ModelId("jinaai/jina-embeddings-v4")

pytestmark = pytest.mark.anyio


async def the_model(database: Database, model_id: ModelId = F2LLM_4B) -> Model:
    async with database.transaction() as db:
        return await get(db, model_id)


async def test_the_4b_and_8b_show_what_their_sources_disagree_about(seeded: Database, now: datetime) -> None:
    for size in ("4B", "8B"):
        model = await the_model(seeded, ModelId(f"codefuse-ai/F2LLM-v2-{size}"))
        assert {claim.license for claim in model.claims} == {"Apache-2.0", "CC-BY-NC-ND-4.0"}
        assert all(claim.source and claim.evidence.startswith("https://") for claim in model.claims)
        decision = decide(model, Use.RESEARCH, frozenset(), now)
        assert decision.allowed
        assert decision.conflict
        assert decision.license == "Apache-2.0 AND CC-BY-NC-ND-4.0"
        assert "gigarouter catalogue page, specifications says CC-BY-NC-ND-4.0 (2026-11-24)" in decision.reasons[1]


async def test_a_commercial_key_is_refused_on_the_4b_and_told_what_lifts_it(seeded: Database, now: datetime) -> None:
    model = await the_model(seeded)
    with pytest.raises(LicenseRestricted) as refused:
        permit(model, a_key(), now)
    assert refused.value.code == "license_restricted"
    assert "CC-BY-NC-ND-4.0 does not permit commercial use" in refused.value.message
    assert "waiver of `commercial_use`" in refused.value.message
    assert "operator's resolution" in refused.value.message
    assert refused.value.details["term"] == "commercial_use"
    assert permit(model, a_key(use=Use.NON_COMMERCIAL), now).allowed


async def test_charging_and_quantizing_the_4b_is_refused_too(seeded: Database, now: datetime) -> None:
    model = await the_model(seeded)
    assert may_charge(model, now).term == Term.CHARGING
    assert may_change_weights(model, now).term == Term.DERIVATIVES


async def test_a_resolution_with_evidence_opens_the_model(seeded: Database, now: datetime) -> None:
    async with seeded.transaction() as db:
        await resolve(
            db,
            F2LLM_4B,
            license="apache-2.0",
            reason="The authors say",
            evidence="letter",
            decided_by="ops",
            now=now,
        )
    model = await the_model(seeded)
    assert all(claim.resolved for claim in model.claims)
    decision = permit(model, a_key(), now)
    assert (decision.license, decision.conflict) == ("Apache-2.0", False)
    assert (
        decision.attribution == f"{F2LLM_4B} by codefuse-ai, Apache-2.0 <https://www.apache.org/licenses/LICENSE-2.0>"
    )
    assert may_charge(model, now).allowed
    assert may_change_weights(model, now).allowed


async def test_a_claim_after_the_resolution_binds_again_until_the_next_one(seeded: Database, now: datetime) -> None:
    async with seeded.transaction() as db:
        await resolve(db, F2LLM_80M, license="MIT", reason="r", evidence="e", decided_by="ops", now=now)
        recorded = await record_claim(
            db,
            F2LLM_80M,
            license="CC BY-NC 4.0",
            source="A letter",
            evidence="letter",
            claimed_on=date(2026, 11, 24),
            recorded_by="ops",
        )
    assert recorded is not None
    reopened = decide(await the_model(seeded, F2LLM_80M), Use.COMMERCIAL, frozenset(), now)
    assert (reopened.allowed, reopened.license) == (False, "CC-BY-NC-4.0 AND MIT")
    assert "it was resolved to MIT on 2026-11-24" in reopened.reasons[1]
    async with seeded.transaction() as db:
        later = now + timedelta(days=1)
        await resolve(db, F2LLM_80M, license="Apache-2.0", reason="r", evidence="e", decided_by="ops", now=later)
    assert decide(await the_model(seeded, F2LLM_80M), Use.COMMERCIAL, frozenset(), now).allowed


async def test_the_same_claim_is_recorded_once(seeded: Database) -> None:
    async with seeded.transaction() as db:
        again = await record_claim(
            db,
            F2LLM_80M,
            license="apache-2.0",
            source="MTEB model registry",
            evidence="elsewhere",
            claimed_on=date(2026, 11, 25),
            recorded_by="ops",
        )
    assert again is None


async def test_a_waiver_lifts_its_term_from_its_signature_to_its_end(seeded: Database, now: datetime) -> None:
    async with seeded.transaction() as db:
        charging = await sign_waiver(
            db, F2LLM_4B, term=Term.CHARGING, signer=Signer.OPERATOR, signed_by="CEO", evidence="memo 7", now=now
        )
        await sign_waiver(
            db,
            F2LLM_4B,
            term=Term.COMMERCIAL_USE,
            signer=Signer.LICENSOR,
            signed_by="CodeFuse",
            evidence="contract",
            now=now,
            expires_at=now + timedelta(days=30),
        )
    model = await the_model(seeded)
    assert not decide(model, Use.COMMERCIAL, frozenset(), now - timedelta(seconds=1)).allowed
    assert decide(model, Use.COMMERCIAL, frozenset(), now).allowed
    after = now + timedelta(days=30)
    assert not decide(model, Use.COMMERCIAL, frozenset(), after).allowed
    assert may_charge(model, after).allowed
    assert not may_change_weights(model, now).allowed
    async with seeded.transaction() as db:
        assert await revoke_waiver(db, charging, revoked_by="CEO", now=after)
        assert not await revoke_waiver(db, charging, revoked_by="CEO", now=after)
    assert not may_charge(await the_model(seeded), after).allowed


async def test_a_license_that_asks_for_acceptance_waits_for_the_accounts_yes(seeded: Database, now: datetime) -> None:
    account = AccountId(new_id())
    async with seeded.transaction() as db:
        await resolve(db, JINA_V4, license="qwen-research", reason="r", evidence="e", decided_by="ops", now=now)
    model = await the_model(seeded, JINA_V4)
    refused = decide(model, Use.RESEARCH, frozenset(), now)
    assert refused.term == Term.ACCEPTANCE
    assert "Qwen Research License Agreement" in refused.lifted_by
    async with seeded.transaction() as db:
        token = await accept(db, account, "LicenseRef-Qwen-Research", accepted_by="owner@example.org", now=now)
        await accept(db, account, "LicenseRef-Qwen-Research", accepted_by="owner@example.org", now=now)
        assert await accepted_tokens(db) == {account: frozenset({token})}
        assert await accepted_tokens(db, AccountId(new_id())) == {}
    assert decide(model, Use.RESEARCH, frozenset({token}), now).allowed
    assert not decide(model, Use.NON_COMMERCIAL, frozenset({token}), now).allowed


async def test_what_is_not_there_is_refused_by_name(seeded: Database, now: datetime) -> None:
    with pytest.raises(LicenseUnknown, match=r"Mystery-1\.0"):
        async with seeded.transaction() as db:
            await resolve(db, F2LLM_4B, license="Mystery-1.0", reason="r", evidence="e", decided_by="ops", now=now)
    with pytest.raises(LicenseUnknown):
        async with seeded.transaction() as db:
            await accept(db, AccountId(new_id()), "MIT", accepted_by="x", now=now)
    with pytest.raises(ModelUnknown):
        async with seeded.transaction() as db:
            await resolve(db, ModelId("no/such"), license="MIT", reason="r", evidence="e", decided_by="ops", now=now)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE license_claims SET license = 'MIT'",
        "DELETE FROM license_claims",
        "UPDATE license_resolutions SET license = 'MIT'",
        "DELETE FROM license_acceptances",
        "TRUNCATE model_events",
        "DELETE FROM license_waivers",
        "UPDATE license_waivers SET term = 'charging'",
        "DELETE FROM models",
    ],
)
async def test_the_record_cannot_be_rewritten(seeded: Database, now: datetime, statement: str) -> None:
    async with seeded.transaction() as db:
        await sign_waiver(
            db, F2LLM_4B, term=Term.DERIVATIVES, signer=Signer.OPERATOR, signed_by="CEO", evidence="memo", now=now
        )
    owner = Database(seeded.url, as_owner=True)
    for who, says in ((seeded, "permission denied"), (owner, r"append-only|revoked once and not changed")):
        with pytest.raises(DBAPIError, match=says):
            async with who.transaction() as db:
                await db.execute(text(statement))
    await owner.close()


async def test_an_instant_without_a_zone_is_refused_before_it_is_written(seeded: Database, now: datetime) -> None:
    with pytest.raises(StatementError, match="has no time zone"):
        async with seeded.transaction() as db:
            await sign_waiver(
                db,
                F2LLM_4B,
                term=Term.CHARGING,
                signer=Signer.OPERATOR,
                signed_by="CEO",
                evidence="memo",
                now=now.replace(tzinfo=None),
            )
