"""Stories of people and calls at once: a key rotated, a license settled, a model launched, a session ended."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from playwright.async_api import Page, expect

from router.admin.launch import launch_model
from router.changes.transaction import UnitOfWork, transact
from router.identity.members import Role
from store.ids import ModelId
from tests.builders.database import ACTOR, DatabaseBuilder, add_model
from tests.harness.browser import Window
from tests.harness.fake_upstream import Upstream
from tests.harness.real_pages import LIVE, RealPages, an_operator
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
SECRET = re.compile(r"gr_live_\w{8}_\w{32}_\w{6}")
CONTESTED = "codefuse-ai/F2LLM-v2-4B"
# What calls or looks again without one takes a core from the browser.
PAUSE_S = 0.02
WANTED = ModelId("wanted/one"), ModelId("wanted/two")


@pytest.fixture(scope="module")
def database(database: DatabaseBuilder, upstream: Upstream) -> DatabaseBuilder:
    """With two models that lack nothing to be launched."""
    for model in WANTED:
        database.as_owner(partial(announce, model))
        database.an_endpoint(model, upstream.base_url, name=model.replace("/", "-"))
    return database


async def announce(model: ModelId, work: UnitOfWork) -> None:
    await add_model(work.connection, model, dimensions=384)


async def secret_of(page: Page) -> str:
    """The key that a page shows."""
    figure = page.get_by_role("figure", name=re.compile("^(Your key|Key)$"))
    await expect(figure).to_be_visible()
    [found] = SECRET.findall(await figure.inner_text())
    return str(found)


async def sign_in(pages: RealPages, email: str, *, has_script: bool, path: str = "/sign-in") -> tuple[Window, str]:
    """A window of somebody who has just opened an account, and their key."""
    window = await pages.window(java_script_enabled=has_script)
    page = await window.open(path)
    await pages.type_code(page, email)
    return window, await secret_of(page)


class Calls:
    """Calls with whatever key is set, some fifty a second; ``statuses`` of all."""

    def __init__(self, api: ServedApi, key: str) -> None:
        self.api = api
        self.key = key
        self.statuses: list[int] = []
        self._answered = asyncio.Event()

    async def embed(self, key: str) -> int:
        """One call's status."""
        body, headers = {"model": LIVE, "input": "hello"}, {"authorization": f"Bearer {key}"}
        return (await self.api.client.post("/v1/embeddings", json=body, headers=headers)).status_code

    async def run(self) -> None:
        while True:
            self.statuses.append(await self.embed(self.key))
            self._answered.set()
            await asyncio.sleep(PAUSE_S)

    async def more(self, count: int = 3) -> None:
        """Wait until so many more were answered."""
        until = len(self.statuses) + count
        while len(self.statuses) < until:
            self._answered.clear()
            await self._answered.wait()


@asynccontextmanager
async def calls_with(api: ServedApi, key: str) -> AsyncIterator[Calls]:
    calls = Calls(api, key)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(calls.run())
        yield calls
        task.cancel()


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    """Look until it is so: pages and API follow a change within a moment."""
    async with asyncio.timeout(60):
        while not await look():  # noqa: ASYNC110 - what is looked at is in other processes
            await asyncio.sleep(PAUSE_S)


@BOTH
async def test_a_key_is_rotated_while_calls_run_and_none_fails(
    pages: RealPages, api: ServedApi, *, has_script: bool
) -> None:
    window, old = await sign_in(pages, f"rotates-{has_script}@example.com".lower(), has_script=has_script)
    page = window.page
    async with calls_with(api, old) as calls:
        await calls.more()
        await window.open("/me")
        await page.get_by_role("row").nth(1).get_by_role("link").click()
        await page.get_by_role("link", name="Keys", exact=True).click()
        await page.get_by_role("row").filter(has_text="gr_live").get_by_role("link").first.click()
        await page.get_by_role("button", name=re.compile("^Rotate key")).click()
        new = await secret_of(page)
        assert new != old
        # The old one works on until it is replaced everywhere.
        await calls.more()
        calls.key = new
        await calls.more()
        await page.get_by_role("link", name="I have kept it").click()
        await page.get_by_role("button", name=re.compile("^End old secrets")).click()
        await calls.more()
        await eventually(lambda: refuses(calls, old))
    assert set(calls.statuses) == {200}


async def refuses(calls: Calls, key: str) -> bool:
    return await calls.embed(key) == 401


@BOTH
async def test_a_model_that_was_voted_for_is_launched_and_its_voter_is_mailed(
    pages: RealPages, *, has_script: bool
) -> None:
    model, email = WANTED[has_script], f"votes-{has_script}@example.com".lower()
    window, _ = await sign_in(pages, email, has_script=has_script, path=f"/sign-in?next=/models/{model}")
    page = window.page
    await page.get_by_role("link", name="Back to where you were").click()
    await page.get_by_role("button", name=re.compile("^Vote for")).click()
    await expect(page.get_by_text("Your vote is counted.")).to_be_visible()
    await transact(pages.inbox.db, ACTOR, partial(launch_model, model_id=model, reason="Many want it."))
    mails = await pages.sent(email)
    link = mails[-1].partition(f"{pages.url}/models/")[2].split()[0]
    assert link == model, mails

    async def is_live() -> bool:
        return not await (await window.open(f"/models/{link}")).get_by_text("coming soon").count()

    await eventually(is_live)
    await expect(page.get_by_text("It went live.")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("^Vote for"))).to_have_count(0)


async def test_a_conflict_is_settled_with_a_customers_evidence_and_everything_says_so_at_once(
    pages: RealPages, api: ServedApi
) -> None:
    window, key = await sign_in(pages, "knows@example.com", has_script=False, path=f"/sign-in?next=/models/{CONTESTED}")
    page = window.page
    await page.get_by_role("link", name="Back to where you were").click()
    assert await verdicts(page, api, key) == {"claims conflict", False}
    await page.get_by_text("You know better? Send evidence").click()
    await page.get_by_label("What the license is, and how you know").fill("The maker wrote to us.")
    await page.get_by_label("Link to where it can be seen").fill("https://example.com/letter")
    await page.get_by_role("button", name=re.compile("^Send evidence")).click()
    await expect(page.get_by_text("Your evidence was sent.")).to_be_visible()
    desk = await an_operator(pages, Role.OPS)
    ops = desk.page
    await ops.get_by_role("button", name="Make the passkey").click()
    await ops.get_by_role("link", name="Operations").click()
    await ops.get_by_role("link", name="License desk").click()
    await ops.get_by_role("link", name=f"Look at {CONTESTED}").click()
    await expect(ops.get_by_role("link", name="https://example.com/letter")).to_be_visible()
    await ops.get_by_role("link", name="Rule that Apache-2.0 holds").click()
    await ops.get_by_role("textbox", name="Reason").fill("The maker says so in writing.")
    await ops.get_by_role("textbox", name="Evidence").fill("https://example.com/letter")
    await ops.get_by_role("button", name="See what would change").click()
    await ops.get_by_role("button", name=f"Rule on the license of {CONTESTED}").click()
    await expect(ops.get_by_role("status").first).to_contain_text("It is done")

    async def has_changed() -> bool:
        return await verdicts(page, api, key) == {"commercial use permitted", True}

    await eventually(has_changed)


async def verdicts(page: Page, api: ServedApi, key: str) -> set[object]:
    """What the list, the page, its JSON, the API and the verdict for a key say: the chip's words, and may it call."""
    await page.goto(f"/models?q={CONTESTED}")
    of_list = await page.get_by_role("row").nth(1).get_by_role("cell").nth(1).inner_text()
    await page.goto(f"/models/{CONTESTED}")
    of_page = await page.locator("dl.figures .chip").inner_text()
    may = await page.get_by_role("listitem").filter(has_text="declared for").first.inner_text()
    answer = await api.client.get(f"/v1/models/{CONTESTED}", headers={"authorization": f"Bearer {key}"})
    file = await page.request.get(f"/models/{CONTESTED}.json")
    of_api, of_file = answer.json(), await file.json()
    assert of_api["license_verdict"] == of_file["license_verdict"], "the file is the API's"
    signs = {of_list.strip(), of_page.partition(" ")[2].strip()}
    assert of_api["license_conflict"] == (signs == {"claims conflict"})
    return signs | {"may call it" in may}


@BOTH
async def test_a_session_that_was_ended_elsewhere_loses_nothing_that_was_typed(
    pages: RealPages, *, has_script: bool
) -> None:
    email = f"elsewhere-{has_script}@example.com".lower()
    window, _ = await sign_in(pages, email, has_script=has_script)
    page = window.page
    await window.open("/me")
    await page.get_by_role("row").nth(1).get_by_role("link").click()
    await page.get_by_role("link", name="Keys", exact=True).click()
    await page.get_by_role("link", name="New key").click()
    await page.get_by_role("textbox", name="Name").fill("typed before")
    other = await pages.window(java_script_enabled=has_script)
    await pages.type_code(await other.open("/sign-in?next=/me/sessions"), email)
    await other.page.get_by_role("button", name="Sign out everywhere else").click()
    await expect(other.page.get_by_role("row")).to_have_count(2)
    window.expected.add(401)
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.get_by_role("status").first).to_contain_text("What you typed is kept")
    await pages.type_code(page, email)
    await page.get_by_role("button", name="Send it now").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your key typed before")
    assert await secret_of(page)
