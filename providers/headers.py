"""Pure. Says which headers and paths an operator may add to every request to a provider, and which are not theirs."""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1998}[\x21-\x7e])?")
_TARGET = re.compile(r"/[\x21-\x7e]{0,999}")
# The wire's own: they decide where a request ends and what may come back.
_WIRE = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"),
        *("host", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)
_SECRET = re.compile(r"authorization|cookie|api[-_]?key|access[-_]?key|token|secret|password|credential", re.I)
_SECRET_IN_PATH = re.compile(r"[?&]([^=&]*(key|token|secret|signature|password)|sig|code)=", re.I)

ExtraHeaders = Annotated[
    dict[str, str],
    msgspec.Meta(description="Further headers of every request, such as OpenAI-Organization; nothing secret."),
]


def header_name_fault(name: str) -> str:
    """Why the credential cannot stand in a header of this name; empty where it can."""
    if not _NAME.fullmatch(name):
        return f"{name[:40]!r} is no name of a header, such as authorization or x-api-key"
    return f"the header {name} is set by the connection itself" if name.lower() in _WIRE else ""


def extra_headers_fault(headers: Mapping[str, str], credential_header: str) -> str:
    """Why these headers cannot be added to every request; empty where they can."""
    names = [name.lower() for name in headers]
    if len(set(names)) < len(names):
        return "a header stands there twice"
    for name, value in headers.items():
        if fault := header_name_fault(name):
            return fault
        if name.lower() == credential_header.lower() or _SECRET.search(name):
            return (
                f"the header {name} is for a credential, which is kept encrypted and apart: give it as the credential"
            )
        if not _VALUE.fullmatch(value):
            return f"the value of the header {name} is not printable ASCII without blanks around it"
    return ""


def path_fault(path: str) -> str:
    """Why this path cannot be called; empty where it can."""
    if not _TARGET.fullmatch(path) or "#" in path:
        return f"{path[:40]!r} is no path such as /embeddings: it begins with a slash and has no blanks"
    if _SECRET_IN_PATH.search(path):
        return "a path is shown to every operator, so no key stands in it: give it as the credential"
    return ""
