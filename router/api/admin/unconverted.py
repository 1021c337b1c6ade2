"""Specs of the nouns that are not declared by ``Operations`` yet. Each row goes with its noun's conversion."""

from collections.abc import Iterable

from fastapi import APIRouter

from router.api.admin.operation import TOLD, Told
from router.api.operation import ALL, MONEY, OPS, V1, OperationRoute, OperationSpec, Who, operation_routes
from router.identity.members import Role

ROLES: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", f"{V1}/models"): ALL,
    ("POST", f"{V1}/models"): OPS,
    ("GET", f"{V1}/models/{{model_id:path}}"): ALL,
    ("PATCH", f"{V1}/models/{{model_id:path}}"): OPS,
    ("POST", f"{V1}/models:import"): OPS,
    ("POST", f"{V1}/models/{{model_id:path}}:launch"): OPS,
    ("POST", f"{V1}/models/{{model_id:path}}:deprecate"): OPS,
    ("POST", f"{V1}/models/{{model_id:path}}:retire"): OPS,
    ("POST", f"{V1}/models/{{model_id:path}}:announce"): OPS,
    ("GET", f"{V1}/prices"): ALL,
    ("POST", f"{V1}/prices"): MONEY,
    ("GET", f"{V1}/prices/{{price_id}}"): ALL,
    ("GET", f"{V1}/claims"): ALL,
    ("POST", f"{V1}/claims"): OPS,
    ("GET", f"{V1}/claims/{{claim_id}}"): ALL,
    ("GET", f"{V1}/resolutions"): ALL,
    ("GET", f"{V1}/resolutions/{{resolution_id}}"): ALL,
    ("POST", f"{V1}/resolutions"): OPS,
    ("GET", f"{V1}/waivers"): ALL,
    ("POST", f"{V1}/waivers"): MONEY,
    ("GET", f"{V1}/waivers/{{waiver_id}}"): ALL,
    ("POST", f"{V1}/waivers/{{waiver_id}}/revoke"): MONEY,
    ("GET", f"{V1}/decisions"): ALL,
    ("GET", f"{V1}/acceptances"): ALL,
    ("POST", f"{V1}/acceptances"): OPS,
    ("GET", f"{V1}/acceptances/{{acceptance_id}}"): ALL,
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
