"""Through the admin API: who edits where a provider is learns whose traffic that ends."""

from pathlib import Path

from store.embedded import Embedded
from tests.harness.admin_client import admin_command, an_operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def test_another_address_of_a_provider_ends_its_traffic_and_the_answer_says_so(
    servers: Embedded, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    product = Product(tmp_path, database_url, redis_url, jobs=False)
    with Upstream(384).in_thread() as upstream, product:
        admin_command(product.environment, "models", "import")
        ops = an_operator(product.environment, product.serves[0].admin_url, "ops")
        provider = ops("POST", "/providers", {"name": "moving", "kind": "openai", "base_url": upstream.base_url}, 201)
        endpoint = ops("POST", "/endpoints", {"model": MODEL, "provider": provider["id"]}, 201)
        test, path = f"/endpoints/{endpoint['id']}/test", f"/providers/{provider['id']}"
        tested = ops("POST", test, {"as_reference": "the maker's own service", "activate": True})
        assert (tested["state"], tested["became_reference"]) == ("live", True)

        assert ops.edit(path, {"regions": ["eu"]})["unproven"] == []
        edited = ops.edit(path, {"base_url": f"{upstream.base_url}/other"})
        assert edited["unproven"] == [endpoint["id"]]
        now = ops("GET", f"/endpoints/{endpoint['id']}")
        assert now["state"] == "quarantined"
        assert "base_url of moving changed" in now["reason"]
        assert ops("POST", test, {"replace": True}, 400)["error"]["param"] == "replace"
