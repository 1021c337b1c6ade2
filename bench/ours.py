"""The product as a target: one ``serve`` with everything on, ``jobs``, Postgres and Redis, all on the same core."""

from pathlib import Path

from bench import upstream as stub
from bench.machine import SYSTEM_CORE, on_core
from bench.targets import Running, Unavailable, first_answer, request_body
from bench.upstream import Upstream
from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.harness.processes import Product

MODEL = "bench/model"
CREDIT_NANO = 1_000_000_000_000_000


class Ours:
    """``gigarouter serve`` in one of its two durabilities."""

    def __init__(self, durability: str) -> None:
        self.name = f"ours-{durability}"
        self.durability = durability

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        """Stores first; the cold start is the serve's own."""
        servers = Embedded(folder / "stores")
        with on_core(SYSTEM_CORE):
            servers.start()
        product: Product | None = None
        try:
            migrate(servers.database_url)
            settings = {"durability": self.durability, "log_level": "warning"}
            product = Product(folder, servers.database_url, servers.redis_url, settings=settings)
            key = self._set_up(product, upstream)
            with on_core(SYSTEM_CORE):
                for process in product.processes:
                    process.start()
            headers = {"authorization": f"Bearer {key}"}
            body = request_body(MODEL, encoding)
            cold_start_s = first_answer(product.url + "/embeddings", headers, body)
        except BaseException:
            if product is not None:
                product.stop()
            servers.stop()
            raise
        return self._running(servers, product, headers, body, cold_start_s)

    def _set_up(self, product: Product, upstream: Upstream) -> str:
        """We ask the provider for base64 whatever our caller wants, as we do in production."""
        database = product.database
        model = database.a_model(MODEL, dimensions=stub.DIMENSIONS)
        database.an_endpoint(model, upstream.url("base64"))
        return database.a_key(database.an_account(CREDIT_NANO))

    def _running(
        self,
        servers: Embedded,
        product: Product,
        headers: dict[str, str],
        body: dict[str, object],
        cold_start_s: float,
    ) -> Running:
        stores = [servers.postgres.pid, servers.redis.pid]
        if None in stores:
            raise Unavailable("a store of ours ended")

        def stop() -> None:
            product.stop()
            servers.stop()

        return Running(
            self.name,
            product.url + "/embeddings",
            headers,
            body,
            [process.pid for process in product.processes] + [pid for pid in stores if pid],
            [serve.pid for serve in product.serves],
            cold_start_s,
            stop,
        )
