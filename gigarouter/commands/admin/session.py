"""One admin command: connect, do it, tell what went wrong in one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not allowed, 4 not found, 5 no credit, 6 a limit, 7 a provider failed.
"""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar
from uuid import UUID

import asyncpg
import typer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import Account, find_account, get_account
from billing.money import NanoUSD, from_usd
from catalog.errors import CatalogError, ModelUnknown
from gigarouter import settings
from router import errors
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.registry.encryption import CredentialCipher
from store.faults import CannotStart
from store.ids import AccountId, parse
from store.postgres import CONNECTION_LOST, Database

T = TypeVar("T")

FAILED, USAGE, NOT_ALLOWED, NOT_FOUND, NO_CREDIT, LIMITED, PROVIDER_FAILED = 1, 2, 3, 4, 5, 6, 7
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.NotFound, NOT_FOUND),
    (ModelUnknown, NOT_FOUND),
    (errors.InvalidRequest, USAGE),
    (errors.OutOfCredit, NO_CREDIT),
    (errors.LimitExceeded, LIMITED),
    (errors.Unauthenticated, NOT_ALLOWED),
    (errors.NotAllowed, NOT_ALLOWED),
)
UNDEFINED_TABLE = "42P01"


def read(question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Ask the database something."""

    async def ask(db: Database) -> T:
        async with db.transaction() as connection:
            return await question(connection)

    return run(ask)


def write(command: Callable[[UnitOfWork], Awaitable[T]], *, dry_run: bool = False) -> T:
    """Change something, as this operating-system user."""
    return run(lambda db: transact(db, actor(), command, dry_run=dry_run))


def run(job: Callable[[Database], Awaitable[T]]) -> T:
    """Run a job with the database, and end the command with a sentence and a code where it fails."""
    try:
        url = settings.load_local().require_database_url()
        return asyncio.run(_with_database(url, job))
    except (errors.Refusal, CatalogError) as refusal:
        fail(refusal.message, next((code for kind, code in EXIT_CODES if isinstance(refusal, kind)), FAILED))
    except CannotStart as fault:
        fail(str(fault))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == UNDEFINED_TABLE:
            fail("The database has no tables of this release: run `gigarouter migrate`.")
        if not error.connection_invalidated:
            raise
        fail("Postgres went away. What was asked for is done as a whole or not at all; look, then run it again.")
    except (SQLAlchemyError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
        fail(f"Postgres cannot be reached: {error}. `gigarouter doctor` looks further.")


async def _with_database(url: str, job: Callable[[Database], Awaitable[T]]) -> T:
    db = Database(url, pool_size=1)
    try:
        return await job(db)
    finally:
        await db.close()


def fail(message: str, code: int = FAILED) -> NoReturn:
    """One sentence on stderr, and the end of the command."""
    typer.secho(message, err=True, fg="red")
    raise typer.Exit(code)


def actor() -> Actor:
    """Who types: the operating system's name of this user."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        name = str(os.getuid())
    return Actor(f"cli:{name}")


def cipher() -> CredentialCipher | None:
    """What seals credentials; None where no secret key is set."""
    keys = settings.load_local().secret_keys
    return CredentialCipher([key.get_secret_value() for key in keys]) if keys else None


def id_of(kind: object, text: str) -> UUID:
    """An id on the wire, as typed."""
    try:
        return parse(kind, text)
    except ValueError as error:
        fail(str(error), USAGE)


def usd(text: str) -> NanoUSD:
    """An amount as people type it: 25.00."""
    try:
        return from_usd(text)
    except ValueError as error:
        fail(str(error), USAGE)


async def account_of(connection: AsyncConnection, text: str) -> Account:
    """An account by its id or its name. Raises ``NotFound``."""
    account = None
    if text.startswith("acct_"):
        account = await get_account(connection, AccountId(id_of(AccountId, text)))
    account = account or await find_account(connection, text)
    if account is None:
        raise errors.NotFound(f"There is no account {text!r}. `gigarouter admin accounts list` lists them.")
    return account
