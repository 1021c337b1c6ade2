"""Signing in by GitHub and by OpenID Connect: by a verified address, once, in one browser; who is known confirms it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr

from gigarouter.settings import Settings
from gigarouter.web_wiring import pages as run_pages
from tests.builders.mails import Inbox
from tests.harness.identity_service import IdentityService, identity_service
from tests.harness.plain_browser import PlainBrowser
from web.app import WebApp
from web.routes import ROUTES

pytestmark = pytest.mark.anyio
OIDC, GITHUB = "/sign-in/with/oidc", "/sign-in/with/github"


@pytest.fixture(scope="module")
def service() -> Iterator[IdentityService]:
    with identity_service() as running:
        yield running


class Site:
    def __init__(self, app: WebApp, inbox: Inbox) -> None:
        self.app = app
        self.inbox = inbox

    def browser(self) -> PlainBrowser:
        return PlainBrowser(self.app)


@pytest.fixture
async def site(settings: Settings, service: IdentityService) -> AsyncIterator[Site]:
    service.claims, service.emails, service.signs_with = {}, [], service.key
    secret = SecretStr("secret")
    changed = {
        "oidc_issuer": service.url,
        "oidc_client_id": "gigarouter",
        "oidc_client_secret": secret,
        "oidc_name": "House",
        "github_client_id": "gigarouter",
        "github_client_secret": secret,
        "github_url": service.url,
        "github_api_url": service.url,
    }
    async with run_pages(settings.model_copy(update=changed)) as context:
        yield Site(WebApp(context, ROUTES), Inbox(context.people.writes))


async def come_back(browser: PlainBrowser, service: IdentityService, path: str) -> str:
    """Leave for the service, say yes there, and come back to the page with the button: its address."""
    left = await browser.once("GET", path)
    assert left.status_code == 302, left.text
    code, state = service.authorize(left.headers["location"])
    back = f"{path.partition('?')[0]}/return?code={code}&state={state}"
    await browser.get(back)
    return back


async def test_somebody_new_comes_in_by_one_button_and_is_known_from_then_on(
    site: Site, service: IdentityService
) -> None:
    service.claims = {"sub": "new", "email": "New@example.com"}
    browser = site.browser()
    await browser.get("/sign-in?next=/models")
    assert "Sign in with House" in browser.text
    assert "Sign in with GitHub" in browser.text
    back = await come_back(browser, service, f"{OIDC}?next=/models")
    assert "__Host-session" not in browser.cookies
    await browser.press("Sign in")
    assert "Your key" in browser.text
    assert set(browser.cookies) == {"__Host-session"}
    await browser.get("/me")
    assert "New@example.com" in browser.text
    # The code is used up, and another browser has begun nothing.
    thief = site.browser()
    await thief.get(back)
    assert thief.status == 400
    await thief.post(OIDC + "/return", {"code": "x", "state": "y"})
    assert thief.status == 400
    again = site.browser()
    service.claims = {"sub": "new", "email": "changed-there@example.com"}
    await come_back(again, service, OIDC)
    await again.press("Sign in")
    assert again.path == "/me"
    assert "New@example.com" in again.text
    await again.get("/me/passkeys")
    await again.press("Remove House")
    assert "House" not in again.text
    stranger = site.browser()
    service.claims = {"sub": "other", "email": "other@example.com"}
    await come_back(stranger, service, OIDC)
    await stranger.press("Sign in")
    await stranger.get("/me/passkeys")
    action = stranger.form("Remove House").action
    assert (await again.once("POST", action)).status_code == 404
    assert (await stranger.once("POST", action)).status_code == 303


async def test_who_has_the_address_here_confirms_by_a_code_in_that_browser(
    site: Site, service: IdentityService
) -> None:
    email = "known@example.com"
    owner = site.browser()
    await owner.get("/sign-in")
    await owner.press("Send me a code", email=email)
    await owner.press("Sign in", code=await site.inbox.code(email))
    service.claims = {"sub": "claims-to-be-known", "email": email.upper()}
    other = site.browser()
    await come_back(other, service, OIDC)
    await other.press("Sign in")
    assert "There is somebody with this address" in other.text
    assert "__Host-session" not in other.cookies
    # Not confirmed: it is nobody's way in, and a code that the owner types elsewhere confirms nothing.
    await owner.post("/sign-out")
    await owner.get("/sign-in")
    await owner.press("Send me a code", email=email)
    await owner.press("Sign in", code=await site.inbox.code(email))
    third = site.browser()
    await come_back(third, service, OIDC)
    await third.press("Sign in")
    assert "__Host-session" not in third.cookies
    await third.press("Sign in", code=await site.inbox.code(email.upper()))
    assert "__Host-session" in third.cookies
    fourth = site.browser()
    await come_back(fourth, service, OIDC)
    await fourth.press("Sign in")
    assert fourth.path == "/me"


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": None},
        {"email": "not an address"},
        {"aud": "somebody-else"},
        {"iss": "https://evil.example"},
        {"nonce": "another"},
        {"exp": 1},
    ],
)
async def test_a_token_that_is_not_for_us_signs_nobody_in(
    site: Site, service: IdentityService, claims: dict[str, object]
) -> None:
    service.claims = {"sub": "bad", "email": "bad@example.com"} | claims
    browser = site.browser()
    await come_back(browser, service, OIDC)
    await browser.press("Sign in")
    assert browser.status == 400
    assert "__Host-session" not in browser.cookies


async def test_a_token_of_another_key_and_a_service_that_is_away_are_a_sentence(
    site: Site, service: IdentityService
) -> None:
    service.claims = {"sub": "forged", "email": "forged@example.com"}
    service.signs_with = ECKey.generate_key("P-256", {"kid": "one"})
    browser = site.browser()
    await come_back(browser, service, OIDC)
    await browser.press("Sign in")
    assert (browser.status, "House could not say who you are" in browser.text) == (400, True)
    await browser.get("/sign-in/with/nobody")
    assert browser.status == 404
    await browser.get(f"{OIDC}/return?error=access_denied")
    assert browser.status == 400


async def test_github_signs_in_by_its_verified_primary_address_alone(site: Site, service: IdentityService) -> None:
    service.emails = [
        {"email": "unverified@example.com", "primary": True, "verified": False},
        {"email": "second@example.com", "primary": False, "verified": True},
    ]
    browser = site.browser()
    await come_back(browser, service, GITHUB)
    await browser.press("Sign in")
    assert "no verified e-mail address" in browser.text
    service.emails = [{"email": "octo@example.com", "primary": True, "verified": True}]
    await come_back(browser, service, GITHUB)
    await browser.press("Sign in")
    assert "Your key" in browser.text
    await browser.get("/me")
    assert "octo@example.com" in browser.text
