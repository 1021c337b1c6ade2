"""Nothing forgotten in the admin API: each operation has its roles, its words, its forms, and is in the document."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from router.api.access import ACCESS, OPERATORS_MAY, Who
from router.api.admin.openapi import document, routes, told_of
from router.api.openapi import document as customers_document
from router.identity.members import OPERATOR_ROLES

ROOT = Path(__file__).parents[4]


def test_every_operation_has_its_roles_and_every_row_its_operation() -> None:
    served = {(method, route.path) for route in routes() for method in route.methods - {"HEAD"}}
    assert served == set(OPERATORS_MAY)
    assert all(roles and roles <= OPERATOR_ROLES for roles in OPERATORS_MAY.values())
    assert {row for row, who in ACCESS.items() if who is Who.OPERATOR} == set(OPERATORS_MAY)


def test_no_operation_that_writes_money_is_for_ops() -> None:
    money = {path for (method, path), roles in OPERATORS_MAY.items() if method == "POST" and "ops" not in roles}
    assert {path.rpartition("/")[2] for path in money} == {"prices", "waivers", "revoke", "grants"}


def test_every_operation_tells_what_it_does_takes_and_answers() -> None:
    for route in routes():
        assert route.summary, route.path
        assert route.description, route.path
        assert told_of(route) is not None, route.path
    served = document()
    names = [
        operation["operationId"]
        for whole in (served, customers_document())
        for methods in whole["paths"].values()
        for operation in methods.values()
    ]
    assert len(names) == len(set(names))
    for methods in served["paths"].values():
        for method, operation in methods.items():
            if method in ("post", "patch") and operation["operationId"] != "admin_explain_route":
                assert {"dry_run", "Idempotency-Key", "If-Match"} <= {one["name"] for one in operation["parameters"]}
                assert {"401", "403", "409", "422", "428"} <= set(operation["responses"])


def test_the_document_is_the_one_in_docs_and_its_schemas_are_schemas() -> None:
    served = json.loads(json.dumps(document()))
    assert served == json.loads((ROOT / "docs" / "admin-openapi.json").read_text()), (
        "python -m router.api.admin.openapi > docs/admin-openapi.json"
    )
    for schema in served["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(served)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in served["components"]["schemas"]
