"""`gigarouter admin providers`.

A credential is read from a file, a pipe or a hidden prompt, never from the command line, where every user of the
machine could see it; it is stored encrypted and never shown again.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from gigarouter import settings
from gigarouter.commands.admin.output import AsJson, Row, show_list, show_one
from gigarouter.commands.admin.session import USAGE, actor, cipher, fail, id_of, read, run, write
from providers.kinds import build
from providers.protocol import Provider, ProviderKind
from providers.wire import Pool, networks
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from router.registry.encryption import CredentialUnreadable
from router.registry.indexes import ProviderRecord
from router.registry.key_rotation import rewrap_credentials
from router.registry.providers import (
    ProviderView,
    credential_of,
    edit_provider,
    find_provider,
    get_provider,
    list_providers,
    provider_records,
    register_provider,
)
from router.values import ProviderSpec
from store.ids import EndpointId, ProviderId, wire

app = typer.Typer(no_args_is_help=True)
Credential = Annotated[
    str | None, typer.Option("--credential-file", help="File with our credential there; - reads standard input.")
]
Ask = Annotated[bool, typer.Option("--ask-credential", help="Ask for the credential, hidden.")]
Region = Annotated[
    list[str] | None, typer.Option("--region", help="Where it may process a call, such as eu; may be repeated.")
]
Collects = Annotated[
    bool | None,
    typer.Option("--collects-data/--no-collects-data", help="Whether it may use inputs for more than the answer."),
]
Retention = Annotated[int | None, typer.Option("--retention-days", help="How long it keeps inputs; 0: not at all.")]
Option = Annotated[list[str] | None, typer.Option("--option", help="name=value of the kind's own; may be repeated.")]


@app.command("create")
def create(
    name: str,
    *,
    kind: Annotated[ProviderKind, typer.Option(help="How we speak to it.")],
    url: Annotated[str | None, typer.Option(help="Base URL, such as https://api.example.com/v1.")] = None,
    credential_file: Credential = None,
    ask_credential: Ask = False,
    option: Option = None,
    region: Region = None,
    collects_data: Collects = None,
    retention_days: Retention = None,
    as_json: AsJson = False,
) -> None:
    """Register a provider."""
    credential = _credential(credential_file, ask=ask_credential)
    spec = ProviderSpec(
        url,
        options=_options(option),
        regions=tuple(region or ()),
        collects_data=collects_data is not False,  # what is not known counts as yes
        retention_days=retention_days,
    )
    box = cipher()

    async def change(work: UnitOfWork) -> ProviderView:
        view = await register_provider(work, box, name=name, kind=kind.value, spec=spec, credential=credential)
        return await _usable(work, view)

    show_one(_row(write(change)), as_json=as_json)


@app.command("edit")
def edit(
    provider: Annotated[str, typer.Argument(help="Id or name.")],
    *,
    url: str | None = None,
    credential_file: Credential = None,
    ask_credential: Ask = False,
    option: Option = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable")] = None,
    region: Region = None,
    collects_data: Collects = None,
    retention_days: Retention = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given; another host needs its credential with it.

    Another address or other options take its endpoints out of traffic until they pass their probes, which are due now.
    """
    credential = _credential(credential_file, ask=ask_credential)
    given = {
        "base_url": url,
        "enabled": enabled,
        "options": None if option is None else _options(option),
        "regions": None if region is None else tuple(region),
        "collects_data": collects_data,
        "retention_days": retention_days,
    }
    box = cipher()

    async def change(work: UnitOfWork) -> ProviderView:
        before = await provider_of(work.connection, provider)
        before = await get_provider(work.connection, before.id, locked=True)
        spec = msgspec.structs.replace(
            before.spec, **{name: value for name, value in given.items() if value is not None}
        )
        return await _usable(work, await edit_provider(work, box, before.id, spec, credential=credential))

    edited = write(change)
    show_one({**_row(edited), "unproven": [wire(EndpointId, one) for one in edited.unproven]}, as_json=as_json)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """All providers."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        return [_row(view) for view in await list_providers(connection)]

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(provider: str, as_json: AsJson = False) -> None:
    """One provider, by id or name."""
    show_one(_row(read(lambda connection: provider_of(connection, provider))), as_json=as_json)


@app.command("reseal")
def reseal(as_json: AsJson = False) -> None:
    """Wrap every credential under the first secret key, so that the others can be taken out of the settings."""
    box = cipher()
    if box is None:
        fail("No secret key is set: GIGAROUTER_SECRET_KEYS.", USAGE)
    done = run(lambda db: rewrap_credentials(db, actor(), box))
    show_one({name: list(getattr(done, name)) for name in done.__struct_fields__}, as_json=as_json)
    if done.unreadable:
        fail(
            f"The credentials of {', '.join(done.unreadable)} were sealed under a secret key that is not set. Set that "
            "key too and reseal again, or give these providers their credentials anew."
        )


async def provider_of(connection: AsyncConnection, text: str) -> ProviderView:
    """A provider by its id or its name. Raises ``NotFound``."""
    if text.startswith("prov_"):
        return await get_provider(connection, ProviderId(id_of(ProviderId, text)))
    found = await find_provider(connection, text)
    if found is None:
        raise NotFound(f"There is no provider {text!r}. `gigarouter admin providers list` lists them.")
    return found


async def _usable(work: UnitOfWork, view: ProviderView) -> ProviderView:
    """The same view; a record that nothing could speak to is refused before it is committed."""
    record = next(record for record in await provider_records(work.connection) if record.id == view.id)
    async with speaking_to(record):
        return view


@asynccontextmanager
async def speaking_to(record: ProviderRecord) -> AsyncIterator[Provider]:
    """What speaks to a registered provider. Raises ``InvalidRequest`` where its record cannot be used."""
    box, allowed = cipher(), networks([str(network) for network in settings.load_local().allowed_private_networks])
    pool = Pool()
    try:
        credential = credential_of(record, box)
        provider = build(
            record.kind,
            base_url=record.base_url,
            credential=credential,
            options=record.options,
            allowed_networks=allowed,
            pool=pool,
        )
    except (ValueError, CredentialUnreadable) as fault:
        raise InvalidRequest(f"{record.name} cannot be spoken to: {fault}.") from fault
    try:
        yield provider
    finally:
        await provider.close()
        await pool.close()


def _credential(file: str | None, *, ask: bool) -> str | None:
    if ask:
        return str(typer.prompt("Credential", hide_input=True)).strip()
    if file is None:
        return None
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.", USAGE)
    return text.strip()


def _options(given: list[str] | None) -> dict[str, object]:
    """``name=value``, the value as JSON where it is JSON, else as text."""
    options: dict[str, object] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals:
            fail(f"{pair!r} is no option such as name=value.", USAGE)
        try:
            options[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            options[name] = value
    return options


def _row(view: ProviderView) -> Row:
    return {
        "id": wire(ProviderId, view.id),
        "name": view.name,
        "kind": view.kind,
        "url": view.spec.base_url,
        "enabled": view.spec.enabled,
        "credential": view.credential,
        "options": view.spec.options,
        "regions": list(view.spec.regions),
        "collects_data": view.spec.collects_data,
        "retention_days": view.spec.retention_days,
    }
