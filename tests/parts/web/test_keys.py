"""The pages of an account's keys: made once, seen once, rotated, paused, revoked; a thousand of them; who may."""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import unquote

import httpx
import pytest
from sqlalchemy import text

from gigarouter.settings import Settings
from router.changes.audit import Actor
from router.changes.transaction import transact
from router.identity.members import Role, add_member
from store.ids import AccountId, new_id, wire
from store.postgres import Database
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, a_member
from web.viewer import Membership, Viewer

pytestmark = pytest.mark.anyio
SECRET = re.compile(r"gr_(?:live|test|mgmt)_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
MANY = """
INSERT INTO keys (id, account_id, name, handle, last4, digest, use, requests_per_minute, tokens_per_minute, concurrency)
SELECT gen_random_uuid(), $1, repeat('W', 80) || i, lpad(i::text, 8, 'x'), 'wxyz', sha256(i::text::bytea), 'commercial',
    1, 1, 1
FROM generate_series(1, 1000) AS i
"""


def main_of(page: httpx.Response) -> str:
    return unescape(page.text.partition("<main")[2].partition("</main")[0])


def env_of(page: httpx.Response) -> str:
    """The file that a page offers, which is in the page itself."""
    file = re.search(r'download=".env" href="data:text/plain;charset=utf-8,([^"]+)"', page.text)
    assert file is not None, main_of(page)
    return unquote(file[1])


def fields(page: httpx.Response, action: str) -> dict[str, str]:
    """The fields of one form of a page, as a browser would send them."""
    form = next(one for one in page.text.split("<form")[1:] if f'action="{action}"' in one).partition("</form")[0]
    inputs = re.findall(r'<input[^>]* name="([^"]+)"[^>]* type="(?!checkbox)[^"]*"[^>]* value="([^"]*)"', form)
    inputs += re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    areas = re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n?([^<]*)</textarea>', form)
    chosen = re.findall(r'<select[^>]* name="([^"]+)".*?<option value="([^"]*)" selected', form, re.DOTALL)
    return {name: unescape(value) for name, value in (*inputs, *areas, *chosen)}


@pytest.fixture(scope="module")
def base(account: AccountId) -> str:
    return f"/accounts/{wire(AccountId, account)}"


@pytest.fixture(scope="module")
def crowded(build: DatabaseBuilder) -> AccountId:
    """An account with a thousand keys, of long names."""
    account = build.an_account(0, "Many")
    build.rows(MANY, account)
    return account


@pytest.fixture(scope="module")
def office(build: DatabaseBuilder) -> AccountId:
    """An account of its own for keys with networks."""
    return build.an_account(0, "Office")


async def test_a_key_is_made_and_seen_once_and_ends_with_its_name_in_the_button(
    pages: Pages, account: AccountId, base: str
) -> None:
    ann = pages.reader(a_member(account, Role.DEVELOPER, now=pages.now))
    empty = await ann.get(f"{base}/keys")
    assert "There is no key yet" in empty.text
    form = await ann.get(f"{base}/keys/new")
    typed = fields(form, f"{base}/keys/new") | {"name": "ingest", "cap_month": "20", "cap_day": "x"}
    wrong = await ann.post(f"{base}/keys/new", data=typed)
    assert wrong.status_code == 400
    assert re.search(r'name="cap_day"[^>]*aria-invalid="true"', wrong.text)
    assert fields(wrong, f"{base}/keys/new")["name"] == "ingest"
    made = await ann.post(f"{base}/keys/new", data=typed | {"cap_day": ""})
    [secret] = set(SECRET.findall(made.text))
    assert f"OPENAI_API_KEY={secret}" in env_of(made)
    assert made.headers["cache-control"] == "no-store"
    assert "content-encoding" not in made.headers
    listed = await ann.get(f"{base}/keys")
    assert "ingest" in listed.text
    assert "20.00" in listed.text
    href = re.search(rf'href="({base}/keys/key_[0-9a-f]+)"', listed.text)
    assert href is not None
    one = href[1]
    page = await ann.get(one)
    assert secret not in listed.text + page.text

    rotated = await ann.post(f"{one}/rotate", data=fields(page, f"{one}/rotate"))
    assert set(SECRET.findall(rotated.text)) != {secret}
    assert secret not in env_of(rotated)
    assert "works for 23 h 59 min more" in rotated.text or "works for 24 h" in rotated.text
    page = await ann.get(one)
    assert "End old secrets of ingest now" in page.text
    owner = pages.reader(a_member(account, Role.OWNER, now=pages.now), "owner")
    audit = main_of(await owner.get(f"{base}/audit?action=key"))
    assert "20.00 USD a month" in audit
    assert secret not in audit
    edited = await ann.post(f"{one}/edit", data=fields(page, f"{one}/edit") | {"name": "ingest 2"})
    assert edited.status_code == 303, main_of(edited)
    late = await ann.post(f"{one}/edit", data=fields(page, f"{one}/edit") | {"name": "ingest 3"})
    assert late.status_code == 409
    assert "Somebody else changed the key meanwhile" in late.text
    assert fields(late, f"{one}/edit")["name"] == "ingest 3"

    await ann.post(f"{one}/pause")
    assert "Resume key ingest 2" in (await ann.get(one)).text
    confirm = await ann.get(f"{one}/revoke")
    assert "Revoke key ingest 2" in main_of(confirm)
    ended = await ann.post(f"{one}/revoke", data=fields(confirm, f"{one}/revoke"))
    assert ended.status_code == 303
    assert "revoked" in (await ann.get(ended.headers["location"])).text
    assert "Edit" not in main_of(await ann.get(one))


async def test_the_way_back_to_a_form_that_was_sent_makes_another_key_and_a_wrong_model_loses_nothing(
    pages: Pages, ann: Viewer, base: str
) -> None:
    client = pages.reader(ann)
    typed = fields(await client.get(f"{base}/keys/new"), f"{base}/keys/new") | {"use": "commercial"}
    first, twice = [await client.post(f"{base}/keys/new", data=typed | {"name": "before"}) for _ in range(2)]
    assert SECRET.findall(first.text) == SECRET.findall(twice.text) != []
    back = await client.post(f"{base}/keys/new", data=typed | {"name": "after"})
    assert (back.status_code, "was sent before with something else in it" in back.text) == (422, True)
    again = fields(back, f"{base}/keys/new")
    assert (again["name"], again["once"] != typed["once"]) == ("after", True)
    made = await client.post(f"{base}/keys/new", data=again)
    assert made.status_code == 200
    path = re.search(rf"{base}/keys/key_\w+", (await client.get(f"{base}/keys")).text)
    assert path is not None
    edit = fields(await client.get(path[0]), f"{path[0]}/edit") | {
        "name": "typed",
        "models": "no/such",
        "cap_day": "-5",
    }
    wrong = await client.post(f"{path[0]}/edit", data=edit)
    assert (wrong.status_code, "It has to be an amount in USD with at most" in wrong.text) == (400, True)
    wrong = await client.post(f"{path[0]}/edit", data=edit | {"cap_day": ""})
    assert (wrong.status_code, "There is no model" in wrong.text) == (404, True)
    assert (fields(wrong, f"{path[0]}/edit")["name"], "no/such" in wrong.text) == ("typed", True)


async def test_who_may_see_keys_and_who_has_to_sign_in_again(pages: Pages, account: AccountId, base: str) -> None:
    finance = pages.reader(a_member(account, Role.FINANCE, now=pages.now))
    for path in ("keys", "keys/new", "management-keys", "audit"):
        refused = await finance.get(f"{base}/{path}")
        assert refused.status_code == 403, path
        assert "owner" in refused.text
    stale = pages.reader(a_member(account, Role.OWNER, now=pages.now - timedelta(hours=1)))
    assert (await stale.get(f"{base}/keys")).status_code == 200
    again = await stale.get(f"{base}/keys/new")
    assert again.status_code in (303, 401)
    missing = await stale.get(f"{base}/keys/key_{new_id().hex}")
    assert missing.status_code == 404


async def test_a_thousand_keys_take_as_few_statements_as_one(pages: Pages, crowded: AccountId) -> None:
    path = f"/accounts/{wire(AccountId, crowded)}/keys"
    reader = pages.reader(a_member(crowded, Role.OWNER, now=pages.now))
    with pages.counted() as statements:
        first = await reader.get(path)
    # The role, the keys with all that tables have of them, the time, and the account's bound.
    assert len(statements) <= 5, statements
    with pages.counted() as of_one:
        one = await reader.get(re.findall(rf'href="({path}/key_[0-9a-f]+)"', first.text)[0])
    assert (one.status_code, len(of_one) <= 6) == (200, True), of_one
    seen = set(re.findall(r"key_[0-9a-f]{32}", first.text))
    assert len(seen) == 50
    following = re.search(r'href="([^"]+)" rel="next"', first.text)
    assert following is not None
    second = await reader.get(unescape(following[1]))
    assert not seen & set(re.findall(r"key_[0-9a-f]{32}", second.text))
    assert "First page" in second.text


async def test_an_owner_makes_a_management_key_and_reads_it_in_the_audit(
    pages: Pages, account: AccountId, base: str
) -> None:
    owner = pages.reader(a_member(account, Role.OWNER, now=pages.now))
    path = f"{base}/management-keys"
    form = fields(await owner.get(path), f"{path}/new")
    refused = await owner.post(f"{path}/new", data=form | {"name": "robot"})
    assert refused.status_code == 400
    assert fields(refused, f"{path}/new")["name"] == "robot"
    made = await owner.post(f"{path}/new", data=form | {"name": "robot", "scopes": ["keys:read", "usage:read"]})
    [secret] = set(SECRET.findall(made.text))
    assert f"GIGAROUTER_MANAGEMENT_KEY={secret}" in env_of(made)
    listed = await owner.get(path)
    assert "keys:read, usage:read" in listed.text
    assert secret not in listed.text
    audit = await owner.get(f"{base}/audit?action=management_key")
    assert "management_key.create" in audit.text
    assert "robot" in audit.text
    csv = await owner.get(f"{base}/audit.csv?action=management_key")
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.text.count("management_key.create") == 1
    wrong = await owner.get(f"{base}/audit?since=yesterday")
    assert wrong.status_code == 400
    assert "yesterday" in wrong.text
    href = re.search(rf'href="({path}/mgmt_[0-9a-f]+/revoke)"', listed.text)
    assert href is not None
    confirm = await owner.get(href[1])
    assert "Revoke management key robot" in main_of(confirm)
    ended = await owner.post(href[1], data=fields(confirm, href[1]))
    assert "revoked" in main_of(await owner.get(ended.headers["location"]))


async def test_networks_that_exclude_the_reader_are_set_after_a_warning(pages: Pages, office: AccountId) -> None:
    account, base = office, f"/accounts/{wire(AccountId, office)}"
    owner = pages.reader(a_member(account, Role.OWNER, now=pages.now))
    form = await owner.get(f"{base}/keys/new")
    assert "Your address now: 127.0.0.1." in main_of(form)
    typed = fields(form, f"{base}/keys/new") | {"name": "office", "networks": "203.0.113.0/28\n203.0.113.9/24"}
    first = await owner.post(f"{base}/keys/new", data=typed)
    wrong = await owner.post(f"{base}/keys/new", data=fields(first, f"{base}/keys/new"))
    assert (first.status_code, wrong.status_code) == (400, 400), (
        "what is no network is wrong before it excludes anybody"
    )
    assert re.search(r'name="networks"[^>]*aria-invalid="true"', wrong.text)
    typed["networks"] = "203.0.113.0/28, 2001:DB8:7::/48"
    warned = await owner.post(f"{base}/keys/new", data=typed)
    assert "Not saved yet: your address now, 127.0.0.1, is in none of these networks" in main_of(warned)
    assert not SECRET.search(warned.text)
    made = await owner.post(f"{base}/keys/new", data=fields(warned, f"{base}/keys/new"))
    assert SECRET.search(made.text), main_of(made)
    href = re.search(rf'href="({base}/keys/key_[0-9a-f]+)"', made.text)
    assert href is not None
    page = await owner.get(href[1])
    assert "2001:db8:7::/48" in main_of(page)
    assert "your address now, 127.0.0.1, is in none of its networks" in main_of(page)
    # What the reader has been told is not told again with every other edit.
    form_of_key = fields(page, f"{href[1]}/edit")
    assert (await owner.post(f"{href[1]}/edit", data=form_of_key | {"name": "office 2"})).status_code == 303
    assert "2 networks" in main_of(await owner.get(f"{base}/keys"))
    page = await owner.get(href[1])
    warned = await owner.post(f"{href[1]}/edit", data=fields(page, f"{href[1]}/edit") | {"networks": "198.51.100.0/24"})
    back = fields(page, f"{href[1]}/edit") | {"networks": "127.0.0.0/8"}
    assert (await owner.post(f"{href[1]}/edit", data=back)).status_code == 303
    assert "is in none of its networks" not in main_of(await owner.get(href[1]))
    late = await owner.post(f"{href[1]}/edit", data=fields(warned, f"{href[1]}/edit"))
    assert late.status_code == 409, "the warning has not made the form anew: somebody was faster meanwhile"
    assert "203.0.113.0/28" in main_of(await owner.get(f"{base}/audit?action=key"))

    path = f"{base}/management-keys"
    typed = fields(await owner.get(path), f"{path}/new") | {"name": "deploy", "networks": "203.0.113.0/28"}
    warned = await owner.post(f"{path}/new", data=typed | {"scopes": ["keys:read"]})
    assert "Not saved yet" in main_of(warned)
    again = fields(warned, f"{path}/new") | {"scopes": ["keys:read"]}
    assert SECRET.search((await owner.post(f"{path}/new", data=again)).text)
    one = re.search(rf'href="({path}/mgmt_[0-9a-f]+/networks)"', (await owner.get(path)).text)
    assert one is not None
    networks = fields(await owner.get(one[1]), one[1])
    assert networks["networks"] == "203.0.113.0/28"
    refused = await owner.post(one[1], data=networks | {"networks": "office"})
    assert refused.status_code == 400
    saved = await owner.post(one[1], data=networks | {"networks": ""})
    assert "networks are changed" in main_of(await owner.get(saved.headers["location"]))
    late = await owner.post(one[1], data=networks | {"networks": "127.0.0.1"})
    assert late.status_code == 409
    assert fields(late, one[1])["networks"] == "127.0.0.1"


async def test_an_owner_bounds_the_life_of_keys_and_sees_what_exceeds_it(pages: Pages, office: AccountId) -> None:
    base = f"/accounts/{wire(AccountId, office)}"
    owner = pages.reader(a_member(office, Role.OWNER, now=pages.now), "policy")
    made = await owner.post(
        f"{base}/keys/new", data=fields(await owner.get(f"{base}/keys/new"), f"{base}/keys/new") | {"name": "endless"}
    )
    href = re.search(rf'href="({base}/keys/key_[0-9a-f]+)"', made.text)
    assert href is not None
    assert "no bound" in main_of(await owner.get(f"{base}/keys"))
    path = f"{base}/key-policy"
    form = fields(await owner.get(path), path)
    wrong = await owner.post(path, data=form | {"max_days": "ninety"})
    assert (wrong.status_code, fields(wrong, path)["max_days"]) == (400, "ninety")
    proposed = await owner.post(path, data=form | {"max_days": "90"})
    assert "90 days" in main_of(proposed)
    assert "stay as they are" in main_of(proposed)
    done = await owner.post(path, data=fields(proposed, path))
    listed = main_of(await owner.get(done.headers["location"]))
    assert "Longest life of a new key: 90 days." in listed
    assert "exceeds the longest life" in listed
    page = await owner.get(href[1])
    assert "from its rotation on it ends after that" in main_of(page)
    assert "in 90 days, the latest" in main_of(page)
    late = f"{pages.now + timedelta(days=100):%Y-%m-%d}"
    refused = await owner.post(f"{href[1]}/edit", data=fields(page, f"{href[1]}/edit") | {"expires_on": late})
    assert refused.status_code == 400
    assert re.search(r'name="expires_on"[^>]*aria-invalid="true"', refused.text)
    assert "at most 90 days" in refused.text
    saved = await owner.post(f"{href[1]}/edit", data=fields(page, f"{href[1]}/edit"))
    assert saved.status_code == 303
    page = await owner.get(href[1])
    assert "longest life of 90" not in main_of(page)
    # Sent again as it is, the end stays the instant that it was, and not the beginning of its day.
    before = fields(page, f"{href[1]}/edit")
    assert (await owner.post(f"{href[1]}/edit", data=before | {"name": "ended"})).status_code == 303
    assert fields(await owner.get(href[1]), f"{href[1]}/edit")["expires_at"] == before["expires_at"]
    developer = pages.reader(a_member(office, Role.DEVELOPER, now=pages.now), "developer")
    assert (await developer.get(path)).status_code == 403
    assert "Change the longest life" not in main_of(await developer.get(f"{base}/keys"))
    back = fields(await owner.get(path), path) | {"max_days": ""}
    await owner.post(path, data=fields(await owner.post(path, data=back), path))
    assert "no bound" in main_of(await owner.get(f"{base}/keys"))


@pytest.fixture
async def ann(pages: Pages, settings: Settings, account: AccountId) -> Viewer:
    """A developer who is a row of members, as one who signed in is."""
    db = Database(settings.require_database_url(), pool_size=1)
    email = f"ann-{new_id().hex}@example.com"
    member = await transact(db, Actor("cli:tests"), lambda work: add_member(work, account, email, Role.DEVELOPER))
    await db.close()
    membership = Membership(account, "Acme", Role.DEVELOPER, member.id)
    return Viewer(person="ann", email=email, memberships=(membership,), signed_in_at=pages.now)


LOGIN = text(
    """
    INSERT INTO device_logins (id, digest, user_code, client, scopes, expires_at)
    VALUES (gen_random_uuid(), sha256(:code::text::bytea), :code, 'gigarouter login', '{keys:write,billing:read}',
        now() + interval '10 minutes')
""".replace(":code::text", "CAST(:code AS text)")
)


async def test_a_login_of_a_command_line_is_approved_or_denied(
    pages: Pages, settings: Settings, ann: Viewer, base: str
) -> None:
    db = Database(settings.require_database_url(), pool_size=1)
    async with db.transaction() as tx:
        for code in ("BCDFGHJK", "ZXWVTSRQ"):
            await tx.execute(LOGIN, {"code": code})
    await db.close()
    reader = pages.reader(ann)
    start = await reader.get("/device?code=bcdf-ghjk")
    assert start.status_code == 302
    page = await reader.get(start.headers["location"])
    assert "Approve BCDF-GHJK" in page.text
    assert re.search(r'value="billing:read" disabled', page.text)
    decided = {"code": "BCDF-GHJK", "scopes": ["keys:write"], "decision": "approve"}
    done = await reader.post(f"{base}/device", data=decided)
    assert "Go back to the command line" in (await reader.get(done.headers["location"])).text
    twice = await reader.post(f"{base}/device", data=decided)
    assert twice.status_code == 409
    denied = await reader.post(f"{base}/device", data={"code": "ZXWVTSRQ", "decision": "deny"})
    assert "gets no key" in (await reader.get(denied.headers["location"])).text
    assert (await reader.get(f"{base}/device?code=BBBBBBBB")).status_code == 404
    assert "Code" in (await reader.get("/device")).text


async def test_a_license_is_read_by_anyone_and_accepted_by_a_member(pages: Pages, ann: Viewer, base: str) -> None:
    nobody = pages.reader()
    page = await nobody.get("/licenses/gemma")
    assert page.status_code == 200
    assert "Sign in" in main_of(page)
    assert (await nobody.get("/licenses/none-such")).status_code == 404
    reader = pages.reader(ann)
    href = re.search(rf'href="({base}/licenses/[^"]+)"', (await reader.get("/licenses/gemma")).text)
    assert href is not None
    form = fields(await reader.get(href[1]), href[1])
    old = await reader.post(href[1], data={"text_version": "older"})
    assert old.status_code == 409
    accepted = await reader.post(href[1], data=form)
    assert accepted.status_code == 303, main_of(accepted)
    assert ann.email in main_of(await reader.get(href[1]))
    assert ann.email in main_of(await reader.get(f"{base}/licenses"))
