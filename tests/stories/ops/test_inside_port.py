"""What is inside stays inside: `/admin` and `/metrics` have a port of their own; the customers' port has neither.

The customers' port is reached as by a proxy that sends neither X-Forwarded-For nor Forwarded: from the loopback, with
no header that tells of a proxy.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import httpx
import pytest
from typer.testing import CliRunner

from gigarouter import settings
from gigarouter.commands.admin import app as admin_app
from gigarouter.ports import require_free_port
from router.api.app import Audience, operations_for
from router.api.operation import OperationSpec, operation_routes
from store.faults import CannotStart
from tests.harness.admin_client import Operator, admin_command
from tests.harness.processes import ROOT, Process, Product

VOLATILE = re.compile(r"req_[0-9a-f]{32}")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NOWHERE = "/nothing/is/here"


def specs(audience: Audience) -> list[OperationSpec]:
    return [route.spec for routes in operations_for(audience) for route in operation_routes(routes.routes)]


def only_inside() -> list[str]:
    """The paths of all operations that customers do not have, with something for each place."""
    customers = {spec.path for spec in specs(Audience.CUSTOMERS)}
    paths = {spec.path for spec in specs(Audience.INSIDE)} - customers
    return sorted(re.sub(r"{\w+(:path)?}", "x", path) for path in paths)


def as_seen(
    client: httpx.Client, serve: Process, method: str, path: str, key: str | None = None
) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers, without what differs from call to call and without the path that was called."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = client.request(method, serve.url + path, headers=headers)
    kept = {name: value for name, value in answer.headers.items() if name not in ("date", "openai-processing-ms")}
    del kept["x-request-id"]
    kept.pop("content-length", None)
    return answer.status_code, VOLATILE.sub("req_", answer.text).replace(path, "PATH"), kept


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as made:
        yield made


def test_the_customers_port_says_of_each_operation_inside_what_it_says_of_any_path_that_is_none(
    product: Product, ops: Operator, client: httpx.Client
) -> None:
    seen = partial(as_seen, client, product.serves[0])
    paths = only_inside()
    assert {"/metrics", "/admin/openapi.json", "/admin/v1/accounts", "/admin/v1/usage"} <= set(paths)
    for method in METHODS:
        for path in paths:
            for spelled in (path, f"{path}/", path.upper(), f"/{path}") if method == "GET" else (path,):
                # A path may end as an operation of the customers' does, and is then told of that one.
                nothing = seen(method, re.sub("(?i)admin|metrics", "nothing", spelled))
                assert nothing[0] == 404
                assert seen(method, spelled) == nothing, (method, spelled)
    for method, path in (("GET", "/admin/v1/accounts"), ("POST", "/admin/v1/accounts"), ("GET", "/metrics")):
        assert seen(method, path, ops.key) == seen(method, NOWHERE, ops.key), "with a good key, too"
    document = client.get(f"{product.serves[0].url}/openapi.json").json()
    assert not [path for path in document["paths"] if path.startswith(("/admin", "/metrics"))]


def test_the_inside_port_has_metrics_and_admin_and_nothing_that_costs_money(product: Product, ops: Operator) -> None:
    serve = product.serves[0]
    assert "gigarouter_charged_nano_usd" in httpx.get(f"{serve.admin_url}/metrics").text
    assert httpx.get(f"{serve.admin_url}/metrics", headers={"x-forwarded-for": "1.2.3.4"}).status_code == 404
    assert ops("GET", "/accounts")["data"] == []
    assert "/metrics" in httpx.get(f"{serve.admin_url}/admin/openapi.json").json()["paths"]
    for path in ("/ready", "/health"):
        assert httpx.get(serve.admin_url + path).status_code == httpx.get(serve.url + path).status_code == 200
    for path in ("/v1/embeddings", "/v1/models", "/v1/account", "/openapi.json"):
        assert httpx.post(serve.admin_url + path).status_code == 404, path


def test_a_wrong_path_on_the_inside_port_is_told_what_is_there(product: Product) -> None:
    url = product.serves[0].admin_url
    for path, words in {
        "/nothing": "GET /admin/openapi.json lists them",
        "/v1/embeddings": "on their port, GIGAROUTER_PORT",
        "/openai/models": "on their port, GIGAROUTER_PORT",
        "/accounts": "it is GET /admin/v1/accounts",
        "/v1/accounts": "it is GET /admin/v1/accounts",
    }.items():
        answer = httpx.get(url + path)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (404, True), answer.text
    assert httpx.get(f"{url}/admin/openapi.json").status_code == 200


def test_the_command_line_at_the_customers_address_says_which_one_is_meant(product: Product, ops: Operator) -> None:
    environment = product.environment | {"GIGAROUTER_OPERATOR_KEY": ops.key, "GIGAROUTER_URL": ops.url}
    assert admin_command(environment, "accounts", "list")["data"] == []
    result = CliRunner().invoke(admin_app, ["accounts", "show", "none"], env=environment)
    assert result.output == "There is no account none.\n"
    result = CliRunner().invoke(
        admin_app, ["accounts", "list"], env=environment | {"GIGAROUTER_URL": product.serves[0].url}
    )
    assert (result.exit_code, "GIGAROUTER_ADMIN_PORT" in result.output) == (1, True), result.output


@pytest.fixture
def started(product: Product) -> Iterator[list[Process]]:
    """Processes that a test adds to the product, ended after it."""
    added: list[Process] = []
    yield added
    for process in added:
        process.stop()


def a_serve(product: Product, name: str, **ports: int) -> Process:
    environment = product.environment | {f"GIGAROUTER_{field.upper()}": str(port) for field, port in ports.items()}
    port = ports["port"]
    return Process(
        name, ["gigarouter", "serve"], environment, product.folder, port, ports.get("admin_port", port + 1000)
    )


def test_several_processes_of_one_host_are_scraped_each_at_a_thousand_above_its_port(
    product: Product, started: list[Process]
) -> None:
    first = two_free_ports()
    started += [a_serve(product, f"neighbour-{port}", port=port) for port in (first, first + 1)]
    for serve in started:
        serve.start()
    for serve in started:
        serve.wait_until_ready()
        assert "gigarouter_ready 1.0" in httpx.get(f"{serve.admin_url}/metrics").text
        assert httpx.get(f"{serve.url}/metrics").status_code == 404


def two_free_ports() -> int:
    """A free port with a free neighbour, and both a thousand above, below those that the kernel hands out."""
    for port in range(20_000, 21_000, 2):
        with suppress(CannotStart):
            for other in (port, port + 1, port + 1000, port + 1001):
                require_free_port("127.0.0.1", other, "another")
            return port
    raise AssertionError("no ports are free")


def test_on_one_port_only_when_asked_and_then_not_for_those_behind_a_proxy(
    product: Product, started: list[Process], ops: Operator
) -> None:
    port = two_free_ports()
    serve = a_serve(product, "shared", port=port, admin_port=port)
    started.append(serve)
    serve.start()
    serve.wait_until_ready()
    assert Operator(serve.url, ops.key)("GET", "/accounts")["data"] == []
    assert httpx.get(f"{serve.url}/metrics").status_code == 200
    assert httpx.get(f"{serve.url}/metrics", headers={"forwarded": "for=1.2.3.4"}).status_code == 404


def test_an_inside_port_that_is_taken_or_contradicted_ends_the_start_with_one_sentence(product: Product) -> None:
    taken = {"GIGAROUTER_PORT": str(two_free_ports()), "GIGAROUTER_ADMIN_PORT": str(product.serves[0].admin_port)}
    assert "set GIGAROUTER_ADMIN_PORT to another one." in refusal(product, taken)
    both = {"GIGAROUTER_PORT": "18080", "GIGAROUTER_ADMIN_PORT": "18080"}
    hosts = {"GIGAROUTER_HOST": "0.0.0.0", "GIGAROUTER_ADMIN_HOST": "127.0.0.1"}
    assert "leave out GIGAROUTER_ADMIN_HOST" in refusal(product, both | hosts)


def refusal(product: Product, environment: dict[str, str]) -> str:
    """What a `serve` says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "gigarouter", "serve"],
        cwd=ROOT,
        env=product.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(("port", "admin_port"), [(8080, 9080), (64_535, 65_535), (64_536, 63_536), (65_535, 64_535)])
def test_the_usual_inside_port_is_never_the_customers(port: int, admin_port: int) -> None:
    assert settings.load(port=port).admin_port == admin_port
