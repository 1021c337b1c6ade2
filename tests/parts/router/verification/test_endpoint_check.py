"""A test by one real call never reaches an address that must not be reached, whatever its name says."""

import pytest

from providers.wire import networks
from router.registry.indexes import ProviderRecord
from router.verification.check_report import CheckReport
from router.verification.provider_check import call_provider
from store.ids import ProviderId, new_id
from tests.builders.providers import a_provider
from tests.harness.fake_upstream import Reply, Upstream

pytestmark = pytest.mark.anyio


async def tried(upstream: Upstream, scheme: str, *allowed: str) -> CheckReport:
    url = f"{scheme}://localhost:{upstream.port}/v1"
    async with a_provider("openai", url, credential="sk-x", allowed=networks([*allowed])) as provider:
        return await call_provider(ProviderRecord(ProviderId(new_id()), "inside", "openai", url), provider, "m")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_leads_inside_is_refused_before_a_byte_is_sent(scheme: str) -> None:
    async with Upstream() as upstream:
        report = await tried(upstream, scheme)
        assert upstream.connections == 0
    assert not report.passed
    (failed,) = [step for step in report.steps if step.outcome == "failed"]
    assert failed.name == "guard"
    assert "must not be reached" in failed.detail
    assert "127.0.0.1" not in str(report)


async def test_what_answered_is_shown_in_its_own_field_and_nowhere_else() -> None:
    async with Upstream() as upstream:
        upstream.always = Reply(status=500, body=b'{"error": {"message": "disk full, key sk-x", "code": "down"}}')
        report = await tried(upstream, "http", "127.0.0.0/8", "::1/128")
        # Base64 may be what a server fails at, so numbers are tried as well.
        assert len(upstream.calls) == 2
    assert report.upstream is not None
    assert report.upstream.words == '{"error": {"message": "disk full, key [secret]", "code": "down"}}'
    assert report.upstream.url == f"http://localhost:{upstream.port}/v1/embeddings"
    assert "disk" not in report.reason + report.advice + str(report.steps)
    assert [step.name for step in report.steps if step.outcome == "failed"] == ["embed"]
    assert "status 500" in report.reason
