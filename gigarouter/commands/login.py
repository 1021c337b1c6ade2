"""`gigarouter login`: gets a management key by a code that a member of the account approves in a browser (RFC 8628)."""

import time
from typing import Annotated, Any

import typer

from gigarouter.commands.account.client import AccountClient, address
from gigarouter.commands.account.profile import Profile, read_profile, write_profile
from gigarouter.commands.admin.client import Call, Reply
from gigarouter.commands.admin.generate import EXIT_CODES, FAILED, fail

SCOPES = ("keys:write", "usage:read")
PENDING = frozenset({"authorization_pending", "slow_down"})


def command(
    url: Annotated[
        str | None, typer.Option(help="Address of the API; by default GIGAROUTER_API_URL, or where you logged in.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="What the key may do, such as billing:read. May be repeated.")
    ] = None,
) -> None:
    """Log in: a member of the account approves this machine in a browser."""
    place = (url or address(read_profile())).rstrip("/")
    # No key yet: these two operations need none.
    api = AccountClient(place, "")
    begun = _answer(api.send(_post("/v1/device/code", scope=" ".join(scope or SCOPES), client_id="gigarouter login")))
    page = begun["verification_uri"]
    typer.echo(f"Open {page if '://' in page else place + page} and type {begun['user_code']}")
    typer.echo("Waiting for it to be approved…", err=True)
    token = _wait(api, begun)
    path = write_profile(_profile(place, token))
    typer.echo(f"Logged in to {token['account']} with {token['scope']}. The key is in {path}.")


def _wait(api: AccountClient, begun: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + begun["expires_in"]
    while True:
        reply = api.send(_post("/v1/device/token", device_code=begun["device_code"]))
        code = reply.answer.get("error", {}).get("code") if reply.is_error and isinstance(reply.answer, dict) else None
        if code not in PENDING or time.monotonic() > until:
            return _answer(reply)
        time.sleep(reply.retry_after_s or begun["interval"])


def _post(path: str, **body: object) -> Call:
    return Call(method="POST", path=path, body=body)


def _answer(reply: Reply) -> dict[str, Any]:
    answer: dict[str, Any] = reply.answer if isinstance(reply.answer, dict) else {}
    if reply.is_error or not answer:
        message = answer.get("error", {}).get("message") or f"The API answered {reply.status}."
        fail(message, EXIT_CODES.get(reply.status, FAILED))
    return answer


def _profile(url: str, token: dict[str, Any]) -> Profile:
    return Profile(
        url=url,
        key=token["access_token"],
        account=token["account"],
        scopes=tuple(token["scope"].split()),
        expires_at=token["expires_at"],
    )
