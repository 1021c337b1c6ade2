"""Nothing forgotten in the admin API: each operation has its words, its types, and is in the document."""

import json
from typing import Any, get_args

from jsonschema import Draft202012Validator

from router.api.documents import admin_document, admin_routes
from router.api.documents import document as customers_document
from router.api.operation import OperationRoute


def served() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(admin_document()))
    return found


def operation_of(document: dict[str, Any], route: OperationRoute) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][route.path.replace(":path}", "}")][route.spec.method.lower()]
    return found


def test_every_operation_is_described_with_what_it_takes_and_answers() -> None:
    document = served()
    for route in admin_routes():
        operation = operation_of(document, route)
        assert operation["summary"], route.path
        assert operation["description"].endswith("."), route.path
        names = {one["name"] for one in operation["parameters"]} if "parameters" in operation else set()
        if route.spec.writes:
            assert {"dry_run", "Idempotency-Key", "If-Match"} <= names, route.path
            assert {"401", "403", "409", "422", "428"} <= set(operation["responses"])
        assert operation["x-gigarouter"]["verb"] == route.spec.verb
        assert operation["x-gigarouter"]["roles"] == sorted(route.spec.roles)
        content = operation["responses"][str(route.status_code)]["content"]
        assert set(content) == set(route.spec.media)
        if "application/json" in content:
            answer = content["application/json"]["schema"]
            assert answer["$ref"].startswith("#/components/schemas/"), route.path
        matches = [one["required"] for one in operation.get("parameters", ()) if one["name"] == "If-Match"]
        assert matches == ([route.spec.edits] if route.spec.writes else [])


def test_every_field_of_a_body_and_every_filter_is_told_to_a_person() -> None:
    """They are the command line's help, too."""
    document = served()
    schemas = document["components"]["schemas"]
    for route in admin_routes():
        operation = operation_of(document, route)
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] == "path" or parameter["description"].endswith("."), (route.path, parameter)
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema = schemas[reference.rpartition("/")[2]]
            assert schema["additionalProperties"] is False
            for name, field in schema["properties"].items():
                assert field["description"].endswith("."), (reference, name)


def test_operations_have_names_of_their_own_in_both_documents() -> None:
    names = [
        operation["operationId"]
        for whole in (served(), customers_document())
        for methods in whole["paths"].values()
        for operation in methods.values()
    ]
    assert len(names) == len(set(names))


def test_its_schemas_are_schemas_and_no_reference_leads_nowhere() -> None:
    document = served()
    assert document["openapi"].startswith("3.1.")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(document)
    for kind in ("schemas", "responses"):
        for name in {part.split('"')[0] for part in text.split(f"#/components/{kind}/")[1:]}:
            assert name in document["components"][kind]


def test_an_answer_has_all_of_its_fields() -> None:
    schemas = served()["components"]["schemas"]
    answers = {name for name in schemas if name.endswith("Out") or name.startswith("Page_")}
    assert {"ProviderOut", "Page_ProviderOut_", "ModelOut", "ImportOut", "DecisionOut", "TestOut"} <= answers
    for name in answers:
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"])


def test_what_a_list_shows_in_a_table_are_fields_of_its_rows() -> None:
    for route in admin_routes():
        if route.spec.verb == "list":
            row = get_args(route.response_model.model_fields["data"].annotation)[0]
            assert 5 <= len(row.columns) <= 8, row
            assert set(row.columns) <= set(row.model_fields), row
