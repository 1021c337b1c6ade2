"""Pure. Defines the options of a provider of kind ``litellm``, and what goes to litellm with every call.

Both are lists of what is allowed: litellm takes any keyword, and some of them would retry, log, fetch or answer by
themselves.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from providers.headers import ExtraHeaders, extra_headers_fault
from providers.protocol import BytesPerToken

# Credentials of vendors that need more than one secret: a JSON object with these names, passed on as they are.
CREDENTIAL_FIELDS: Final = frozenset(
    {
        "api_key",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "organization",
    }
)

_BOTH: Final = MappingProxyType({"query": "search_query", "document": "search_document"})
_RETRIEVAL: Final = MappingProxyType({"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"})
# How vendors name their input types.
_INPUT_TYPES: Final = MappingProxyType(
    {
        "bedrock": ("input_type", _BOTH),
        "cohere": ("input_type", _BOTH),
        "gemini": ("task_type", _RETRIEVAL),
        "jina_ai": ("task", MappingProxyType({"query": "retrieval.query", "document": "retrieval.passage"})),
        "nvidia_nim": ("input_type", MappingProxyType({"query": "query", "document": "passage"})),
        "vertex_ai": ("task_type", _RETRIEVAL),
    }
)
# These cut long inputs silently, unless a parameter forbids it.
_NO_TRUNCATION: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {"cohere": {"truncate": "NONE"}, "voyage": {"truncation": False}, "vertex_ai": {"autoTruncate": False}}
)
# These use a library of their own, whose connections and credentials our guard does not see.
_SAGEMAKER: Final = (
    "SageMaker is not spoken to, since its library goes out by itself. Serve the model there in a container that "
    "speaks OpenAI's API, behind an address of yours (kind openai), or use Bedrock (vendor bedrock)"
)
UNSUPPORTED_VENDORS: Final[Mapping[str, str]] = MappingProxyType(
    {"sagemaker": _SAGEMAKER, "sagemaker_chat": _SAGEMAKER}
)


class LiteLLMOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which vendor litellm calls, and where."""

    vendor: Annotated[str, Meta(min_length=1, description="litellm's name of the vendor: cohere, gemini, bedrock.")]
    input_type_field: Annotated[
        Literal["input_type", "task", "task_type", "prompt_name"] | None,
        Meta(description="The field that tells a query from a document; the large vendors' is known."),
    ] = None
    input_types: Annotated[
        dict[str, str], Meta(description="The vendor's words for query and document; the large vendors' are known.")
    ] = {}
    api_version: Annotated[str | None, Meta(description="Azure's version of the interface.")] = None
    aws_region_name: Annotated[str | None, Meta(description="Bedrock's region, such as eu-central-1.")] = None
    vertex_project: Annotated[str | None, Meta(description="Vertex AI's project; by default the key file's.")] = None
    vertex_location: Annotated[
        str | None, Meta(description="Vertex AI's location, such as europe-west1, which it needs.")
    ] = None
    token_urls: Annotated[
        list[str],
        Meta(description="Where the vendor hands out tokens beside the base URL, as https://iam.cloud.ibm.com."),
    ] = []
    headers: ExtraHeaders = {}
    bytes_per_token: BytesPerToken | None = None

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what cannot be used."""
        if self.vendor in UNSUPPORTED_VENDORS:
            raise ValueError(f"vendor: {UNSUPPORTED_VENDORS[self.vendor]}")
        if fault := extra_headers_fault(self.headers, "authorization"):
            raise ValueError(f"headers: {fault}")

    def input_type(self, ours: str) -> tuple[str, str]:
        """The vendor's field and word for ``query`` or ``document``."""
        field, words = _INPUT_TYPES.get(self.vendor, ("input_type", MappingProxyType({})))
        return self.input_type_field or field, self.input_types.get(ours, words.get(ours, ours))

    def fixed(self) -> dict[str, Any]:
        """What goes to litellm with every call."""
        places = {
            "api_version": self.api_version,
            "aws_region_name": self.aws_region_name,
            "vertex_project": self.vertex_project,
            "vertex_location": self.vertex_location,
        }
        given = {name: value for name, value in places.items() if value is not None}
        return {"custom_llm_provider": self.vendor, **_NO_TRUNCATION.get(self.vendor, {}), **given}


def secrets(credential: str | None) -> dict[str, str]:
    """A key as it is, several secrets as a JSON object. Raises ``ValueError`` for an operator to read.

    What is missing is filled in, because litellm looks into the environment, and AWS' library on to the network, for
    what it is not given.
    """
    if credential is None:
        return {"api_key": "none"}
    if not credential.startswith("{"):
        return {"api_key": credential}
    try:
        fields = msgspec.json.decode(credential, type=dict[str, str])
    except msgspec.DecodeError:
        raise ValueError("a credential in JSON is an object of texts") from None
    if unknown := fields.keys() - CREDENTIAL_FIELDS:
        raise ValueError(f"unknown credential fields: {', '.join(sorted(unknown))}")
    keys = {"aws_access_key_id", "aws_secret_access_key"}
    if fields.keys() & {*keys, "aws_session_token"} and not all(fields.get(name) for name in keys):
        raise ValueError("aws_access_key_id and aws_secret_access_key are given together")
    # An empty key makes litellm sign; "none" is sent and refused.
    return {"api_key": "" if keys <= fields.keys() else "none", **fields}
