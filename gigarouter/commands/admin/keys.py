"""`gigarouter admin keys`. The key itself is printed once, by `create` and `rotate`."""

from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.values import Cap, CapPeriod, Limits
from catalog import models
from catalog.values import Use
from gigarouter.commands.admin.instants import instant_of
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import account_of, id_of, read, usd, write
from router.changes.transaction import UnitOfWork
from router.identity.key_commands import (
    IssuedKey,
    KeySpec,
    KeyView,
    create_key,
    get_key,
    list_keys,
    pause_key,
    revoke_key,
    rotate_key,
)
from store.ids import AccountId, KeyId, wire

app = typer.Typer(no_args_is_help=True)
DEFAULT = Limits()


@app.command("create")
def create(
    account: Annotated[str, typer.Argument(help="Id or name.")],
    *,
    name: Annotated[str, typer.Option(help="What it is for.")] = "default",
    use: Annotated[Use, typer.Option(help="What the answers are used for; licenses depend on it.")] = Use.COMMERCIAL,
    test: Annotated[bool, typer.Option("--test", help="gr_test_…: free, made-up vectors.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; may be repeated.")] = None,
    requests_per_minute: int = DEFAULT.requests_per_minute,
    tokens_per_minute: int = DEFAULT.tokens_per_minute,
    concurrency: int = DEFAULT.concurrency,
    cap: Annotated[str | None, typer.Option(help="The most it may spend, in USD, such as 25.00.")] = None,
    cap_period: CapPeriod = CapPeriod.MONTH,
    expires: Annotated[str | None, typer.Option(help="2026-12-31 or 30d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it, once."""
    limits = Limits(requests_per_minute, tokens_per_minute, concurrency)
    capped = None if cap is None else Cap(usd(cap), cap_period)

    async def change(work: UnitOfWork) -> IssuedKey:
        account_id = (await account_of(work.connection, account)).id
        allowed = [(await models.get(work.connection, wanted)).id for wanted in model or ()]
        spec = KeySpec(name, use, limits, capped, tuple(allowed), instant_of(expires, work.now))
        return await create_key(work, account_id, spec, is_test=test)

    _show_once(write(change), as_json=as_json)


@app.command("list")
def list_all(account: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """The keys of an account, or all."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = None if account is None else (await account_of(connection, account)).id
        return [_row(view) for view in await list_keys(connection, account_id)]

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(key: str, as_json: AsJson = False) -> None:
    """One key, without the key."""
    key_id = _id(key)
    show_one(_details(read(lambda connection: get_key(connection, key_id))), as_json=as_json)


@app.command("pause")
def pause(key: str, as_json: AsJson = False) -> None:
    """Stop a key until it is resumed."""
    key_id = _id(key)
    show_one(_details(write(lambda work: pause_key(work, key_id))), as_json=as_json)


@app.command("resume")
def resume(key: str, as_json: AsJson = False) -> None:
    """Let a paused key work again."""
    key_id = _id(key)
    show_one(_details(write(lambda work: pause_key(work, key_id, paused=False))), as_json=as_json)


@app.command("revoke")
def revoke(key: str, as_json: AsJson = False) -> None:
    """End a key for good, everywhere within a second."""
    key_id = _id(key)
    show_one(_details(write(lambda work: revoke_key(work, key_id))), as_json=as_json)


@app.command("rotate")
def rotate(
    key: str,
    overlap_hours: Annotated[int, typer.Option(help="How long the old secret works on, 0 to 72.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and print it, once; limits and usage stay with the key."""
    key_id = _id(key)
    _show_once(write(lambda work: rotate_key(work, key_id, timedelta(hours=overlap_hours))), as_json=as_json)


def _id(text: str) -> KeyId:
    return KeyId(id_of(KeyId, text))


def _show_once(shown: IssuedKey, *, as_json: bool) -> None:
    show_one({"key": shown.text, **_details(shown.view)}, as_json=as_json)
    typer.secho("The key is shown this once and stored nowhere. Keep it now.", err=True, fg="yellow")


def _row(view: KeyView) -> Row:
    return {
        "id": wire(KeyId, view.id),
        "account": wire(AccountId, view.account_id),
        "name": view.spec.name,
        "shown_as": view.masked,
        "state": "revoked" if view.revoked_at else "paused" if view.paused else "active",
        "use": view.spec.use,
        "cap_usd": to_usd(view.spec.cap.amount) if view.spec.cap else None,
        "cap_period": view.spec.cap.period if view.spec.cap else None,
        "expires_at": instant(view.spec.expires_at),
    }


def _details(view: KeyView) -> Row:
    return {
        **_row(view),
        "models": list(view.spec.models),
        "requests_per_minute": view.spec.limits.requests_per_minute,
        "tokens_per_minute": view.spec.limits.tokens_per_minute,
        "concurrency": view.spec.limits.concurrency,
        "created_at": instant(view.created_at),
        "revoked_at": instant(view.revoked_at),
        "old_secret_works_until": instant(view.previous_until),
    }
