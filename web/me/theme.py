"""Switches between light and dark for this browser: a cookie, so that the server renders it and nothing flashes."""

from typing import Literal

import msgspec

from web.answers import Redirect
from web.request import PageRequest

YEAR_S = 365 * 24 * 3600


class ThemeForm(msgspec.Struct, frozen=True):
    """The theme, and the page to go back to."""

    theme: Literal["light", "dark"]
    next: str = "/"


async def act(request: PageRequest) -> Redirect:
    """Remember the theme."""
    form = request.form_as(ThemeForm)
    secure = "; Secure" if request.context.origins.is_tls else ""
    cookie = f"theme={form.theme}; Path=/; Max-Age={YEAR_S}; SameSite=Lax; HttpOnly{secure}"
    return Redirect(to=request.page_or(form.next, "/"), cookies=(cookie,))
