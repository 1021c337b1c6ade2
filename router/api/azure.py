"""Takes the calls of Azure's clients as calls of our own operations.

They send ``POST /openai/deployments/{deployment}/embeddings?api-version=…`` with the key as ``api-key``: the deployment
is the id of a model of ours or an alias, slashes and all, and stands for the body's ``model``, as at Azure. Their lists
of models are at ``/openai/models``. Which ``api-version`` they name makes no difference.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from router.api.exchange import Exchange, Scope

DEPLOYMENTS = "/openai/deployments/"
EMBEDDINGS = "/embeddings"
PATH = f"{DEPLOYMENTS}{{deployment:path}}{EMBEDDINGS}"
_MODELS = re.compile(r"/openai(/models(?:/.+)?)")
_BLANKS = b" \t\r\n"


def is_call(exchange: Exchange) -> bool:
    """Whether the path names a deployment; its name is put into the body."""
    path = exchange.path
    if not path.startswith(DEPLOYMENTS) or not path.endswith(EMBEDDINGS):
        return False
    deployment = path[len(DEPLOYMENTS) : -len(EMBEDDINGS)]
    if not deployment or "//" in path:
        return False
    exchange.body = with_model(exchange.body, deployment)
    return True


def with_model(body: bytes, model: str) -> bytes:
    """The body with ``model`` as its last field, which holds where a field comes twice.

    Nothing is decoded, so a body that is no JSON object remains one that the pipeline refuses.
    """
    whole = body.rstrip(_BLANKS)
    if not whole.endswith(b"}"):
        return body
    fields = whole[:-1].rstrip(_BLANKS)
    return b"".join((fields, b"" if fields.endswith(b"{") else b",", b'"model":', msgspec.json.encode(model), b"}"))


def our_path(path: str) -> str:
    """The path of ours that Azure's clients call by another, ``/v1/models`` for ``/openai/models``; else as it is."""
    models = _MODELS.fullmatch(path)
    return path if models is None else f"/v1{models[1]}"


def as_ours(scope: Scope) -> Scope:
    """The scope of a request for ``/openai/models`` as one for ``/v1/models``; any other as it is."""
    path = our_path(scope["path"])
    if path == scope["path"]:
        return scope
    query = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != "api-version"]
    changed: dict[str, Any] = {"path": path, "raw_path": path.encode(), "query_string": urlencode(query).encode()}
    return {**scope, **changed}
