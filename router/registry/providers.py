"""Registers providers, edits them, and stores our credential at each so that nobody can read it back.

What speaks to a provider is :mod:`providers`; this is only what we know of it.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from providers.options import OptionsRefused, option_facts, read_options
from providers.protocol import ProviderKind
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound, UnknownParameter
from router.registry.encryption import CredentialCipher, CredentialUnreadable, credential_binding
from router.registry.endpoints import credential_refused_endpoints, require_proof, serving_endpoints, verify_soon
from router.registry.indexes import ProviderRecord
from router.registry.specs import VERIFIED_PROVIDER_FIELDS, ProviderSpec
from router.tables import Json, ProviderRow
from store.ids import EndpointId, ProviderId, new_id, wire

REGION = re.compile(r"[a-z][a-z0-9-]{0,39}")
PROVIDERS = ProviderRow.__table__


class ProviderView(msgspec.Struct, frozen=True):
    """A provider as operators see it: of the credential, its last four characters.

    ``unproven`` are the endpoints that an edit took out of traffic until they pass their probes.
    """

    id: ProviderId
    name: str
    kind: str
    spec: ProviderSpec
    credential: str | None
    unproven: tuple[EndpointId, ...] = ()


async def register_provider(
    work: UnitOfWork,
    cipher: CredentialCipher | None,
    *,
    name: str,
    kind: str,
    spec: ProviderSpec,
    credential: str | None = None,
) -> ProviderView:
    """Register a new provider. Raises ``InvalidRequest``, ``Conflict`` for a name that is taken."""
    _validate(kind, spec)
    provider_id = ProviderId(new_id())
    row = {"id": provider_id, "name": name, "kind": kind, **_columns(spec)}
    try:
        await work.connection.execute(
            insert(ProviderRow), {**row, **_encrypted_columns(cipher, provider_id, spec, credential)}
        )
    except IntegrityError as error:
        if violated_constraint(error) == "providers_name_check":
            raise InvalidRequest("A provider's name is lower-case letters, digits and dashes.", param="name") from error
        raise Conflict(f"There is a provider {name} already.") from error
    view = await get_provider(work.connection, provider_id)
    work.record_change(Change("provider.register", wire(ProviderId, provider_id), after=_audit_facts(view)))
    if credential is not None:
        work.record_change(_credential_change(view))
    return view


async def edit_provider(
    work: UnitOfWork,
    cipher: CredentialCipher | None,
    provider_id: ProviderId,
    spec: ProviderSpec,
    *,
    credential: str | None = None,
) -> ProviderView:
    """Replace what may be set, and the credential where one is given.

    Another host or vendor without a credential is refused where one is stored: it was given for the old host alone.
    Another address or other options may lead to other weights: endpoints lose their traffic until they pass a
    verification. After a new credential, or when the provider is switched on again, they keep their traffic and are
    verified at once: a key that expires must be exchangeable without an outage, and the same vendor serves another
    account the same weights. Endpoints that are quarantined because the old credential was refused are verified at
    once, and come back.
    Raises ``NotFound``, ``InvalidRequest``.
    """
    before = await get_provider(work.connection, provider_id, locked=True)
    _validate(before.kind, spec)
    binding = credential_binding(before.spec.base_url, before.spec.options)
    is_bound_elsewhere = credential_binding(spec.base_url, spec.options) != binding
    if is_bound_elsewhere and before.credential is not None and credential is None:
        raise InvalidRequest(
            f"The credential of {before.name} was given for {binding}. Give the one for the new address with the "
            "change.",
            param="credential",
        )
    columns = {
        **_columns(spec),
        **(_encrypted_columns(cipher, provider_id, spec, credential) if credential is not None else {}),
    }
    await work.connection.execute(update(ProviderRow).where(ProviderRow.id == provider_id).values(**columns))
    await verify_soon(work.connection, await credential_refused_endpoints(work.connection, provider_id))
    after = await get_provider(work.connection, provider_id)
    subject = wire(ProviderId, provider_id)
    work.record_change(Change("provider.edit", subject, None, _audit_facts(before), _audit_facts(after)))
    if credential is not None:
        work.record_change(_credential_change(after))
    serving = await serving_endpoints(work.connection, provider_id)
    if changed := _changed_verified_fields(before.spec, spec):
        why = f"{' and '.join(changed)} of {before.name} changed"
        unproven = tuple([one.id for one in serving if await require_proof(work, one, why)])
        return msgspec.structs.replace(after, unproven=unproven)
    if credential is not None or (spec.enabled and not before.spec.enabled):
        await verify_soon(work.connection, [one.id for one in serving])
    return after


def _changed_verified_fields(before: ProviderSpec, after: ProviderSpec) -> list[str]:
    return [name for name in VERIFIED_PROVIDER_FIELDS if getattr(before, name) != getattr(after, name)]


async def get_provider(connection: AsyncConnection, provider_id: ProviderId, *, locked: bool = False) -> ProviderView:
    """Read one provider, and lock its row where ``locked``. Raises ``NotFound``."""
    query = select(PROVIDERS).where(ProviderRow.id == provider_id)
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no provider {wire(ProviderId, provider_id)}.", param="provider")
    return _view(row)


async def find_provider(connection: AsyncConnection, name: str) -> ProviderView | None:
    """Find the provider of this name; None where there is none."""
    row = (await connection.execute(select(PROVIDERS).where(ProviderRow.name == name))).one_or_none()
    return None if row is None else _view(row)


async def list_providers(connection: AsyncConnection) -> list[ProviderView]:
    """List all providers by name."""
    return [_view(row) for row in await connection.execute(select(PROVIDERS).order_by(ProviderRow.name))]


async def load_provider_records(connection: AsyncConnection) -> list[ProviderRecord]:
    """Load all providers with their encrypted credentials: for the processes that speak to them, not for people."""
    return [
        ProviderRecord(ProviderId(row.id), row.name, row.kind, row.base_url, row.sealed, row.enabled, row.options)
        for row in await connection.execute(select(PROVIDERS).order_by(ProviderRow.name))
    ]


async def load_provider_record(connection: AsyncConnection, provider_id: ProviderId) -> ProviderRecord:
    """Load one provider with its encrypted credential. Raises ``NotFound``."""
    found = next((record for record in await load_provider_records(connection) if record.id == provider_id), None)
    if found is None:
        raise NotFound(f"There is no provider {wire(ProviderId, provider_id)}.", param="provider")
    return found


async def is_unchanged(connection: AsyncConnection, record: ProviderRecord) -> bool:
    """Whether the provider is still reached at the record's address, in the same way and by the same credential.

    Nobody edits the provider before the transaction ends.
    """
    query = select(PROVIDERS).where(ProviderRow.id == record.id).with_for_update(read=True)
    row = (await connection.execute(query)).one_or_none()
    recorded = (record.kind, record.base_url, record.options, record.sealed)
    return row is not None and (row.kind, row.base_url, row.options, row.sealed) == recorded


def decrypt_credential(record: ProviderRecord, cipher: CredentialCipher | None) -> str | None:
    """Decrypt our credential at a provider. Raises ``CredentialUnreadable``, also where no secret key is set."""
    if record.sealed is None:
        return None
    if cipher is None:
        raise CredentialUnreadable("its credential is sealed and no secret key is set: GIGAROUTER_SECRET_KEYS")
    return cipher.decrypt(record.id, credential_binding(record.base_url, record.options), record.sealed)


def _encrypted_columns(
    cipher: CredentialCipher | None, provider_id: ProviderId, spec: ProviderSpec, credential: str | None
) -> dict[str, object]:
    if credential is None:
        return {}
    if cipher is None:
        raise InvalidRequest("No secret key is set, so a credential cannot be kept.", param="credential")
    if not credential or credential != credential.strip():
        raise InvalidRequest("The credential is empty or has blanks around it.", param="credential")
    # Of several secrets in JSON the end is braces, and whatever stands before them.
    hint = f"…{credential[-4:]}" if len(credential) >= 16 and not credential.startswith("{") else "…"
    encrypted = cipher.encrypt(provider_id, credential_binding(spec.base_url, spec.options), credential)
    return {"sealed": encrypted, "credential_hint": hint}


def _credential_change(view: ProviderView) -> Change:
    """An audit row of its own: two credentials may look the same, and neither is in any before and after."""
    return Change("provider.credential", wire(ProviderId, view.id), after={"credential": view.credential})


def _validate(kind: str, spec: ProviderSpec) -> None:
    if kind not in list(ProviderKind):
        raise InvalidRequest(f"A provider's kind is one of {', '.join(ProviderKind)}.", param="kind")
    if any(REGION.fullmatch(region) is None for region in spec.regions):
        raise InvalidRequest("A region is a lower-case name, as in eu or us-east.", param="regions")
    if spec.retention_days is not None and not 0 <= spec.retention_days <= 36_500:
        raise InvalidRequest("Inputs are kept for 0 to 36500 days.", param="retention_days")
    _validate_options(ProviderKind(kind), spec.options)
    if spec.base_url is None:
        if kind in ("openai", "worker"):
            raise InvalidRequest(f"A provider of the kind {kind} has a base URL.", param="base_url")
        return
    if len(spec.base_url) > 2_000:
        raise InvalidRequest("The base URL has at most 2000 characters.", param="base_url")
    parts = urlsplit(spec.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest("The base URL is http://… or https://… with a host.", param="base_url")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidRequest("The base URL has no user, password, query or fragment.", param="base_url")


def _validate_options(kind: ProviderKind, options: Mapping[str, object]) -> None:
    """Raise ``InvalidRequest`` with every fault, and with every option that the kind has."""
    try:
        read_options(kind, options)
    except OptionsRefused as refused:
        faults = [{"param": f"options.{one.name}", "message": f"{one.message}."} for one in refused.faults]
        known = [msgspec.to_builtins(one) for one in option_facts(kind)]
        error = UnknownParameter if refused.faults[0].is_unknown else InvalidRequest
        details: dict[str, object] = {"faults": faults, "options": known}
        raise error(refused.sentence, param=str(faults[0]["param"]), details=details) from refused


def _columns(spec: ProviderSpec) -> dict[str, object]:
    return {**msgspec.structs.asdict(spec), "regions": list(spec.regions)}


def _view(row: Row[Any]) -> ProviderView:
    fields: dict[str, Any] = {name: getattr(row, name) for name in ProviderSpec.__struct_fields__}
    spec = ProviderSpec(**{**fields, "regions": tuple(row.regions)})
    return ProviderView(ProviderId(row.id), row.name, row.kind, spec, row.credential_hint)


def _audit_facts(view: ProviderView) -> Json:
    facts: Json = msgspec.to_builtins(view)
    return {name: value for name, value in facts.items() if name not in ("id", "unproven")}
