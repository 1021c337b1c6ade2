"""`gigarouter logout`: ends the management key of `gigarouter login`, and forgets it."""

import typer

from gigarouter.commands.account.client import AccountClient
from gigarouter.commands.account.profile import delete_profile, read_profile
from gigarouter.commands.admin.client import Call
from gigarouter.commands.admin.generate import fail

UNKNOWN = 401


def command() -> None:
    """Log out: end the key of this machine, and forget it."""
    profile = read_profile()
    if profile is None:
        typer.echo("You are not logged in.")
        return
    reply = AccountClient(profile.url, profile.key).send(Call(method="POST", path="/v1/principal/revoke"))
    # A key that has expired, or was ended elsewhere, has nothing left to be ended.
    if reply.is_error and reply.status != UNKNOWN:
        fail(f"The key could not be ended ({reply.status}): try again, or end it on the page of management keys.")
    delete_profile()
    typer.echo("Logged out.")
