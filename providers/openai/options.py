"""Pure. Defines the options of a provider of kind ``openai``: how a server differs from OpenAI's own."""

from typing import Annotated

import msgspec
from msgspec import Meta

from providers.headers import ExtraHeaders, extra_headers_fault, header_name_fault, path_fault
from providers.protocol import BytesPerToken

# What we send ourselves, so that no option says it a second time; nobody is asked for a width (decision 12).
_OUR_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions"})


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a server differs from OpenAI's own.

    Jina: ``input_type_field`` = ``task``, ``input_types`` = ``retrieval.query`` and ``retrieval.passage``. Azure:
    ``path`` = ``/embeddings?api-version=…`` and ``credential_header`` = ``api-key``. Voyage cuts long inputs silently
    without ``always`` = ``truncation`` = false.
    """

    path: Annotated[str, Meta(description="What follows the base URL.")] = "/embeddings"
    models_path: Annotated[str, Meta(description="What follows the base URL where its models are listed.")] = "/models"
    credential_header: Annotated[
        str, Meta(description="The header with our credential, such as authorization, api-key or x-api-key.")
    ] = "authorization"
    credential_scheme: Annotated[
        str | None,
        Meta(description="The word before the credential; by default Bearer in authorization and none elsewhere."),
    ] = None
    headers: ExtraHeaders = {}
    asks_base64: Annotated[
        bool, Meta(description="Whether the server understands encoding_format base64; false for all its endpoints.")
    ] = True
    input_type_field: Annotated[
        str, Meta(description="The field that tells a query from a document, for endpoints with native_input_type.")
    ] = "input_type"
    input_types: Annotated[dict[str, str], Meta(description="The server's words for query and document.")] = {}
    always: Annotated[
        dict[str, bool | int | str], Meta(description="Fields of every request's body, such as truncation: false.")
    ] = {}
    bytes_per_token: BytesPerToken | None = None

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what cannot be sent."""
        ours = sorted(_OUR_FIELDS & self.always.keys())
        scheme = self.credential_scheme or ""
        faults = {
            "path": path_fault(self.path),
            "models_path": path_fault(self.models_path),
            "credential_header": header_name_fault(self.credential_header),
            "credential_scheme": "" if not scheme or scheme.isalnum() else f"{scheme[:40]!r} is no word such as Bearer",
            "headers": extra_headers_fault(self.headers, self.credential_header),
            "always": f"{ours[0]} is not an option's to set" if ours else "",
        }
        for name, fault in faults.items():
            if fault:
                raise ValueError(f"{name}: {fault}")

    def credential_line(self, credential: str) -> tuple[str, str]:
        """The header with our credential, and its value."""
        is_usual = self.credential_header.lower() == "authorization"
        scheme = self.credential_scheme if self.credential_scheme is not None else "Bearer" if is_usual else ""
        name = "Authorization" if is_usual else self.credential_header
        return name, f"{scheme} {credential}" if scheme else credential
