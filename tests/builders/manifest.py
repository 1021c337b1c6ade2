"""Plans and applies a catalogue file, by default the example of its page, on a real database."""

import re
from pathlib import Path

import msgspec

from router.changes.audit import Actor
from router.manifest import apply as manifest_apply
from router.manifest import report, schema
from router.manifest.apply import ApplyRequest
from router.manifest.values import Decisions, Plan
from router.registry.endpoints import EndpointView, list_endpoints
from router.values import EndpointState
from store.ids import ModelId
from store.postgres import Database
from tests.builders.registry import move

FILES = Actor("cli:files")
EXAMPLE = re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[2] / "docs/catalogue.md").read_text(), re.DOTALL)[0]
MODEL = ModelId("acme/embed-1")


def order(text: str, **decisions: object) -> ApplyRequest:
    entries = schema.read(text)
    return ApplyRequest(lambda _: entries, msgspec.convert(decisions, Decisions))


async def plan(db: Database, text: str = EXAMPLE, **decisions: object) -> Plan:
    return await manifest_apply.plan(db, FILES, order(text, **decisions))


async def apply(db: Database, text: str = EXAMPLE, **decisions: object) -> Plan:
    return await manifest_apply.apply(db, FILES, order(text, **decisions))


async def the_endpoint(db: Database) -> EndpointView:
    async with db.transaction() as connection:
        (view,) = await list_endpoints(connection, MODEL)
        return view


async def make_live(db: Database) -> None:
    """As a passed test does."""
    await move(db, (await the_endpoint(db)).endpoint.id, EndpointState.PROBING, EndpointState.LIVE)


def told(plan: Plan) -> str:
    return "\n".join(report.plan_lines(plan))
