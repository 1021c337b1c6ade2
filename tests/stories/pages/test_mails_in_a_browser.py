"""Every mail as its reader sees it: accessible, within 320 px, light and dark; nothing is fetched and nothing runs."""

import pytest

from mail.render import Surroundings, render
from tests.builders.example_mails import EXAMPLES, stored
from tests.harness.browser import NewWindow
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio

AROUND = Surroundings("https://house.example")


async def test_every_mail_can_be_read_and_has_its_picture(open_window: NewWindow) -> None:
    window = await open_window(java_script_enabled=True)
    seen = set()
    for mail in EXAMPLES:
        rendered = render(stored(mail), mail, AROUND)
        await window.page.set_content(rendered.html)
        assert await window.page.title() == rendered.subject
        await window.check_fits()
        await take_pictures(window, f"mail-{mail.kind.replace('_', '-')}")
        # What mails have in common is one layout: whoever has a topic, a list of paragraphs, neither.
        shape = (mail.topic is None, rendered.html.count("<p>"))
        if shape not in seen:
            seen.add(shape)
            for scheme in ("light", "dark"):
                await window.page.emulate_media(color_scheme=scheme)
                await window.check_accessible()
