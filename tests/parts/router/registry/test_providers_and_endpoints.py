"""Providers and endpoints: credentials that only their provider's host can get, states that follow a table."""

import asyncio
from itertools import product

import msgspec
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from catalog import models
from catalog.seed import import_seed
from router.changes.audit import list_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, InvalidRequest, NotFound
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.registry.endpoints import MOVES, edit_endpoint, move_endpoint, register_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.providers import (
    ProviderView,
    decrypt_credential,
    edit_provider,
    load_provider_records,
    register_provider,
)
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import Endpoint, EndpointState
from store.ids import ProviderId, new_id
from store.postgres import Database
from tests.builders.registry import ALPHA, OPS, a_draft_endpoint, a_registered_provider, move

pytestmark = pytest.mark.anyio
SECRET = "sk-canary-4f9c2b7d1e8a"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
CIPHER = CredentialCipher([OLD])


@pytest.fixture
async def db(db: Database) -> Database:
    """The shipped catalogue is in it."""
    async with db.transaction() as connection:
        await import_seed(connection)
    return db


async def register_alpha(db: Database) -> ProviderView:
    return await a_registered_provider(db, "alpha", ALPHA, SECRET, cipher=CIPHER)


async def a_draft(db: Database, upstream_model: str = "mini") -> Endpoint:
    return await a_draft_endpoint(db, MODEL, (await register_alpha(db)).id, upstream_model)


async def record_of(db: Database, name: str) -> ProviderRecord:
    async with db.transaction() as connection:
        return next(record for record in await load_provider_records(connection) if record.name == name)


async def dump(db: Database) -> str:
    """Every row of every table, as text."""
    owner = Database(db.url, as_owner=True)
    async with owner.transaction() as connection:
        tables = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        rows = [
            row[0]
            for (table,) in tables.all()
            for row in await connection.execute(text(f'SELECT to_jsonb(t)::text FROM "{table}" t'))
        ]
    await owner.close()
    return "\n".join(rows)


async def test_a_credential_is_in_no_table_and_opens_for_its_provider(db: Database) -> None:
    view = await register_alpha(db)
    everything = await dump(db)
    assert "api.alpha.example" in everything
    assert SECRET not in everything
    assert SECRET.encode().hex() not in everything
    assert view.credential == "…1e8a"
    assert decrypt_credential(await record_of(db, "alpha"), CredentialCipher([OLD])) == SECRET


async def test_a_new_secret_key_in_front_still_opens_old_credentials_and_another_key_does_not(db: Database) -> None:
    await register_alpha(db)
    record = await record_of(db, "alpha")
    assert decrypt_credential(record, CredentialCipher([NEW, OLD])) == SECRET
    with pytest.raises(CredentialUnreadable):
        decrypt_credential(record, CredentialCipher([NEW]))


async def test_a_credential_moved_to_another_row_or_host_opens_to_nothing(db: Database) -> None:
    await register_alpha(db)
    other = await a_registered_provider(
        db, "beta", ProviderSpec("https://api.beta.example/v1"), "sk-beta-0000000000000", cipher=CIPHER
    )
    alpha, beta = await record_of(db, "alpha"), await record_of(db, "beta")
    moved = msgspec.structs.replace(beta, sealed=alpha.sealed)
    redirected = msgspec.structs.replace(alpha, base_url="https://evil.example/v1")
    for record in (moved, redirected):
        with pytest.raises(CredentialUnreadable, match="another"):
            decrypt_credential(record, CredentialCipher([OLD]))
    assert other.id == beta.id


async def test_another_host_is_refused_without_its_credential_and_another_path_is_not(db: Database) -> None:
    view = await register_alpha(db)
    cipher = CredentialCipher([OLD])

    async def edit(url: str, credential: str | None = None) -> ProviderView:
        spec = ProviderSpec(url)
        return await transact(db, OPS, lambda work: edit_provider(work, cipher, view.id, spec, credential=credential))

    with pytest.raises(InvalidRequest, match=r"given for https://api.alpha.example"):
        await edit("https://evil.example/v1")
    await edit("https://api.alpha.example/v2")
    assert decrypt_credential(await record_of(db, "alpha"), cipher) == SECRET
    await edit("https://new.example/v1", "sk-new-000000000000000")
    assert decrypt_credential(await record_of(db, "alpha"), cipher) == "sk-new-000000000000000"


async def test_another_vendor_is_another_host_where_its_library_knows_it(db: Database) -> None:
    cipher = CredentialCipher([OLD])
    cohere, voyage = (ProviderSpec(options={"vendor": vendor}) for vendor in ("cohere", "voyage"))

    async def register(work: UnitOfWork) -> ProviderView:
        return await register_provider(work, cipher, name="alpha", kind="litellm", spec=cohere, credential=SECRET)

    async def edit(spec: ProviderSpec, credential: str | None = None) -> ProviderView:
        return await transact(db, OPS, lambda work: edit_provider(work, cipher, view.id, spec, credential=credential))

    view = await transact(db, OPS, register)
    with pytest.raises(InvalidRequest, match="given for the vendor cohere"):
        await edit(voyage)
    record = await record_of(db, "alpha")
    with pytest.raises(CredentialUnreadable, match="another"):
        decrypt_credential(msgspec.structs.replace(record, options=voyage.options), cipher)
    await edit(ProviderSpec(options={"vendor": "cohere", "input_types": {"query": "q"}}))
    assert decrypt_credential(await record_of(db, "alpha"), cipher) == SECRET
    await edit(voyage, "sk-voyage-0000000000000")
    assert decrypt_credential(await record_of(db, "alpha"), cipher) == "sk-voyage-0000000000000"


@pytest.mark.parametrize("name", ["https://evil.example/x", "x/http://evil.example", "//evil.example", "a b", "a\nb"])
async def test_an_upstream_model_is_a_name_and_no_address(db: Database, name: str) -> None:
    provider = await register_alpha(db)
    with pytest.raises(InvalidRequest, match="not an address"):
        await a_draft_endpoint(db, MODEL, provider.id, name)
    endpoint = await a_draft_endpoint(db, MODEL, provider.id, "mini")
    with pytest.raises(InvalidRequest, match="not an address"):
        await transact(db, OPS, lambda work: edit_endpoint(work, endpoint.id, EndpointSpec(name)))


@pytest.mark.parametrize(
    "url", ["ftp://x/", "https://", "api.example.com", "https://u:p@x/", "https://x/?k=1", "https://x/#f", None]
)
async def test_a_base_url_is_an_address_and_nothing_more(db: Database, url: str | None) -> None:
    with pytest.raises(InvalidRequest):
        await a_registered_provider(db, "alpha", ProviderSpec(url), SECRET, cipher=CIPHER)


async def test_a_providers_name_is_its_own_and_of_the_form(db: Database) -> None:
    await register_alpha(db)
    with pytest.raises(Conflict, match="is a provider alpha already"):
        await register_alpha(db)
    with pytest.raises(InvalidRequest, match="lower-case letters"):
        await a_registered_provider(db, "Alpha", ALPHA, SECRET, cipher=CIPHER)


async def test_the_audit_log_tells_of_a_credential_only_its_end(db: Database) -> None:
    await register_alpha(db)
    async with db.transaction() as connection:
        rows = await list_changes(connection)
    assert {row.change.action for row in rows} == {"provider.register", "provider.credential"}
    assert all(row.change.after is not None and row.change.after["credential"] == "…1e8a" for row in rows)


async def test_the_audit_log_tells_that_a_credential_was_replaced_though_it_looks_the_same(db: Database) -> None:
    view = await register_alpha(db)
    aws = '{"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "canary1"}'

    async def told(credential: str | None) -> list[object]:
        edit = transact(
            db, OPS, lambda work: edit_provider(work, CredentialCipher([OLD]), view.id, ALPHA, credential=credential)
        )
        await edit
        async with db.transaction() as connection:
            given = [row.change for row in await list_changes(connection) if row.change.action == "provider.credential"]
        return [change.after for change in given]

    assert len(await told(None)) == 1
    assert len(await told("sk-another-0000000001e8a")) == 2
    assert {"credential": "…"} in await told(aws)


async def test_an_endpoint_that_claims_another_space_is_refused_by_product_and_database(db: Database) -> None:
    provider = await register_alpha(db)

    async def command(work: UnitOfWork) -> Endpoint:
        model = await models.get(work.connection, MODEL)
        return await register_endpoint(work, model, provider.id, EndpointSpec("mini"), space="other@1")

    with pytest.raises(InvalidRequest, match="cannot be compared"):
        await transact(db, OPS, command)
    endpoint = await a_draft_endpoint(db, MODEL, provider.id, "mini")
    with pytest.raises(IntegrityError, match="is not the one of the model"):
        async with db.transaction() as connection:
            await connection.execute(text("UPDATE endpoints SET space = 'other@1'"))
    assert endpoint.space != "other@1"


async def test_an_endpoint_is_registered_once_at_a_provider_that_exists(db: Database) -> None:
    provider = await register_alpha(db)
    await a_draft_endpoint(db, MODEL, provider.id, "mini")
    with pytest.raises(Conflict, match="already"):
        await a_draft_endpoint(db, MODEL, provider.id, "mini")
    with pytest.raises(NotFound, match="provider"):
        await a_draft_endpoint(db, MODEL, ProviderId(new_id()), "mini")


async def test_the_database_allows_exactly_the_moves_of_the_table(db: Database) -> None:
    owner = Database(db.url, as_owner=True)
    endpoint = await a_draft(db)
    allowed: dict[EndpointState, set[EndpointState]] = {state: set() for state in EndpointState}
    for was, to in product(EndpointState, EndpointState):
        async with owner.transaction() as connection:
            await connection.execute(text("ALTER TABLE endpoints DISABLE TRIGGER endpoints_guard"))
            await connection.execute(text("UPDATE endpoints SET state = :was"), {"was": was.value})
            await connection.execute(text("ALTER TABLE endpoints ENABLE TRIGGER endpoints_guard"))
        try:
            async with db.transaction() as connection:
                await connection.execute(text("UPDATE endpoints SET state = :to"), {"to": to.value})
        except IntegrityError:
            continue
        if was is not to:
            allowed[was].add(to)
    await owner.close()
    assert allowed == {state: set(moves) for state, moves in MOVES.items()}
    assert endpoint.state is EndpointState.DRAFT


async def test_a_move_that_is_not_in_the_table_names_those_that_are(db: Database) -> None:
    endpoint = await a_draft(db)
    with pytest.raises(Conflict, match="is draft; from there it can become off, probing"):
        await move(db, endpoint.id, EndpointState.LIVE)


async def test_a_live_endpoint_keeps_its_upstream_model(db: Database) -> None:
    endpoint = await a_draft(db)
    await move(db, endpoint.id, EndpointState.PROBING, EndpointState.LIVE)
    with pytest.raises(Conflict, match="keeps its upstream model"):
        await transact(db, OPS, lambda work: edit_endpoint(work, endpoint.id, EndpointSpec("another")))
    edited = await transact(db, OPS, lambda work: edit_endpoint(work, endpoint.id, EndpointSpec("mini", priority=1)))
    assert (edited.priority, edited.state) == (1, EndpointState.LIVE)


async def test_of_two_operators_who_move_an_endpoint_at_once_the_second_decides_on_what_the_first_left(
    db: Database,
) -> None:
    endpoint = await a_draft(db)

    async def first(work: UnitOfWork) -> "asyncio.Task[Endpoint]":
        await move_endpoint(work, endpoint.id, EndpointState.OFF)
        task = asyncio.ensure_future(transact(db, OPS, lambda w: move_endpoint(w, endpoint.id, EndpointState.OFF)))
        await asyncio.sleep(0.2)
        return task

    second = await transact(db, OPS, first)
    with pytest.raises(Conflict, match="is off; from there it can become probing"):
        await second
