"""Knows the paths of all declared operations: which methods one takes, and what was meant by one that does not exist.

The routes themselves are FastAPI's. This table answers what it cannot: every method of a path in ``Allow``, and for a
wrong path the operation in which it ends, from which follows the base URL that the client should have been given.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import ip_address

import msgspec
from fastapi import APIRouter

from router.api.azure import our_path
from router.api.exchange import Scope
from router.api.operation import operation_routes
from router.errors import MethodNotAllowed, OperationNotFound

# Of a longer path only the end is looked at, so that a hostile one costs no more.
SEGMENTS_MAX = 8
PATH_READ_MAX = 1024
PATH_SHOWN_MAX = 160
NOT_FOUND = "There is no operation at {called}. GET {document} lists them."
DOCUMENTS = ("/openapi.json", "/admin/openapi.json")
# What other APIs call POST /v1/embeddings: the last segment of their path, or what follows its last colon.
OTHER_NAMES = frozenset({"embed", "embedding", "embeds", "embedcontent", "batchembedcontents", "text-embedding"}) | {
    *("feature-extraction", "multimodalembeddings", "contextualizedembeddings", "invoke", "invocations")
}
NOT_SERVED = frozenset({"completions", "responses", "rerank", "images", "audio", "moderations", "files", "batches"})

_PARAMETER = re.compile(r"\{\w+(:path)?\}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_SECRET = re.compile(r"(?i)(gr_(?:live|test|ops|mgmt)_|sk-)[^/?]*")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


class DeclaredPath(msgspec.Struct, frozen=True):
    """A path with its methods; ``pattern`` matches it whatever the case of its fixed parts."""

    template: str
    pattern: re.Pattern[str]
    methods: tuple[str, ...]

    @property
    def base(self) -> str:
        """What stands before the operation's own part: what a client has as the path of its base URL."""
        return next((base for base in ("/admin/v1", "/v1") if self.template.startswith(base + "/")), "")

    def spelled(self, path: str) -> str | None:
        """The path with its fixed parts as they are declared; None where it is another path."""
        match = self.pattern.fullmatch(path)
        if match is None:
            return None
        values = iter(match.groups())
        return _PARAMETER.sub(lambda _: next(values), self.template)


class Paths:
    """All paths of an application."""

    def __init__(self, nouns: Iterable[APIRouter]) -> None:
        methods: dict[str, list[str]] = {}
        for noun in nouns:
            for route in operation_routes(noun.routes):
                methods.setdefault(route.spec.path, []).append(route.spec.method)
        self._declared = [DeclaredPath(path, _pattern(path), tuple(known)) for path, known in methods.items()]
        # Not so on the inside port, and in the admin API of this process.
        self._has_calls = "/v1/embeddings" in methods
        self._has_admin = any(path.startswith("/admin/v1/") for path in methods)

    def methods(self, path: str) -> tuple[str, ...]:
        """All methods of a path that is spelled just so, with HEAD where there is GET, and OPTIONS; none of another.

        A path by which Azure's clients call an operation of ours has that operation's.
        """
        path = our_path(path)
        declared = {method: "" for one in self._declared if one.spelled(path) == path for method in one.methods}
        return (*declared, *(("HEAD",) if "GET" in declared else ()), "OPTIONS") if declared else ()

    def refusal(self, scope: Scope) -> OperationNotFound | MethodNotAllowed:
        """Why no operation answers this request."""
        method, path = scope["method"], scope["path"]
        methods, meant = self.methods(path), self._meant(method, path)
        # An id of any length takes in what follows it: POST /v1/models/embeddings is about no model.
        is_id = all(":path}" in one.template for one in self._declared if one.spelled(our_path(path)) == our_path(path))
        if methods and (not is_id or meant is None or _plain_method(method) not in meant[0].methods):
            allow = ", ".join(methods)
            return MethodNotAllowed(
                f"{_shown(path)} takes {allow}, and not {method}.", headers=[(b"allow", allow.encode())]
            )
        called = f"{method} {_shown(path)}"
        if meant is None:
            document = next((one for one in DOCUMENTS if self.methods(one)), DOCUMENTS[0])
            return OperationNotFound(NOT_FOUND.format(called=called, document=document) + self._further_hint(path))
        return _base_url_hint(called, *meant, scope)

    def _meant(self, method: str, path: str) -> tuple[DeclaredPath, str] | None:
        """The operation in which a path ends, and the path that would have reached it; one with the method first."""
        found = list(self._endings(path))
        return next((one for one in found if _plain_method(method) in one[0].methods), found[0] if found else None)

    def _endings(self, path: str) -> Iterator[tuple[DeclaredPath, str]]:
        segments = _segments(path)
        if segments[:1] == ["openai"] and not self._has_calls:
            return
        if segments and segments[-1].lower().rpartition(":")[2] in OTHER_NAMES:
            segments[-1] = "embeddings"
        is_inside = "admin" in segments and self._has_admin
        bases = ("", "/admin/v1") if is_inside or not self._has_calls else ("", "/openai", "/v1")
        for first in range(len(segments)):
            ending = "/".join(segments[first:])
            for base in bases:
                for one in self._declared:
                    spelled = one.spelled(f"{base}/{ending}")
                    if spelled is not None:
                        yield one, spelled

    def _further_hint(self, path: str) -> str:
        segments = _segments(path)
        folder = "/" + "/".join(segments).lower() + "/"
        if segments and any(one.template.startswith(folder) for one in self._declared):
            return f" {folder[:-1]} is where they begin: what clients take as a base URL, to which they add the rest."
        if segments[:1] in (["v1"], ["openai"]) and not self._has_calls:
            return " What customers call is on their port, GIGAROUTER_PORT."
        if NOT_SERVED.intersection(segments):
            return " This API serves embeddings: POST /v1/embeddings."
        return ""


def is_misspelled(path: str) -> bool:
    """Whether a path has a slash too many, which no operation's path and no model's id has."""
    return len(path) > 1 and (path.endswith("/") or "//" in path)


def address(scope: Scope) -> str:
    """The address that the client has for us, as far as it said so: ``http://127.0.0.1:8080``."""
    headers = {name: value.decode("latin-1").strip() for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    if not _HOST.fullmatch(host):
        return "http://127.0.0.1:8080"
    scheme = headers.get(b"x-forwarded-proto", "").lower()
    if scheme not in ("http", "https"):
        scheme = "http" if _is_plain(host) else "https"
    return f"{scheme}://{host}"


def _base_url_hint(called: str, meant: DeclaredPath, path: str, scope: Scope) -> OperationNotFound:
    """Names the operation and the base URL by which a client comes to it."""
    method = _plain_method(scope["method"])
    method = method if method in meant.methods else meant.methods[0]
    operation, root = f"{method} {_shown(path)}", address(scope)
    message = f"There is no operation at {called}: it is {operation}."
    base_url = root + meant.base
    if path.startswith("/openai/"):
        message += f" Give Azure's clients the endpoint {root}, to which they add /openai/deployments."
    elif meant.base == "/v1":
        message += f" Set the client's base URL to {base_url}, to which it adds {_shown(path.removeprefix('/v1'))}."
    elif meant.base:
        base_url = root
        message += f" The address for `gigarouter admin` is {base_url}."
    return OperationNotFound(message, details={"operation": operation, "base_url": base_url})


def _is_plain(host: str) -> bool:
    """Whether an address is more likely one without TLS: on this machine, in a private network, or with a port."""
    name, _, port = host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "")
    try:
        is_private = ip_address(name.strip("[]")).is_private
    except ValueError:
        is_private = name == "localhost"
    return is_private or (port != "" and not port.endswith("443"))


def _segments(path: str) -> list[str]:
    if len(path) > PATH_READ_MAX:
        return []
    parts = [part.strip() for part in path.split("/")]
    return [part for part in parts if part not in ("", ".", "..")][-SEGMENTS_MAX:]


@cache
def _pattern(template: str) -> re.Pattern[str]:
    fixed = _PARAMETER.split(template)[::2]
    parameters = [".+" if match[1] else "[^/]+" for match in _PARAMETER.finditer(template)]
    pieces = [re.escape(fixed[0])]
    for parameter, piece in zip(parameters, fixed[1:], strict=True):
        pieces += [f"({parameter})", re.escape(piece)]
    return re.compile("".join(pieces), re.IGNORECASE | re.DOTALL)


def _plain_method(method: str) -> str:
    return "GET" if method == "HEAD" else method


def _shown(path: str) -> str:
    """A path as a message may repeat it: bounded, printable, and without what may be a key."""
    plain = _SECRET.sub(r"\1…", path)
    plain = plain if len(plain) <= PATH_SHOWN_MAX else plain[:PATH_SHOWN_MAX] + "…"
    return "".join(c if c == "…" else _UNPRINTABLE.sub("?", c) for c in plain)
