"""Specs of the nouns that are not declared by ``Operations`` yet. Each row goes with its noun's conversion."""

from collections.abc import Iterable

from fastapi import APIRouter

from router.api.admin.operation import TOLD, Told
from router.api.operation import ALL, OPS, V1, OperationRoute, OperationSpec, Who, operation_routes
from router.identity.members import Role

ROLES: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", f"{V1}/members"): ALL,
    ("POST", f"{V1}/members"): OPS,
    ("GET", f"{V1}/members/{{member_id}}"): ALL,
    ("PATCH", f"{V1}/members/{{member_id}}"): OPS,
    ("POST", f"{V1}/members/{{member_id}}/remove"): OPS,
    ("GET", f"{V1}/audit"): ALL,
    ("GET", f"{V1}/requests/{{request_id}}"): ALL,
    ("POST", f"{V1}/routes:explain"): ALL,
}


def told_of(route: OperationRoute) -> Told | None:
    """What an operation tells of its body and answer; None for one that is declared by ``Operations``."""
    told: Told | None = (route.openapi_extra or {}).get(TOLD)
    return told if isinstance(told, Told) else None


def give_specs(nouns: Iterable[APIRouter]) -> None:
    """Attach to each route the spec that ``Operations`` would."""
    for noun in nouns:
        for route in operation_routes(noun.routes):
            (method,) = (route.methods or set()) - {"HEAD"}
            told = told_of(route)
            assert told is not None, "an operation that is not converted tells of itself; this is a bug"
            route.spec = OperationSpec(
                noun=route.path.removeprefix(f"{V1}/").split("/")[0].split(":")[0],
                verb=(route.operation_id or "").removeprefix("admin_").split("_")[0],
                method=method,
                path=route.path,
                who=Who.OPERATOR,
                roles=ROLES[method, route.path],
                edits=told.match,
                writes=method != "GET" and told.writes,
            )
