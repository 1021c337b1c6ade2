"""Says which setting would help where a test's call failed."""

import re
from urllib.parse import urlsplit

from providers.outcomes import (
    BadAnswer,
    Broken,
    CallerFault,
    ConnectFailed,
    CredentialRefused,
    Failure,
    Misconfigured,
    ModelMissing,
    TimedOut,
    TryLater,
)
from router.registry.indexes import ProviderRecord
from router.verification.cause import UpstreamAnswer


def advise(failure: Failure, answer: UpstreamAnswer | None, record: ProviderRecord, upstream_model: str) -> str:
    """Which setting would help, in a sentence or two; empty where nothing is known to."""
    if isinstance(failure, ConnectFailed) or (isinstance(failure, TimedOut) and failure.step is not None):
        return _advise_connection(failure, record)
    if isinstance(failure, Misconfigured) or answer is None:
        return ""
    return _advise_address(failure, answer, record) or _advise_answer(failure, answer, record, upstream_model)


def _advise_answer(failure: Failure, answer: UpstreamAnswer, record: ProviderRecord, upstream_model: str) -> str:
    """What helps where the right place was called."""
    match failure:
        case CredentialRefused():
            advice = _advise_credential(failure, record)
        case ModelMissing():
            advice = f"It knows no model {upstream_model!r}: set the endpoint's upstream_model to its own name of it."
        case TryLater():
            advice = "The provider has no room for us now, or our quota there is used up: test again later."
        case TimedOut():
            advice = "It was reached and did not answer in time: see whether the server is busy or loads its model."
        case CallerFault():
            advice = _advise_content(answer, record)
        case BadAnswer():
            advice = _advise_bad_answer(failure)
        case Broken() if answer.status is None and (record.base_url or "").startswith("http:"):
            advice = "Nothing readable came back: where the server speaks TLS, the base URL begins with https://."
        case Broken() if (answer.status or 0) >= 500:
            advice = "The provider failed by itself: see its own log."
        case Broken() if answer.words == "":
            advice = "It answered with an empty body: look at the base URL, the option path, and what stands before it."
        case Broken() if answer.status == 403:
            advice = "It forbids the call: look at what our credential may do there, and at a firewall before it."
        case Broken():
            advice = "It answered, but not as the API does: look at the base URL and the option path."
        case _:
            advice = ""
    return advice


def _advise_connection(failure: ConnectFailed | TimedOut, record: ProviderRecord) -> str:
    place = urlsplit(record.base_url or "").netloc or "the vendor's address"
    if failure.step == "resolve":
        return f"DNS does not know the name in {place}: look at the base URL's host, or at this machine's DNS."
    if failure.step == "tls":
        return _advise_tls(failure.detail)
    if failure.step != "connect":
        return ""
    if isinstance(failure, TimedOut):
        return f"Nothing answers at {place}: look at host and port of the base URL, and at firewalls on the way."
    return f"Nothing listens at {place}: look at host and port of the base URL, and whether the server runs."


def _advise_tls(detail: str) -> str:
    lowered = detail.lower()
    if "hostname mismatch" in lowered or "ip address mismatch" in lowered:
        return "Its certificate is another host's: write the base URL with the name that stands in the certificate."
    if "expired" in lowered:
        return "Its certificate has expired (or this machine's clock is wrong): whoever runs the server renews it."
    if "certificate" in lowered:
        return (
            "Its certificate is not signed by an authority that this machine trusts: add the authority to the "
            "machine's store, or name a file with it in SSL_CERT_FILE."
        )
    if any(
        sign in lowered for sign in ("wrong_version", "record_layer", "http_request", "eof", "econnreset", "not in")
    ):
        return (
            "There is no TLS at this port: look at the port, or begin the base URL with http:// (which is spoken only "
            "inside networks that GIGAROUTER_ALLOWED_PRIVATE_NETWORKS names)."
        )
    return "TLS could not be agreed on: look at the port, and at the versions of TLS that the server takes."


def _advise_address(failure: Failure, answer: UpstreamAnswer, record: ProviderRecord) -> str:
    """What is wrong with the base URL or the path; empty where something else is."""
    status, base_url = answer.status, (record.base_url or "").rstrip("/")
    path = str(record.options.get("path", "/embeddings")) if record.kind == "openai" else ""
    if status is not None and 300 <= status < 400:
        return _advise_redirect(answer.leads_to, path)
    is_page = answer.is_html and (status or 0) < 500 and not isinstance(failure, TryLater | CredentialRefused)
    if isinstance(failure, ModelMissing) or not (is_page or status in (404, 405, 410)):
        return ""
    if path and (doubled := re.search(r"/embeddings?$", base_url)):
        shorter = base_url[: doubled.start()]
        return f"The base URL ends in {doubled[0]}, and {path} is added to it: set base_url to {shorter}."
    what = "It answered a page for people (HTML) and no JSON" if answer.is_html else f"It has nothing at {answer.url}"
    if not path:
        return f"{what}: look at the base URL."
    version = "" if re.search(r"/v[0-9]", base_url) else f", which at most servers ends in /v1 ({base_url}/v1)"
    return f"{what}: look at the base URL{version}, and at the option path, which is {path}."


def _advise_redirect(leads_to: str | None, path: str) -> str:
    """One that leads to the same operation elsewhere tells a base URL; any other leads to a page for people."""
    followed = "It redirects, and no redirect is followed"
    if leads_to is None:
        return f"{followed}; it does not say where to: look at the base URL."
    if leads_to.endswith(path):
        return f"{followed}: where {leads_to.removesuffix(path)} is the provider's, set base_url to it."
    return (
        f"{followed}: {leads_to} is no place of the API, more likely a page to sign in. Look at the base URL, and at "
        "what stands before the server: a proxy with a login of its own lets no program in."
    )


def _advise_credential(failure: CredentialRefused, record: ProviderRecord) -> str:
    if failure.status == 402 or "insufficient_quota" in failure.detail or "billing" in failure.detail:
        return "Our account at the provider has no credit left: it is paid there."
    if record.sealed is None:
        return "No credential is set, and the provider wants one: give it with the provider."
    refused = "The provider refuses our credential: rotate it, or look at what it may do there."
    if record.kind != "openai":
        return refused
    is_usual = record.options.get("credential_header", "authorization") == "authorization"
    other = "api-key, as at Azure, or x-api-key" if is_usual else "authorization"
    return f"{refused} Or it is wanted in another header: the option credential_header ({other})."


def _advise_content(answer: UpstreamAnswer, record: ProviderRecord) -> str:
    words = (answer.words or "").lower()
    if "https port" in words or ("ssl" in words and "plain" in words):
        return "The port speaks TLS: begin the base URL with https://."
    if "input_type" in words or "task" in words or "prompt_name" in words:
        return (
            "It does not take our word for the input type: look at the options input_type_field and input_types, and "
            "at the endpoint's native_input_type."
        )
    if "encoding_format" in words or "base64" in words:
        return "It does not take encoding_format base64: set asks_base64 to false."
    if "api-version" in words or "api version" in words:
        return "It wants a version: put it into the option path, as /embeddings?api-version=2024-10-21, or api_version."
    if record.options.get("always"):
        return "It refuses the request: look at the fields of the option always, and at the endpoint's upstream_model."
    return "It refuses the request: look at the endpoint's upstream_model, and whether that is a model of embeddings."


def _advise_bad_answer(failure: BadAnswer) -> str:
    match failure.check:
        case "dimensions":
            return "It serves another model, or another width: look at upstream_model and at the model's dimensions."
        case "norm":
            return (
                "The space is normalized, and these vectors are not: look at upstream_model and the server's settings."
            )
        case "usage":
            return "Its usage is nothing to bill by: set the provider's option bytes_per_token."
        case "numbers" | "number format":
            return (
                "Its numbers cannot be delivered: if they came as base64 of another format, set asks_base64 to false."
            )
        case "count" | None:
            return "It answered, but not as an OpenAI-compatible server does: look at the base URL and the option path."
