"""What speaks to the registered providers, in a process whose secret keys are behind those of the others."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
import structlog
from cryptography.fernet import Fernet

from gigarouter.provider_set import ProviderSet
from providers.outcomes import Failure, Misconfigured
from providers.protocol import Attempt
from providers.wire import Pool, networks
from router.dispatch.attempt import send_attempt
from router.dispatch.retries import AttemptRequest
from router.dispatch.state import DispatchState, prepare_dispatch
from router.registry.encryption import CredentialCipher, credential_binding
from router.registry.indexes import ProviderIndex, ProviderRecord
from router.routing.health import Health
from router.values import Lane, Trace
from store.ids import ProviderId, RequestId, new_id
from tests.builders.values import a_model, a_request, an_endpoint
from tests.harness.fake_upstream import Reply, Upstream

pytestmark = pytest.mark.anyio
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
BEFORE, AFTER = "sk-the-old-credential", "sk-the-new-credential"
BEHIND = CredentialCipher([OLD])
AHEAD = CredentialCipher([NEW, OLD])
ATTEMPT = Attempt("r", "m", texts=["x"])


def a_record(upstream: Upstream, cipher: CredentialCipher, credential: str) -> ProviderRecord:
    known = ProviderId(new_id())
    return ProviderRecord(
        known,
        "p0",
        "openai",
        upstream.base_url,
        cipher.encrypt(known, credential_binding(upstream.base_url, {}), credential),
    )


def given_anew(record: ProviderRecord, cipher: CredentialCipher, credential: str) -> ProviderRecord:
    return msgspec.structs.replace(
        record, sealed=cipher.encrypt(record.id, credential_binding(record.base_url, {}), credential)
    )


def a_set(
    record: ProviderRecord, cipher: CredentialCipher | None
) -> tuple[ProviderSet, Callable[[ProviderRecord], None]]:
    index = ProviderIndex([record])
    providers = ProviderSet(index, cipher, networks(["127.0.0.0/8"]), Pool())

    def changes(record: ProviderRecord) -> None:
        index.replace([record])
        providers.refresh()

    return providers, changes


@pytest.mark.parametrize("cipher", [BEHIND, None])
async def test_a_process_that_cannot_read_a_credential_sends_nothing_there_and_quarantines_nothing(
    cipher: CredentialCipher | None,
) -> None:
    async with Upstream() as upstream:
        record = a_record(upstream, AHEAD, AFTER)
        with structlog.testing.capture_logs() as events:
            providers, _ = a_set(record, cipher)
            health = Health()
            endpoint = an_endpoint(provider_id=record.id)
            dispatch_state = DispatchState(providers=providers, health=health, quota=None)  # type: ignore[arg-type]
            trace = Trace(began=asyncio.get_running_loop().time())
            call = prepare_dispatch(
                RequestId(new_id()), a_request("x"), a_model(), Lane.INTERACTIVE, 10, trace, dispatch_state
            )
            outcome = await send_attempt(call, AttemptRequest(endpoint, 5.0, "first", 1))
        assert isinstance(outcome, list)
        assert isinstance(outcome[0][1], Misconfigured)
        assert upstream.connections == 0
        assert not health.pending_quarantines
        assert any(event["event"] == "provider_unusable" and event["log_level"] == "error" for event in events)
        await providers.close()


async def test_a_credential_that_this_process_cannot_read_leaves_it_the_one_before() -> None:
    async with Upstream() as upstream:
        record = a_record(upstream, BEHIND, BEFORE)
        providers, changes = a_set(record, BEHIND)
        changes(given_anew(record, AHEAD, AFTER))
        changes(given_anew(record, AHEAD, AFTER))
        await providers[record.id].embed(ATTEMPT, 5.0)
        assert upstream.calls[-1].headers["authorization"] == f"Bearer {BEFORE}"
        upstream.script.append(Reply(status=401))
        with pytest.raises(Failure) as refused:
            await providers[record.id].embed(ATTEMPT, 5.0)
        assert type(refused.value) is Misconfigured  # It says nothing of the new one.
        changes(given_anew(record, BEHIND, AFTER))
        await providers[record.id].embed(ATTEMPT, 5.0)
        assert upstream.calls[-1].headers["authorization"] == f"Bearer {AFTER}"
        await providers.close()


async def test_the_credential_before_does_not_outlive_the_address_that_it_was_for() -> None:
    async with Upstream() as upstream, Upstream() as elsewhere:
        record = a_record(upstream, BEHIND, BEFORE)
        providers, changes = a_set(record, BEHIND)
        moved = msgspec.structs.replace(record, base_url=elsewhere.base_url)
        changes(given_anew(moved, AHEAD, AFTER))
        with pytest.raises(Misconfigured):
            await providers[record.id].embed(ATTEMPT, 5.0)
        assert upstream.connections == elsewhere.connections == 0
        await providers.close()
