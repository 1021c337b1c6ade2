"""What cannot be reached or cannot be secured has its own advice; what has none is given none."""

import pytest

from providers.outcomes import ConnectFailed, Failure, Misconfigured, TimedOut
from router.registry.indexes import ProviderRecord
from router.verification.advice import advise
from store.ids import ProviderId, new_id

RECORD = ProviderRecord(ProviderId(new_id()), "alpha", "openai", "https://api.example.com/v1")


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (ConnectFailed(step="tls", detail="tls: CERTIFICATE_VERIFY_FAILED: self-signed certificate"), "SSL_CERT_FILE"),
        (ConnectFailed(step="tls", detail="tls: CERTIFICATE_VERIFY_FAILED: certificate has expired"), "has expired"),
        (
            ConnectFailed(
                step="tls", detail="tls: CERTIFICATE_VERIFY_FAILED: Hostname mismatch, certificate is not v…"
            ),
            "another host's",
        ),
        (ConnectFailed(step="tls", detail="tls: WRONG_VERSION_NUMBER"), "no TLS at this port"),
        (ConnectFailed(step="tls", detail="tls: TLSV1_ALERT_PROTOCOL_VERSION"), "versions of TLS"),
        (TimedOut(step="connect", detail="connect: not in 3 s"), "firewalls"),
        (ConnectFailed(step="connect", detail="connect: ECONNREFUSED"), "Nothing listens at api.example.com"),
        (ConnectFailed(step="resolve", detail="name: the name does not resolve"), "DNS does not know"),
        (ConnectFailed(step="guard", refusal="it is in 10.0.0.0/8"), ""),
        (Misconfigured("no secret key"), ""),
        (TimedOut(detail="no first byte in time"), ""),
    ],
)
def test_each_way_of_not_reaching_it_has_its_advice(failure: Failure, advice: str) -> None:
    given = advise(failure, None, RECORD, "m")
    assert advice in given
    assert bool(advice) == bool(given)
