"""An operator at the admin API: asks as one would with curl, and remembers all that was answered."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
from starlette.routing import Match
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from router.api.admin import operations
from router.api.operation import MONEY, operation_routes

DUMP = """
import asyncio, sys, asyncpg
async def dump():
    connection = await asyncpg.connect(sys.argv[1])
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        for (row,) in await connection.fetch(f'SELECT to_jsonb(t)::text FROM "{table}" t'):
            print(row)
asyncio.run(dump())
"""


def admin_command(environment: Mapping[str, str], *arguments: str, exits: int = 0) -> Any:
    """``gigarouter admin …``; what it printed, as JSON."""
    wanted = {name: value for name, value in environment.items() if "GIGAROUTER" in name or "URL" in name}
    result = CliRunner().invoke(app, arguments, env=wanted)
    assert result.exit_code == exits, f"{arguments}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
    return json.loads(result.stdout) if result.stdout.strip() else None


def is_money_write(method: str, path: str) -> bool:
    """Whether a path below ``/admin/v1`` is a write of money, which needs an Idempotency-Key over HTTP."""
    scope = {"type": "http", "method": method, "path": f"/admin/v1{path.partition('?')[0]}"}
    routes = operation_routes(route for noun in operations for route in noun.routes)
    found = next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)
    return method != "GET" and found is not None and found.spec.roles == MONEY


class Operator:
    """``ops("POST", "/providers", {…})``; fails on another status than ``expects``."""

    def __init__(self, url: str, key: str, member: str = "") -> None:
        self.url = url
        self.key = key
        self.member = member
        self.heard = ""

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """The answer, of any status. ``path`` is below ``/admin/v1``."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"authorization": f"Bearer {self.key}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        if is_money_write(method, path):
            given.setdefault("idempotency-key", str(uuid4()))
        answer = httpx.request(method, f"{self.url}/admin/v1{path}", content=content, headers=given, timeout=30)
        self.heard += answer.text + str(answer.headers)
        return answer

    def __call__(self, method: str, path: str, body: object = None, expects: int = 200, **headers: str) -> Any:
        answer = self.ask(method, path, body, **headers)
        assert answer.status_code == expects, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def edit(self, path: str, body: object, expects: int = 200) -> Any:
        """Read, then edit what was read."""
        tag = self.ask("GET", path).headers["etag"]
        return self("PATCH", path, body, expects, if_match=tag)


def an_operator(environment: Mapping[str, str], url: str, role: str = "ops", email: str | None = None) -> Operator:
    """A new operator with a key, made on the machine."""
    made = admin_command(environment, "operators", "create", email or f"{role}@example.com", "--role", role)
    return Operator(url, made["key"], made["member"])
