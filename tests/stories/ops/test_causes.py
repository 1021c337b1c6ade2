"""A test that fails shows the cause: what was called, what came back in its own words, and which setting would help."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import override

from tests.builders.admin_api import create_endpoint, create_model, create_provider
from tests.harness.admin_client import Operator
from tests.harness.fake_upstream import Counting, Received, Reply, Upstream
from tests.harness.processes import Product

SECRET = "sk-canary-4be1c07d9f2a"
FREE = {"allow_zero_cost": True, "as_reference": "the maker's own"}
COUNTER = iter(range(1000))
HTML = (
    b"<!doctype html><html><head><title>Sign in</title><script>var k='x'</script></head><body><h1>Gateway</h1>%s</body>"
)


def a_cause(ops: Operator, upstream: Upstream, **fields: object) -> str:
    name = f"cause-{next(COUNTER)}"
    return str(create_provider(ops, upstream, name, **{"credential": SECRET, **fields})["id"])


def tried(ops: Operator, provider: str, upstream_model: str = "m") -> dict[str, Any]:
    found: dict[str, Any] = ops("POST", f"/providers/{provider}/test", {"upstream_model": upstream_model})
    return found


def error(**fields: object) -> bytes:
    return json.dumps({"error": fields}).encode()


CASES: dict[str, tuple[Reply, str, str]] = {
    "an unknown path": (Reply(status=404, body=b'{"detail": "Not Found"}'), "Not Found", "the option path"),
    "a path for GET": (Reply(status=405, body=b"Method Not Allowed"), "Method Not Allowed", "the option path"),
    "a wrong credential": (Reply(status=401, body=error(message="bad key")), "bad key", "credential_header"),
    "no credit": (Reply(status=402, body=error(message="pay first")), "pay first", "no credit left"),
    "a wrong model": (
        Reply(status=404, body=error(code="model_not_found", message="no such model")),
        "no such model",
        "upstream_model",
    ),
    "a page": (Reply(body=HTML % b"", headers={"content-type": "text/html"}), "Sign in Gateway", "HTML"),
    "a page that says nothing of it": (Reply(body=HTML % b""), "Sign in Gateway", "HTML"),
    "a redirect": (
        Reply(status=308, headers={"location": "https://new.example.com/v2/embeddings"}, body=b""),
        "",
        "https://new.example.com/v2 ",
    ),
    "a redirect to a login": (
        Reply(status=302, headers={"location": f"https://sso.example/login?s=abc&to={SECRET}#t=abc"}, body=b"moved"),
        "moved",
        "a page to sign in",
    ),
    "forbidden": (Reply(status=403, body=error(message="not for you")), "not for you", "a firewall before it"),
    "nothing": (Reply(body=b""), "", "an empty body"),
    "an error in a 200": (Reply(body=error(message="busy", code=529)), "busy", "later"),
    "a proxy's text": (Reply(status=404, body=b"404 page not found\n"), "404 page not found", "the option path"),
    "no JSON": (Reply(body=b"OK"), "OK", "not as the API does"),
    "another API": (Reply(body=b'{"embeddings": [[1.0]]}'), "embeddings", "OpenAI-compatible"),
    "full": (Reply(status=429, body=error(message="slow down")), "slow down", "later"),
    "broken": (Reply(status=500, body=error(message="CUDA out of memory")), "CUDA out of memory", "its own log"),
    "refused content": (Reply(status=400, body=error(message="unknown task")), "unknown task", "input_type_field"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_cause_is_shown_with_the_setting_that_would_help(ops: Operator, case: str) -> None:
    reply, words, advice = CASES[case]
    with Upstream(384).in_thread() as upstream:
        upstream.always = reply
        provider = a_cause(ops, upstream)
        endpoint = create_endpoint(ops, create_model(ops, f"acme/cause-{next(COUNTER)}"), {"id": provider})
        for tested in (tried(ops, provider), ops("POST", f"/endpoints/{endpoint['id']}/test")):
            assert not tested["passed"]
            assert tested["upstream"]["url"] == f"{upstream.base_url}/embeddings"
            assert tested["upstream"]["status"] == (reply.status or 200)
            assert words in (tested["upstream"]["words"] or "")
            assert advice in tested["advice"]


def test_what_says_nothing_of_our_credential_does_not_pass_for_one_that_was_taken(ops: Operator) -> None:
    replies = {
        "not_told": [CASES[case][0] for case in ("a redirect to a login", "forbidden", "nothing", "a page", "broken")],
        "passed": [CASES["full"][0], CASES["a wrong model"][0], Reply()],
        "failed": [CASES["a wrong credential"][0]],
    }
    with Upstream(384).in_thread() as upstream:
        provider = a_cause(ops, upstream)
        for outcome, listed in replies.items():
            for upstream.always in listed:
                steps = {one["name"]: one["outcome"] for one in tried(ops, provider)["steps"]}
                assert steps["authenticate"] == outcome, upstream.always


def test_a_redirect_is_shown_without_what_a_login_page_is_given(ops: Operator) -> None:
    with Upstream(384).in_thread() as upstream:
        upstream.always = CASES["a redirect to a login"][0]
        tested = tried(ops, a_cause(ops, upstream))
        assert tested["upstream"]["leads_to"] == "https://sso.example/login?…"
        assert "abc" not in str(tested)


def test_an_upstream_that_cannot_be_used_is_not_activated_and_says_why(ops: Operator) -> None:
    for case in ("a redirect to a login", "forbidden", "nothing", "a page", "an error in a 200", "a proxy's text"):
        with Upstream(384).in_thread() as upstream:
            upstream.always, words, advice = CASES[case]
            endpoint = create_endpoint(
                ops, create_model(ops, f"acme/n-{next(COUNTER)}"), {"id": a_cause(ops, upstream)}
            )
            path = f"/endpoints/{endpoint['id']}"
            assert "allow_zero_cost" in ops("POST", f"{path}:activate", expects=409)["error"]["message"]
            tried_now = ops("POST", f"{path}:activate", {"allow_zero_cost": True})
            assert (tried_now["passed"], tried_now["state"]) == (False, "quarantined")
            assert advice in tried_now["advice"]
            assert words in tried_now["upstream"]["words"]
            assert ops("GET", path)["reason"] == tried_now["reason"]


def test_a_base_url_that_ends_in_the_path_is_named_with_what_it_should_be(ops: Operator) -> None:
    class Strict(Upstream):
        @override
        def _bytes(self, received: Received, reply: Reply) -> bytes:
            known = received.path == "/v1/embeddings"
            return super()._bytes(received, reply if known else Reply(status=404, body=b'{"detail": "Not Found"}'))

    with Strict(384).in_thread() as upstream:
        provider = a_cause(ops, upstream, base_url=f"{upstream.base_url}/embeddings")
        tested = tried(ops, provider)
        assert tested["upstream"]["url"].endswith("/v1/embeddings/embeddings")
        assert f"set base_url to {upstream.base_url}." in tested["advice"]
        ops.edit(f"/providers/{provider}", {"base_url": upstream.base_url})
        assert tried(ops, provider)["passed"]


ECHOES: dict[str, Callable[[str], bytes]] = {
    "as it came": lambda key: error(message=f"Incorrect API key: {key}"),
    "with its header": lambda key: error(message="no", headers={"authorization": f"Bearer {key}"}),
    "percent-encoded": lambda key: "".join(f"%{ord(sign):02X}" for sign in key).encode(),
    "escaped": lambda key: b'{"x": "' + "".join(f"\\u{ord(sign):04x}" for sign in key).encode() + b'"}',
    "in a page": lambda key: HTML % f"<p>key={'<b></b>'.join(key)}".encode(),
    "in a page's entities": lambda key: HTML % "".join(f"&#{ord(sign)};" for sign in key).encode(),
    "cut": lambda key: b"x" * 290 + key.encode(),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_credential_that_upstream_repeats_is_shown_to_nobody(product: Product, ops: Operator, echo: str) -> None:
    with Upstream(384).in_thread() as upstream:
        upstream.always = Reply(status=401, body=ECHOES[echo](SECRET))
        provider = a_cause(ops, upstream)
        endpoint = create_endpoint(ops, create_model(ops, f"acme/echo-{next(COUNTER)}"), {"id": provider})
        key = f"echo-{next(COUNTER)}"
        for tested in (
            tried(ops, provider),
            ops("POST", f"/endpoints/{endpoint['id']}/test", idempotency_key=key),
            ops("POST", f"/endpoints/{endpoint['id']}/test", idempotency_key=key),
        ):
            words = tested["upstream"]["words"]
            assert words
            assert len(words) <= 301
            assert not any(SECRET[at : at + 8] in str(tested) for at in range(len(SECRET) - 7))
    assert SECRET not in product.serves[0].said_since_start()


def test_what_could_not_be_reached_says_why(ops: Operator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Upstream(384).in_thread() as upstream:
        cases = {
            f"http://127.0.0.1:{port}/v1": ("connect", "Nothing listens at 127.0.0.1"),
            f"https://127.0.0.1:{upstream.port}/v1": ("tls", "no TLS at this port"),
            "https://nowhere.invalid/v1": ("resolve", "DNS does not know"),
        }
        for url, (step, advice) in cases.items():
            tested = tried(ops, a_cause(ops, upstream, base_url=url))
            assert [one["name"] for one in tested["steps"] if one["outcome"] == "failed"] == [step]
            assert advice in tested["advice"]
            assert tested["upstream"] == {
                "method": "POST", "url": f"{url}/embeddings", "status": None, "content_type": None, "words": None,
                "leads_to": None,
            }  # fmt: skip


class NoBase64(Upstream):
    """Refuses ``encoding_format``, as some servers do; ``how`` it says that."""

    how = Reply(status=400, body=error(message="extra fields not permitted: encoding_format"))

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        return super()._bytes(received, self.how if "encoding_format" in received.json else reply)


@pytest.mark.parametrize(
    "how",
    [
        NoBase64.how,
        Reply(status=422, body=b'{"detail": []}'),
        Reply(status=500, body=b"oops"),
        Reply(body=error(message="base64")),
        Reply(body=b'{"data": [{"index": 0, "embedding": "AAA="}], "usage": {"prompt_tokens": 1}}'),
    ],
    ids=["400", "422", "500", "an error in a 200", "base64 that is none"],
)
def test_a_server_that_refuses_base64_is_asked_for_numbers_and_that_is_remembered(ops: Operator, how: Reply) -> None:
    with NoBase64(384).in_thread() as upstream:
        upstream.how = how
        provider = a_cause(ops, upstream)
        tested = tried(ops, provider)
        assert (tested["passed"], "asks_base64" in tested["advice"]) == (True, True)
        endpoint = create_endpoint(ops, create_model(ops, f"acme/floats-{next(COUNTER)}"), {"id": provider})
        path = f"/endpoints/{endpoint['id']}"
        assert ops("POST", f"{path}:activate?dry_run=1", FREE)["passed"]
        assert ops("GET", path)["asks_base64"] is True
        tested = ops("POST", f"{path}:activate", FREE)
        assert (tested["passed"], tested["state"]) == (True, "live")
        assert {"name": "base64", "outcome": "passed", "said": "refused: from now on numbers are asked for"} in tested[
            "steps"
        ]
        assert ops("GET", path)["asks_base64"] is False
        before = len(upstream.calls)
        ops("POST", f"{path}/test")
        assert not any("encoding_format" in call.json for call in upstream.calls[before:])


def test_a_refusal_of_base64_that_was_overcome_is_not_the_cause_of_what_fails_later(ops: Operator) -> None:
    class OneToken(Counting):
        """Refuses base64, and counts a text as a token."""

        tells = "texts"

        @override
        def _bytes(self, received: Received, reply: Reply) -> bytes:
            if "encoding_format" in received.json:
                return Upstream._bytes(self, received, NoBase64.how)
            return super()._bytes(received, reply)

    with OneToken(384).in_thread() as upstream:
        endpoint = create_endpoint(ops, create_model(ops, f"acme/n-{next(COUNTER)}"), {"id": a_cause(ops, upstream)})
        tested = ops("POST", f"/endpoints/{endpoint['id']}:activate", FREE)
        assert (tested["passed"], tested["upstream"]["status"]) == (False, 200)
        assert "bytes_per_token" in tested["reason"]
        assert "base64" not in tested["advice"]


def test_a_fault_that_passes_is_not_taken_for_a_refusal_of_base64(ops: Operator, upstream: Upstream) -> None:
    provider = a_cause(ops, upstream)
    endpoint = create_endpoint(ops, create_model(ops, f"acme/passing-{next(COUNTER)}"), {"id": provider})
    upstream.script.append(Reply(status=500))
    assert not ops("POST", f"/endpoints/{endpoint['id']}/test")["passed"]
    assert ops("GET", f"/endpoints/{endpoint['id']}")["asks_base64"] is True
