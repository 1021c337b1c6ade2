"""A secret key is rotated: a new one in front, everything wrapped again, the old one taken out; calls never notice."""

from functools import partial
from pathlib import Path

import msgspec
import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from router.changes.audit import list_changes
from router.changes.transaction import transact
from router.registry.encryption import CredentialCipher, CredentialUnreadable, credential_binding
from router.registry.key_rotation import rewrap_credentials
from router.registry.providers import decrypt_credential, load_provider_records
from router.registry.specs import ProviderSpec
from store.ids import ProviderId, new_id
from store.postgres import Database
from tests.builders.registry import OPS, a_registered_provider

pytestmark = pytest.mark.anyio

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
URL = "https://api.example.com/v1"
PLACE = credential_binding(URL, {})


async def a_keyed_provider(db: Database, name: str, key: str = OLD) -> None:
    cipher = CredentialCipher([key])
    await a_registered_provider(db, name, ProviderSpec(URL), f"sk-{name}-canary-000000", cipher=cipher)


async def opened(db: Database, cipher: CredentialCipher) -> dict[str, str | None]:
    async with db.transaction() as connection:
        return {record.name: decrypt_credential(record, cipher) for record in await load_provider_records(connection)}


async def test_after_resealing_the_old_key_can_be_taken_out(db: Database) -> None:
    for name in ("alpha", "beta"):
        await a_keyed_provider(db, name)
    await a_keyed_provider(db, "gamma", NEW)
    known = await opened(db, CredentialCipher([NEW, OLD]))
    with pytest.raises(CredentialUnreadable, match="secret key that is not set"):
        await opened(db, CredentialCipher([NEW]))
    done = await transact(db, OPS, partial(rewrap_credentials, cipher=CredentialCipher([NEW, OLD])))
    assert (done.resealed, done.unchanged, done.unreadable) == (("alpha", "beta"), ("gamma",), ())
    assert await opened(db, CredentialCipher([NEW])) == known
    again = await transact(db, OPS, partial(rewrap_credentials, cipher=CredentialCipher([NEW])))
    assert (again.resealed, again.unchanged) == ((), ("alpha", "beta", "gamma"))
    async with db.transaction() as connection:
        changes = await list_changes(connection)
    assert [one.change.action for one in changes].count("provider.reseal") == 2
    assert "canary" not in msgspec.json.encode(changes).decode()


async def test_a_key_that_is_not_there_is_told_by_the_providers_name_and_keeps_no_other(db: Database) -> None:
    await a_keyed_provider(db, "alpha")
    await a_keyed_provider(db, "lost", OTHER)
    done = await transact(db, OPS, partial(rewrap_credentials, cipher=CredentialCipher([NEW, OLD])))
    assert (done.resealed, done.unreadable) == (("alpha",), ("lost",))


def test_rotating_wraps_the_data_key_again_and_encrypts_nothing_anew() -> None:
    provider = ProviderId(new_id())
    stored = CredentialCipher([OLD]).encrypt(provider, PLACE, "sk-canary")
    again = CredentialCipher([NEW, OLD]).rewrap(stored)
    before, after = (msgspec.msgpack.decode(sealed) for sealed in (stored, again))
    assert before[0] != after[0]
    assert before[1:] == after[1:]
    assert CredentialCipher([NEW]).decrypt(provider, PLACE, again) == "sk-canary"
    assert CredentialCipher([OLD]).encrypt(provider, PLACE, "sk-canary") != stored
    flipped = after[2][:-1] + bytes([after[2][-1] ^ 1])
    for meddled in (flipped, b"", after[2][1:]):
        with pytest.raises(CredentialUnreadable):
            CredentialCipher([NEW]).decrypt(provider, PLACE, msgspec.msgpack.encode([*after[:2], meddled]))


def test_the_command_says_which_key_is_missing(database_url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sk-canary-000000000000")

    def admin(keys: str, *arguments: str) -> tuple[int, str]:
        environment = {"DATABASE_URL": database_url, "GIGAROUTER_SECRET_KEYS": keys}
        result = CliRunner().invoke(app, arguments, env=environment)
        return result.exit_code, result.output

    create = ("providers", "create", "alpha", "openai", "--base-url", URL, "--credential-file", str(secret))
    assert admin(OLD, *create)[0] == 0
    code, said = admin("", "providers", "edit", "alpha", "--retention-days", "0")
    assert code == 2
    assert "alpha cannot be spoken to: its credential is sealed and no secret key is set" in said
    code, said = admin(NEW, "providers", "reseal")
    assert code == 7
    assert "alpha were sealed under a secret key that is not set" in said
    assert admin(f"{NEW},{OLD}", "providers", "reseal")[0] == 0
    assert admin(NEW, "providers", "edit", "alpha", "--retention-days", "0")[0] == 0
