"""Lists the keys of one letter, and turns them off or on for this browser (WCAG 2.1.4): a cookie, as the theme is."""

from typing import ClassVar, Literal

import msgspec

from web.answers import Crumb, Page, Redirect
from web.me.theme import YEAR_S
from web.request import PageRequest
from web.shell import KEYS
from web.shell import has_shortcuts as are_on


class ShortcutsPage(Page, frozen=True, kw_only=True):
    """The list, and the switch. ``keys``: pairs of what is pressed and what it does."""

    template: ClassVar[str] = "public/shortcuts.html"

    are_on: bool
    keys: tuple[tuple[str, str], ...]


class ShortcutsForm(msgspec.Struct, frozen=True):
    """Whether there are shortcuts, and the page to go back to."""

    shortcuts: Literal["on", "off"]
    next: str = "/shortcuts"


async def show(request: PageRequest) -> ShortcutsPage:
    """All keys; those that lead somewhere work where the page has that way."""
    ways = tuple((f"g {key}", name) for name, key in KEYS.items())
    always = (("/", "Search"), ("?", "This list"), ("Ctrl K", "Search, whatever is chosen here"))
    return ShortcutsPage(
        title="Keyboard shortcuts",
        crumbs=(Crumb("Keyboard shortcuts"),),
        are_on=are_on(request.cookies),
        keys=(*always, *ways),
    )


async def act(request: PageRequest) -> Redirect:
    """Remember it."""
    form = request.form_as(ShortcutsForm)
    secure = "; Secure" if request.context.origins.is_tls else ""
    cookie = f"shortcuts={form.shortcuts}; Path=/; Max-Age={YEAR_S}; SameSite=Lax; HttpOnly{secure}"
    return Redirect(to=request.page_or(form.next, "/shortcuts"), cookies=(cookie,))
