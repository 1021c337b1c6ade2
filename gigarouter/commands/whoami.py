"""`gigarouter whoami`: who the key of this machine is, for which account, with which scopes."""

from gigarouter.commands.account.client import client
from gigarouter.commands.admin.client import Call
from gigarouter.commands.admin.generate import EXIT_CODES, FAILED, AsJson, fail
from gigarouter.commands.admin.output import show


def command(as_json: AsJson = False) -> None:
    """Show who the key of this machine is."""
    reply = client().send(Call(method="GET", path="/v1/principal"))
    if reply.is_error:
        error = reply.answer.get("error", {}) if isinstance(reply.answer, dict) else {}
        fail(error.get("message") or f"The API answered {reply.status}.", EXIT_CODES.get(reply.status, FAILED))
    show(reply.answer, as_json=as_json)
