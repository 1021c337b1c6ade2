"""The commands of `gigarouter`, one module per noun: a function ``command``, or a Typer ``app`` of several.

Only the module of the requested command is imported: help is instant, `worker` runs without the broker's dependencies
installed, and the broker without the worker's.
"""

import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import NoReturn

import typer

from gigarouter import __version__
from store.faults import CannotStart

COMMANDS = {
    "up": "Run everything on this machine: PostgreSQL, Redis, API, jobs, worker, a demo account.",
    "serve": "Run the API.",
    "web": "Run the pages.",
    "jobs": "Run the background jobs.",
    "worker": "Run the in-house embedding worker.",
    "migrate": "Bring the database schema up to date.",
    "admin": "Accounts, keys, credit, providers, endpoints, prices, models, usage.",
    "finance": "What finance types: invoices, payments, refunds, close, exports, books.",
    "config": "Show and check the settings.",
    "doctor": "Check settings, servers and processes, and say what to do.",
    "ledger": "Put closed months of the ledger away in files, and verify them.",
    "verify-receipt": "Prove that a call is in an invoice, offline.",
    "embed": "Print the vectors of a few texts, as the API answers them.",
    "login": "Get a management key for this machine, approved in a browser.",
    "logout": "End the key of this machine.",
    "whoami": "Show who the key of this machine is.",
}
# A customer's, by URL and key: the nouns of gigarouter.commands.account, which a test compares.
ACCOUNT_COMMANDS = {
    "account": "Balance, what is held; close the account.",
    "keys": "API keys: make, edit, pause, rotate, revoke.",
    "management-keys": "Keys that administer the account.",
    "key-policy": "How long a new key may work; owners set it.",
    "principal": "Who a key is, and what it may.",
    "usage": "Calls, tokens and money, by key, model, day or month.",
    "requests": "The log of calls, and why each went where it did.",
    "models": "The catalogue, votes, mail at launch.",
    "model-changes": "What changed in the catalogue.",
    "members": "People of the account.",
    "invitations": "Invitations of people to the account.",
    "licenses": "What licenses permit; accept one.",
    "acceptances": "Licenses that the account accepted.",
    "caps": "The most that all keys together may spend.",
    "budgets": "Amounts that alert and never refuse.",
    "alerts": "What caps and budgets have raised.",
    "webhooks": "Where events are sent.",
    "audit": "Who changed what in the account.",
    "exports": "Archives of all that the account has.",
    "me": "Who you are, and in which accounts.",
    "sessions": "Browsers in which you are signed in.",
    "passkeys": "Your passkeys.",
    "own-accounts": "Open an account of your own.",
    "own-invitations": "Invitations of accounts to you: accept, decline.",
    "own-identities": "Services that sign you in.",
    "grants": "Credit in the order of spending.",
    "movements": "What changed the balance.",
    "topups": "Credit that was ordered.",
    "refunds": "Credit that was paid back.",
    "recharge": "Credit that is bought by itself.",
    "portal": "A link to the billing portal.",
    "contracts": "What was agreed.",
    "billing-profiles": "Who pays.",
    "documents": "Invoices and statements.",
}
ACCOUNT_PANEL = "Your account, by URL and key"
EXIT_FAILED = 1
# As a shell reports it.
SIGNALED = 128
WORKER_PACKAGES = frozenset({"torch", "transformers", "safetensors", "tokenizers"})
FINANCE_PACKAGES = frozenset({"facturx", "lxml", "pyarrow", "saxonche", "stripe", "typst"})
OURS = frozenset({"gigarouter", "web", "router", "billing", "providers", "catalog", "mail", "store"})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the console script. Exits with 0, with 1 and a sentence where it cannot start, with 2 for bad usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _end_on_signals()
    try:
        with _uncollected():
            app = _app(arguments[0] if arguments else "")
        app(args=arguments, prog_name="gigarouter")
    except CannotStart as fault:
        _fail(str(fault))
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in OURS:
            raise  # a bug
        extra = "'.[worker]'" if package in WORKER_PACKAGES else "'.[finance]'" if package in FINANCE_PACKAGES else "."
        _fail(f"{package} is not installed, and this command needs it: `pip install {extra}` installs it.")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import without garbage collection, and leave what was imported out of it for good.

    Modules live as long as the process. Collections during its imports cost `serve` a quarter of them: 0.45 s of 1.8 s.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _end_on_signals() -> None:
    """End on SIGINT and SIGTERM from the first moment on, whatever was inherited.

    A shell starts background jobs with SIGINT ignored, a supervisor may have blocked both, and the kernel keeps SIGTERM
    from a container's first process that does not handle it. Commands that end in order take the signals over.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one finds no clean-up to disturb
    raise SystemExit(SIGNALED + number)


def _fail(sentence: str) -> NoReturn:
    typer.secho(f"gigarouter: {sentence}", err=True, fg="red")
    raise SystemExit(EXIT_FAILED) from None


def _app(requested: str) -> typer.Typer:
    """All commands listed, with only the requested one imported."""
    app = typer.Typer(
        help="A multi-provider routing and billing broker for text embeddings.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # its tracebacks print local variables, keys among them
    )
    app.callback()(_options)
    for name, sentence in COMMANDS.items():
        module = f"gigarouter.commands.{name.replace('-', '_')}"
        if name == requested:
            _add(app, name, sentence, import_module(module))
        elif find_spec(module) is not None:
            app.command(name, help=sentence)(_not_imported)
    for name, sentence in ACCOUNT_COMMANDS.items():
        if name == requested:
            group = import_module("gigarouter.commands.account").app_of(name)
            app.add_typer(group, name=name, help=sentence, rich_help_panel=ACCOUNT_PANEL)
        else:
            app.command(name, help=sentence, rich_help_panel=ACCOUNT_PANEL)(_not_imported)
    return app


def _add(app: typer.Typer, name: str, sentence: str, module: ModuleType) -> None:
    if hasattr(module, "command"):
        app.command(name, help=sentence, context_settings=getattr(module, "CONTEXT", None))(module.command)
    else:
        app.add_typer(module.app, name=name, help=sentence)


def _print_version(is_set: bool) -> None:
    if is_set:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    _: bool = typer.Option(False, "--version", help="Print the version and exit.", callback=_print_version),
) -> None:
    """No option does anything but this one."""


def _not_imported() -> None:
    raise AssertionError("a command that was not imported cannot run; this is a bug")
