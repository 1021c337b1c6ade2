"""Makes the secret of one trial call: a member picks a key in the pages, and the pages call the API by that key once.

The secret is beside the key's own, which, with its rotations and its last use, stays as it is. Nobody sees it: it is in
the memory of the process that makes the call, and in Postgres as its digest. It ends with the call, and by itself
within a minute where that process is killed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import insert, text

from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict
from router.identity.key_views import KeyView
from router.identity.keys import new_key
from router.identity.own_keys import get_own_key
from router.tables import Json, OldSecretRow
from store.ids import AccountId, KeyId, ModelId, wire
from store.postgres import STORE_FAULTS, Database

# A call is authenticated when it begins, and may take longer than its secret works.
WORKS_FOR = timedelta(minutes=1)
# The key's row changes with its secrets: every process hears of that, and reads them anew.
_TOUCH = text("UPDATE keys SET paused = paused WHERE id = :key RETURNING handle")
_END = text("DELETE FROM old_secrets WHERE digest = :digest AND is_trial")


class TrialKey(msgspec.Struct, frozen=True):
    """The key of a trial call, whose account it is, and the model that it is for."""

    account_id: AccountId
    key_id: KeyId
    model_id: ModelId


@asynccontextmanager
async def trial_secret(db: Database, actor: Actor, trial: TrialKey) -> AsyncIterator[str]:
    """Make a secret for one call, and end it with the block.

    Raises ``NotFound`` for a key that the account does not have, ``Conflict`` for one that does not work.
    """
    fresh = new_key()

    async def issue(work: UnitOfWork) -> str:
        nonlocal fresh
        view = await get_own_key(work.connection, trial.account_id, trial.key_id, locked=True)
        _require_working(view, work.now)
        until = work.now + WORKS_FOR
        handle = (await work.connection.execute(_TOUCH, {"key": trial.key_id})).scalar_one()
        # By the key's own beginning, so that a refusal that quotes it names the key.
        fresh = new_key(is_test=view.is_test, handle=handle)
        row = {"digest": fresh.digest, "key_id": trial.key_id, "works_until": until, "is_trial": True}
        await work.connection.execute(insert(OldSecretRow), row)
        facts: Json = {"model": trial.model_id, "works_until": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
        work.record_change(Change("trial.call", wire(KeyId, trial.key_id), trial.account_id, after=facts))
        return fresh.text

    try:
        yield await transact(db, actor, issue)
    finally:
        # With Postgres away it ends by itself.
        with suppress(*STORE_FAULTS):
            async with db.transaction() as connection:
                await connection.execute(_END, {"digest": fresh.digest})
                await connection.execute(_TOUCH, {"key": trial.key_id})


def _require_working(view: KeyView, now: datetime) -> None:
    """Raise ``Conflict`` for a key that the API would refuse anyway."""
    if view.revoked_at is not None:
        raise Conflict(f"{view.masked} was revoked. Choose another key.")
    if view.paused:
        raise Conflict(f"{view.masked} is paused. Resume it, or choose another key.")
    if view.spec.expires_at is not None and view.spec.expires_at <= now:
        raise Conflict(f"{view.masked} expired at {view.spec.expires_at:%Y-%m-%d %H:%M} UTC. Choose another key.")
