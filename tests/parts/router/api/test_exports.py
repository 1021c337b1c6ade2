"""Finance requests an export, sees how far it is and downloads it: over HTTP, and by the command line."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from billing.chart import LedgerKind
from billing.exports import run
from gigarouter.settings import Settings
from tests.harness.admin_client import admin_command
from tests.harness.served_api import Credentials, ServedApi, served

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def api(
    installation: tuple[Settings, Credentials], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServedApi]:
    """The API of a process with a folder of its own for exports."""
    settings, made = installation
    folder = tmp_path_factory.mktemp("exports")
    async with served(settings.model_copy(update={"exports_dir": folder}), made) as running:
        yield running


@pytest.fixture(scope="module")
async def finance(installation: tuple[Settings, Credentials], api: ServedApi) -> str:
    url = installation[0].require_database_url()
    made = await asyncio.to_thread(
        admin_command, {"DATABASE_URL": url}, "operators", "create", "finance@example.com", "--role", "finance_admin"
    )
    await api.context.catch_up()
    return str(made["key"])


async def ask(api: ServedApi, method: str, path: str, key: str, body: object = None, expects: int = 200) -> Any:
    headers = {"authorization": f"Bearer {key}", "idempotency-key": str(uuid4())}
    answer = await api.client.request(method, f"/admin/v1/finance/exports{path}", json=body, headers=headers)
    assert answer.status_code == expects, answer.text
    return answer.json()


async def test_an_export_is_requested_written_and_downloaded(api: ServedApi, finance: str) -> None:
    await api.embed(api.bearer)
    body = {"kind": "usage", "format": "csv", "from": "2026-01-01", "to": "2099-01-01"}
    made = await ask(api, "POST", "", finance, body, 201)
    assert (made["state"], made["files"], made["manifest"]) == ("queued", [], None)
    refused = await ask(api, "GET", f"/{made['id']}/files/manifest.json", api.operator, expects=404)
    assert "is queued" in refused["error"]["message"]
    assert await run.run_next(api.context.db, api.context.exports)
    done = await ask(api, "GET", f"/{made['id']}", api.operator)
    assert (done["state"], done["rows_done"]) == ("done", done["files"][0]["rows"])
    [file] = done["files"]
    assert done["manifest"]["files"][0]["sha256"] == file["sha256"]
    path = f"/admin/v1/finance/exports/{made['id']}/files/{file['name']}"
    headers = {"authorization": f"Bearer {api.operator}"}
    answer = await api.client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
    part = await api.client.get(path, headers=headers | {"range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, answer.content[3:10])
    for wrong in ("..%2Fup.lock", "other.csv", "usage.csv.part"):
        assert (await api.client.get(f"{path.rpartition('/')[0]}/{wrong}", headers=headers)).status_code == 404
    gone = await ask(api, "POST", f"/{made['id']}/cancel", finance, expects=409)
    assert "it is done" in gone["error"]["message"]
    listed = await ask(api, "GET", "?limit=1", api.operator)
    assert listed["data"][0]["id"] == made["id"]
    waiting = await ask(api, "POST", "", finance, {"kind": "audit", "format": "parquet", "period": "2026"}, 201)
    assert (await ask(api, "POST", f"/{waiting['id']}/cancel", finance))["state"] == "cancelled"
    assert not await run.run_next(api.context.db, api.context.exports)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "usage", "format": "datev"}, "format"),
        ({"kind": "journal", "format": "csv"}, "format"),
        ({"kind": "grants", "format": "csv", "model": "tests/served-api"}, "kind"),
        ({"kind": "usage", "format": "csv", "grain": "day"}, "kind"),
        ({"kind": "journal", "format": "xero"}, "mapping"),
        ({"kind": "journal", "format": "hledger", "mapping": "x = 1"}, "mapping"),
        ({"kind": "usage", "format": "csv", "period": "2099"}, "period"),
        ({"kind": "journal", "format": "hledger", "grain": "month"}, "grain"),
        ({"kind": "journal", "format": "hledger", "from": "2026-01-01T12:00:00Z"}, "from"),
        ({"kind": "journal", "format": "xero", "mapping": "=", "grain": "entry"}, "grain"),
        ({"kind": "journal", "format": "xero", "mapping": "=", "from": "2026-01-02", "to": "2026-02-01"}, "period"),
        ({"kind": "journal", "format": "xero", "mapping": "="}, "mapping"),
        ({"kind": "journal", "format": "generic", "mapping": "[accounts]\nrevenue = {code = '1'}"}, "mapping"),
        ({"kind": "usage", "format": "csv", "from": "2026-01-02", "to": "2026-01-01"}, "from"),
    ],
)
async def test_what_does_not_go_together_is_refused_by_name(
    api: ServedApi, finance: str, body: dict[str, str], param: str
) -> None:
    refused = await ask(api, "POST", "", finance, body, 400)
    assert refused["error"]["param"] == param
    assert (await ask(api, "POST", "", api.operator, body, 403))["error"]["code"] == "role_insufficient"


async def test_the_command_line_does_the_same(
    api: ServedApi, installation: tuple[Settings, Credentials], tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": installation[0].require_database_url(),
        "GIGAROUTER_EXPORTS_DIR": str(api.context.exports.path),
    }

    async def typed(*arguments: str) -> Any:
        return await asyncio.to_thread(admin_command, environment, "exports", *arguments)

    codes = tmp_path / "codes.toml"
    codes.write_text("\n".join(["[accounts]", *(f'{kind.value} = {{code = "{kind.value}"}}' for kind in LedgerKind)]))
    month = f"{api.context.db.clock.now():%Y-%m}"
    journal = await typed("create", "journal", "quickbooks", "--period", month, "--mapping", str(codes))
    assert await run.run_next(api.context.db, api.context.exports)
    [file] = (await typed("show", journal["id"]))["files"]
    assert file["name"] == f"quickbooks-{month}.csv"
    made = await typed("create", "grants", "csv.gz", "--from", "2026-01-01")
    assert await run.run_next(api.context.db, api.context.exports)
    shown = await typed("show", made["id"])
    [file] = shown["files"]
    saved = await typed("download", made["id"], file["name"], "--to", str(tmp_path / "grants.gz"))
    assert saved == {"file": str(tmp_path / "grants.gz"), "bytes": file["bytes"]}
    assert hashlib.sha256((tmp_path / "grants.gz").read_bytes()).hexdigest() == file["sha256"]


def test_serve_loads_nothing_of_what_writes_exports() -> None:
    program = "import sys, gigarouter.serve, gigarouter.jobs; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
