"""Holds what signing in needs beside reading: where it writes, for which host, and what a first account comes with."""

import msgspec

from router.identity.people.passkeys import RelyingParty
from router.identity.people.set_up import FreeCredit, Service
from store.postgres import Database


class PeopleContext(msgspec.Struct, frozen=True):
    """``writes`` is for POSTs; ``party`` is the pages' host as passkeys know it; ``services`` sign people in, too."""

    writes: Database
    party: RelyingParty
    credit: FreeCredit
    services: tuple[Service, ...] = ()
