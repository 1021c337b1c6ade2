"""Vertex AI through litellm: our own wire fetches the tokens, one for many calls; litellm sees no key of ours.

The server here checks what Google documents: https://developers.google.com/identity/protocols/oauth2/service-account
and https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
"""

import asyncio
import base64
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Literal, Unpack
from urllib.parse import parse_qs

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct
from typing_extensions import override

from providers.litellm.google_tokens import RENEW_BEFORE_S
from providers.outcomes import Broken, CredentialRefused, Failure, Throttled, TimedOut
from providers.protocol import Attempt, Provider
from tests.builders.providers import a_provider, build_provider
from tests.builders.values import AttemptFields, an_attempt
from tests.harness.fake_upstream import Received, Reply, Upstream, tokens_of, unit_vector
from tests.harness.litellm_loading import loaded

WIDTH = 8
OPTIONS = {"vendor": "vertex_ai", "vertex_location": "europe-west1"}
TEXTS = ["one text", "another, longer text", "gs://our-bucket/secret.pdf", "größer, 数据"]
MODEL = "text-embedding-005"
PREDICT = f"/v1/projects/our-project/locations/europe-west1/publishers/google/models/{MODEL}:predict"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Instance(Struct, forbid_unknown_fields=True):
    content: str
    task_type: Literal["RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"] | None = None


class Parameters(Struct, forbid_unknown_fields=True, rename="camel"):
    auto_truncate: Literal[False]
    task_type: str | None = msgspec.field(default=None, name="task_type")


class Predict(Struct, forbid_unknown_fields=True):
    instances: list[Instance]
    parameters: Parameters


class Google(Upstream):
    """Both the token endpoint and the model's. ``lives_s`` is how long its tokens are good."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.lives_s = 3599
        self.tokens = 0
        self.faults: list[str] = []
        self.token_says = Reply()

    @property
    def key_file(self) -> dict[str, str]:
        return {
            "type": "service_account",
            "project_id": "our-project",
            "private_key_id": "k1",
            "private_key": PEM,
            "client_email": "ours@our-project.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.worker_url}/token",
        }

    @property
    def predicted(self) -> list[Received]:
        return [call for call in self.calls if call.path != "/token"]

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if reply != Reply():
            return super()._bytes(received, reply)
        try:
            return super()._bytes(received, self._token(received) if received.path == "/token" else self._say(received))
        except (AssertionError, KeyError, ValueError, msgspec.MsgspecError) as fault:
            self.faults.append(f"{type(fault).__name__}: {fault}")
            return super()._bytes(received, Reply(status=400))

    def _token(self, received: Received) -> Reply:
        if self.token_says != Reply():
            return self.token_says
        assert received.headers["content-type"] == "application/x-www-form-urlencoded"
        form = parse_qs(received.body.decode(), strict_parsing=True)
        assert form.keys() == {"grant_type", "assertion"}
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        head, claims, signature = form["assertion"][0].split(".")
        KEY.public_key().verify(decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
        assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        said = json.loads(decoded(claims))
        assert said.pop("iat") <= time.time() < said.pop("exp") <= time.time() + 3600
        assert said == {
            "iss": self.key_file["client_email"],
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": self.key_file["token_uri"],
        }
        self.tokens += 1
        token = {"access_token": f"ya29.{self.tokens}", "expires_in": self.lives_s, "token_type": "Bearer"}
        return Reply(body=json.dumps(token).encode(), delay_s=0.05)

    def _say(self, received: Received) -> Reply:
        assert (received.method, received.path) == ("POST", PREDICT), received.path
        assert received.headers["authorization"] == f"Bearer ya29.{self.tokens}"
        asked = msgspec.json.decode(received.body, type=Predict)
        predictions = []
        for one in asked.instances:
            statistics: dict[str, object] = {"truncated": False, "token_count": tokens_of(one.content)}
            values = unit_vector(one.content, WIDTH)
            predictions.append({"embeddings": {"values": values, "statistics": statistics}})
        body = {"predictions": predictions, "metadata": {"billableCharacterCount": 17}}
        return Reply(body=json.dumps(body).encode())


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.fixture(scope="module", autouse=True)
def litellm() -> Iterator[None]:
    with loaded():
        yield


@contextlib.asynccontextmanager
async def vertex() -> AsyncIterator[tuple[Google, Provider]]:
    async with (
        Google() as google,
        a_provider("litellm", google.worker_url, credential=json.dumps(google.key_file), options=OPTIONS) as provider,
    ):
        yield google, provider


def a_google_attempt(**fields: Unpack[AttemptFields]) -> Attempt:
    fields.setdefault("upstream_model", MODEL)
    fields.setdefault("asks_base64", False)
    return an_attempt(*TEXTS, **fields)


def test_vectors_come_back_in_order_with_the_tokens_that_google_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Google's own library, whose HTTP client our guard cannot see, is not needed at all.
    monkeypatch.setitem(sys.modules, "google.auth", None)

    async def scenario() -> None:
        async with vertex() as (google, provider):
            vectors = await provider.embed(a_google_attempt(), 30.0)
            assert not google.faults
            assert np.array_equal(vectors.matrix, np.array([unit_vector(t, WIDTH) for t in TEXTS], dtype=np.float32))
            assert vectors.tokens == sum(map(tokens_of, TEXTS))
            await provider.embed(a_google_attempt(input_type="query"), 30.0)
            assert not google.faults
            asked = msgspec.json.decode(google.predicted[1].body, type=Predict)
            assert {one.task_type for one in asked.instances} == {"RETRIEVAL_QUERY"}
            assert "PRIVATE" not in str(google.calls)

    asyncio.run(scenario())


def test_calls_at_once_share_a_token_until_it_is_about_to_expire() -> None:
    async def scenario() -> None:
        async with vertex() as (google, provider):
            await asyncio.gather(*(provider.embed(a_google_attempt(), 30.0) for _ in range(8)))
            assert (google.tokens, len(google.predicted)) == (1, 8)
        async with vertex() as (google, provider):
            google.lives_s = int(RENEW_BEFORE_S)
            for calls in (1, 2):
                await provider.embed(a_google_attempt(), 30.0)
                assert google.tokens == calls
            assert not google.faults

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("says", "failure"),
    [
        (Reply(status=400, body=b'{"error": "invalid_grant", "error_description": "words"}'), CredentialRefused),
        (Reply(status=401), CredentialRefused),
        (Reply(status=429, headers={"retry-after": "7"}), Throttled),
        (Reply(status=503), Broken),
        (Reply(body=b"{}"), Broken),
        (Reply(delay_s=30), TimedOut),
    ],
)
def test_without_a_token_nothing_is_sent_and_the_failure_says_whose_it_is(says: Reply, failure: type[Failure]) -> None:
    async def scenario() -> None:
        async with vertex() as (google, provider):
            google.token_says = says
            google.script.append(says) if says.delay_s else None
            with pytest.raises(failure) as caught:
                await provider.embed(a_google_attempt(), 1.0 if says.delay_s else 30.0)
            assert "words" not in f"{caught.value.message}{caught.value.detail}"
            assert not google.predicted
            google.token_says = Reply()
            await provider.embed(a_google_attempt(), 30.0)

    asyncio.run(scenario())


def test_a_token_that_is_refused_is_not_used_again() -> None:
    async def scenario() -> None:
        async with vertex() as (google, provider):
            await provider.embed(a_google_attempt(), 30.0)
            google.script.append(Reply(status=401, body=b'{"error": {"status": "UNAUTHENTICATED"}}'))
            with pytest.raises(CredentialRefused):
                await provider.embed(a_google_attempt(), 30.0)
            await provider.embed(a_google_attempt(), 30.0)
            assert google.tokens == 2

    asyncio.run(scenario())


GOOD = Google().key_file | {"token_uri": "https://oauth2.googleapis.com/token"}
BAD: dict[str, tuple[object, str]] = {
    "no key file": ("sk-not-a-key-file", "JSON key of a service account"),
    "a person's": (GOOD | {"type": "authorized_user"}, "no service account"),
    "a broken key": (GOOD | {"private_key": "-----BEGIN"}, "private key"),
    "inside": (GOOD | {"token_uri": "https://10.0.0.1/token"}, "must not be reached"),
    "the metadata service": (GOOD | {"token_uri": "http://169.254.169.254/token"}, "metadata"),
}


def built(key_file: object) -> Provider:
    credential = key_file if isinstance(key_file, str) else json.dumps(key_file)
    return build_provider("litellm", None, credential=credential, options=OPTIONS)


@pytest.mark.parametrize("wrong", BAD)
def test_a_credential_that_could_not_work_is_refused_when_it_is_registered(wrong: str) -> None:
    key_file, says = BAD[wrong]
    with pytest.raises(ValueError, match=says) as refused:
        built(key_file)
    assert "sk-not" not in str(refused.value)
    built(GOOD)
    built({"vertex_credentials": json.dumps(GOOD)})
