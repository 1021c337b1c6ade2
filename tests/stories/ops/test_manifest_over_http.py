"""The catalogue's file is planned, applied and exported from anywhere, by an operator's key, as on the machine."""

import re
from typing import Any

import pytest

from tests.harness.admin_client import Operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import ROOT, Product

EXAMPLE: str = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/catalogue.md").read_text(), re.DOTALL)[0]


@pytest.fixture(scope="module")
def file(upstream: Upstream) -> str:
    return EXAMPLE.replace("https://api.alpha.example/v1", upstream.base_url)


def rows_of(product: Product) -> list[Any]:
    tables = ("providers", "endpoints", "prices", "audit", "idempotency")
    return [product.database.value(f"SELECT count(*) FROM {table}") for table in tables]


def test_a_file_is_planned_rehearsed_applied_once_and_exported(
    product: Product, ops: Operator, finance: Operator, file: str
) -> None:
    before = rows_of(product)
    planned = ops("POST", "/manifest:plan", {"file": file})
    assert planned["something_to_do"]
    assert any(line.startswith("+ provider alpha") for line in planned["lines"])
    assert {step["verb"] for step in planned["steps"]} >= {"create"}
    dry = ops.ask("POST", "/manifest:apply?dry_run=1", {"file": file}, idempotency_key="m-1")
    assert (dry.status_code, dry.headers["x-gigarouter-dry-run"]) == (200, "true")
    # Prices count from the moment of each rehearsal.
    assert dry.json() | {"margins": [], "lines": []} == planned | {"margins": [], "lines": []}
    assert rows_of(product) == before

    applied = ops.ask("POST", "/manifest:apply", {"file": file}, idempotency_key="m-1")
    assert applied.status_code == 200, applied.text
    assert applied.json()["lines"][-1].endswith("made.")
    assert any("WAITS" in line for line in applied.json()["lines"])
    after = rows_of(product)
    assert after != before
    again = ops.ask("POST", "/manifest:apply", {"file": file}, idempotency_key="m-1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (applied.json(), "true")
    assert rows_of(product) == after
    other = ops("POST", "/manifest:apply", {"file": f"{file}\n"}, 422, idempotency_key="m-1")
    assert other["error"]["code"] == "idempotency_mismatch"
    row = ops("GET", "/audit?subject=catalogue")["data"][0]
    assert (row["action"], row["actor"]) == ("catalogue.apply", ops.member)

    # What changes nothing is answered the same again, too.
    nothing = ops.ask("POST", "/manifest:apply", {"file": file}, idempotency_key="m-2")
    assert not nothing.json()["steps"]
    repeated = ops.ask("POST", "/manifest:apply", {"file": file}, idempotency_key="m-2")
    assert (repeated.json(), repeated.headers["idempotency-replayed"]) == (nothing.json(), "true")

    exported = finance.ask("GET", "/manifest:export")
    assert exported.headers["content-type"].startswith("text/yaml")
    assert "alpha" in exported.text
    assert ops("POST", "/manifest:plan", {"file": exported.text})["steps"] == []


def test_what_was_changed_elsewhere_is_decided_by_its_path(ops: Operator, file: str) -> None:
    ops("POST", "/manifest:apply", {"file": file})
    (endpoint,) = [one for one in ops("GET", "/endpoints?limit=100")["data"] if one["provider_name"] == "alpha"]
    ops.edit(f"/endpoints/{endpoint['id']}", {"priority": 7})
    changed = re.sub(r"(upstream_model: .*\n)", r"\1    priority: 9\n", file, count=1)
    assert changed != file
    planned = ops("POST", "/manifest:plan", {"file": changed})
    (conflict,) = planned["conflicts"]
    refused = ops("POST", "/manifest:apply", {"file": changed}, 409)["error"]["message"]
    assert "take_file or take_theirs" in refused
    assert "--" not in refused
    kept = ops("POST", "/manifest:apply", {"file": changed, "take_theirs": [conflict["path"]]})
    assert [drift["path"] for drift in kept["kept"]] == [conflict["path"]]
    assert ops("GET", f"/endpoints/{endpoint['id']}")["priority"] == 7
    # The file says something else: that holds, unless it was changed elsewhere once more.
    assert ops("POST", "/manifest:apply", {"file": changed.replace("priority: 9", "priority: 10")})["conflicts"] == []
    ops.edit(f"/endpoints/{endpoint['id']}", {"priority": 7})
    again = changed.replace("priority: 9", "priority: 11")
    ops("POST", "/manifest:apply", {"file": again}, 409)
    ops("POST", "/manifest:apply", {"file": again, "take_file": [conflict["path"]]})
    assert ops("GET", f"/endpoints/{endpoint['id']}")["priority"] == 11


def test_all_faults_of_a_file_are_told_at_once_and_nothing_is_changed(product: Product, ops: Operator) -> None:
    text = "providers:\n  - name: alpha\n    kind: opnai\nprices:\n  - model: a/b\n    usd_per_mtok: 1e-3\n"
    before = rows_of(product)
    for operation in ("plan", "apply"):
        error = ops("POST", f"/manifest:{operation}", {"file": text}, 400)["error"]
        assert error["param"] == "file"
        assert [(fault["line"], fault["param"]) for fault in error["details"]["faults"]] == [
            (3, "providers[0].kind"),
            (6, "prices[0].usd_per_mtok"),
        ]
        # One that can be read and names what is not there.
        unknown = "endpoints:\n  - model: a/nobody\n    provider: nobody\n    upstream_model: m\n"
        error = ops("POST", f"/manifest:{operation}", {"file": unknown}, 400)["error"]
        assert error["details"]["faults"][0]["line"] == 2
    assert rows_of(product) == before
    metadata = "providers:\n  - name: evil\n    kind: openai\n    base_url: http://169.254.169.254/v1\n"
    assert "must not be reached" in str(ops("POST", "/manifest:plan", {"file": metadata})["refused"])
    assert "must not be reached" in ops("POST", "/manifest:apply", {"file": metadata}, 400)["error"]["message"]


def test_a_file_is_at_most_a_mebibyte(ops: Operator) -> None:
    ops("POST", "/manifest:plan", {"file": "#" * 2**20}, 413)


def test_litellms_price_map_is_imported_over_http(product: Product, ops: Operator) -> None:
    before = rows_of(product)
    dry = ops("POST", "/manifest:import-litellm?dry_run=1")
    assert (dry["in_the_map"], dry["endpoints"], dry["providers"]) == (151, 121, 25)
    assert any(line.startswith("+ endpoint openai/text-embedding-3-small") for line in dry["lines"])
    assert rows_of(product) == before
    done = ops("POST", "/manifest:import-litellm", idempotency_key="l-1")
    assert done["changes"] == dry["changes"]
    assert ops("POST", "/manifest:import-litellm", idempotency_key="l-1") == done
    again = ops("POST", "/manifest:import-litellm")
    assert (again["changes"], again["kept_as_operators_left_them"]) == ({}, 0)
