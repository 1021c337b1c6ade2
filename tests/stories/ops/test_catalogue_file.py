"""A provider from a file to a paid call, and what the next change of its price would mean for whom."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from typer.testing import CliRunner, Result

from gigarouter.commands.admin import app
from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import ROOT, Product

EXAMPLE = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/catalogue.md").read_text(), re.DOTALL)[0]
MODEL = "acme/embed-1"


class Admin:
    """``gigarouter admin …`` as typed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __call__(self, *arguments: str, exits: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin, env=self._environment)
        assert result.exit_code == exits, f"{arguments}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self(*arguments, stdin=stdin).stdout)

    def lines(self, *arguments: str, stdin: str | None = None) -> str:
        """What a plan says to people."""
        return "\n".join(self.json("manifest", *arguments, stdin=stdin)["lines"])


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(384).in_thread() as running:
        yield running


def test_from_a_file_to_a_paid_call_and_a_plan_that_names_its_customers(
    servers: Embedded, database_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path, database_url, servers.redis_url, jobs=False)
    admin = Admin({name: value for name, value in product.environment.items() if "GIGAROUTER" in name or "URL" in name})
    file = tmp_path / "catalogue.yaml"
    file.write_text(EXAMPLE.replace("https://api.alpha.example/v1", upstream.base_url))
    with product:
        assert "+ provider alpha" in admin.lines("plan", str(file))
        assert admin.json("manifest", "plan", str(file))["something_to_do"]
        assert "WAITS" in admin.lines("apply", str(file))
        admin("providers", "edit", "alpha", "--credential-file", "-", stdin="sk-alpha-0123456789abcdef")
        (endpoint,) = admin.json("endpoints", "list")["data"]
        assert (
            admin.json("endpoints", "activate", endpoint["id"], "--as-reference", "the maker's own service")["state"]
            == "live"
        )
        assert "goes live" in admin.lines("apply", str(file))
        assert admin.lines("plan", str(file)) == "Nothing to do."

        admin("accounts", "create", "Acme")
        admin("grants", "create", "Acme", "25.00", "--source", "welcome")
        key = admin.json("keys", "create", "Acme", "--name", "ingest")["key"]
        product.wait_until_known(key)
        client = openai.OpenAI(base_url=product.url, api_key=key, max_retries=3)
        assert len(client.embeddings.create(model=MODEL, input="Hello, world").data[0].embedding) == 384

        dearer = file.with_name("dearer.yaml")
        dearer.write_text(file.read_text().replace("usd_per_mtok: 0.010", "usd_per_mtok: 0.020"))
        told = admin.lines("plan", str(dearer))
        assert "acme/embed-1: 1 account, 1 calls, " in told
        assert "margin 0.006 -> 0.016 (80.0%)" in told
        planned = admin.json("manifest", "plan", str(dearer))
        assert planned["customers_last_30_days"][0]["accounts"] == 1
        assert float(planned["customers_last_30_days"][0]["charged_usd"]) > 0

        exported = file.with_name("exported.yaml")
        exported.write_text(admin("manifest", "export").stdout)
        assert "sk-alpha" not in exported.read_text()
        assert admin.lines("plan", str(exported)) == "Nothing to do."


def test_a_file_that_cannot_be_is_told_line_by_line_and_changes_nothing(database_url: str, tmp_path: Path) -> None:
    admin = Admin({"DATABASE_URL": database_url})
    file = tmp_path / "catalogue.yaml"
    file.write_text("providers:\n  - name: alpha\n    kind: opnai\nprices:\n  - model: a/b\n    usd_per_mtok: 1e-3\n")
    refused = admin("manifest", "apply", str(file), exits=2)
    assert re.findall(r"line \d+, [\w.\[\]]+", refused.stderr) == [
        "line 3, providers[0].kind",
        "line 6, prices[0].usd_per_mtok",
    ]
    assert admin.json("audit", "list")["data"] == []
    # No provider may be reached at an address that is not allowed, whoever registers it.
    file.write_text("providers:\n  - name: alpha\n    kind: openai\n    base_url: http://169.254.169.254/v1\n")
    assert "must not be reached" in admin.lines("plan", str(file))
    admin("manifest", "apply", str(file), exits=2)
    assert admin.json("providers", "list")["data"] == []


def test_one_command_imports_the_price_map_of_litellm(database_url: str) -> None:
    admin = Admin({"DATABASE_URL": database_url})
    shown = admin.lines("import-litellm", "--dry-run")
    assert (
        "+ endpoint openai/text-embedding-3-small at openai as text-embedding-3-small: cost_usd_per_mtok 0.02" in shown
    )
    assert admin.json("audit", "list")["data"] == []
    report = admin.json("manifest", "import-litellm")
    assert (report["in_the_map"], report["endpoints"], report["providers"]) == (151, 121, 25)
    assert report["models"] + report["models_that_were_there"] == 93
    again = admin.json("manifest", "import-litellm")
    assert (again["changes"], again["kept_as_operators_left_them"]) == ({}, 0)
    exported = admin("manifest", "export").stdout
    assert admin.lines("plan", "-", stdin=exported) == "Nothing to do."
