"""Deploys the engine on many devices and machines, as a Ray Serve application: Ray places, scales and restarts.

``Replica`` is one engine on one device. ``Front`` takes HTTP and hands each request to the replica with the shortest
queue; a request whose replica died goes to another one, since nothing of it was delivered. The number of replicas
follows the number of requests that wait.
"""

import asyncio
import logging
import signal
import threading

import ray
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from providers.worker.errors import StartRefused
from providers.worker.options import Options
from providers.worker.server.app import App, Reply, error_reply
from providers.worker.server.loading import BODY, RETRY_AFTER_S
from providers.worker.server.operations import Operations
from providers.worker.start import build_engine, load

logger = logging.getLogger("gigarouter.worker")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
APPLICATION = "gigarouter-worker"
# Replicas that one request may lose before its caller gets a 503.
ATTEMPTS_MAX = 4
# Requests in one replica's engine; more wait in the front, and what the front does not take is refused at once.
ONGOING_MAX = 64
WAITING_PER_REPLICA_MAX = 256
# A replica is added when more than this many requests per replica are under way or wait.
ONGOING_TARGET = 4
DRAIN_S = 30
# While no replica is known to live, each request first asks one for its health, which takes a live one milliseconds.
HEALTH_WITHIN_S = 1.0
QUIET = {"enable_access_log": False}


class Replica:
    """One engine on one device."""

    async def __init__(self, options: Options) -> None:  # type: ignore[misc]  # Ray awaits it
        self._engine, self._watchdog = build_engine(await asyncio.to_thread(load, options))
        self._operations = Operations(self._engine)
        self._engine.start()
        self._watchdog.start()

    async def answer(self, verb: str, path: str, body: bytes) -> Reply:
        """Answer one request; a canceled one leaves the queue."""
        return await self._operations.answer(verb, path, body)

    def check_health(self) -> None:
        """Raise where the device has failed: Ray then restarts the replica."""
        if self._engine.broken.is_set():
            raise RuntimeError("the device has failed")


class Front:
    """The HTTP server in front of the replicas."""

    def __init__(self, replicas: DeploymentHandle[Replica]) -> None:
        self._replicas = replicas
        self._replica_seen = False

    def __serve_build_asgi_app__(self) -> App:
        """The ASGI application; Ray calls this name."""
        return App(self.answer)

    async def answer(self, verb: str, path: str, body: bytes) -> Reply:
        """The reply of a replica; before the first one lives, the reply that the model is being loaded."""
        if not (self._replica_seen or await self._has_replica()):
            return Reply(503, BODY, headers=[(b"retry-after", b"%d" % RETRY_AFTER_S)])
        for _ in range(ATTEMPTS_MAX):
            response = self._replicas.answer.remote(verb, path, body)
            try:
                reply: Reply = await response
            except asyncio.CancelledError:
                response.cancel()  # type: ignore[no-untyped-call]
                raise
            except RayActorError as died:
                self._replica_seen = False
                logger.warning("a replica died with a request; another one gets it: %s", type(died).__name__)
                continue
            except (BackPressureError, DeploymentUnavailableError):
                break
            return reply
        return error_reply(
            503, "No replica has room for this request now.", "overloaded", headers=[(b"retry-after", b"1")]
        )

    async def _has_replica(self) -> bool:
        """Whether a replica answers: Ray would let a request wait for the first one, however long it takes to load."""
        health = self._replicas.answer.remote("GET", "/health", b"")
        try:
            async with asyncio.timeout(HEALTH_WITHIN_S):
                await health
        except TimeoutError:
            health.cancel()  # type: ignore[no-untyped-call]
            return False
        except RayActorError:
            # One died a moment ago: others may live, and the request finds out.
            return True
        except (BackPressureError, DeploymentUnavailableError):
            return False
        except asyncio.CancelledError:
            health.cancel()  # type: ignore[no-untyped-call]
            raise
        self._replica_seen = True
        return True


def application(options: Options) -> serve.Application:
    """The Serve application, with as many replicas as the load needs, between the two bounds."""
    replicas = serve.deployment(
        name="Replica",
        max_ongoing_requests=ONGOING_MAX,
        max_queued_requests=WAITING_PER_REPLICA_MAX * options.replicas_max,
        autoscaling_config={
            "min_replicas": options.replicas_min,
            "initial_replicas": options.replicas_min,
            "max_replicas": options.replicas_max,
            "target_ongoing_requests": ONGOING_TARGET,
        },
        ray_actor_options={"num_cpus": options.replica_cpus, "num_gpus": options.replica_gpus},
        health_check_period_s=5,
        graceful_shutdown_timeout_s=DRAIN_S,
        logging_config=QUIET,
    )(Replica)
    front = serve.deployment(
        name="Front",
        max_ongoing_requests=WAITING_PER_REPLICA_MAX * options.replicas_max,
        ray_actor_options={"num_cpus": 0},
        logging_config=QUIET,
    )(serve.ingress()(Front))
    return front.bind(replicas.bind(options))


def deploy(options: Options) -> None:
    """Start the application on ``options.ray_address``, or on a cluster of this machine alone. Raises StartRefused."""
    ray.init(address=options.ray_address, include_dashboard=False, ignore_reinit_error=True, log_to_driver=True)
    serve.start(http_options={"host": options.host, "port": options.port})
    # After Ray's own handlers, which would end the process at once and leave the cluster.
    for number in STOP_SIGNALS:
        signal.signal(number, _stop_while_starting)
    try:
        serve.run(application(options), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        serve.shutdown()  # type: ignore[no-untyped-call]
        raise StartRefused(f"The replicas cannot start: {str(error).splitlines()[0]}") from None
    except SystemExit:
        _shut_down()
        raise


def _stop_while_starting(*_: object) -> None:
    """End the process while replicas start, which answer long before all of them do."""
    raise SystemExit(0)


def _shut_down() -> None:
    logger.info("draining")
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def run(options: Options) -> int:
    """Deploy, then serve until SIGTERM or SIGINT."""
    stop = threading.Event()
    deploy(options)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    logger.info("serving on http://%s:%d with Ray", options.host, options.port)
    stop.wait()
    _shut_down()
    return 0
