"""A write of the console: shown first, carried out once, refused with the difference; nothing typed is lost."""

import re

import httpx
import pytest

from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator

pytestmark = pytest.mark.anyio


def fields(page: httpx.Response) -> dict[str, str]:
    """The fields of the page's own form, as a browser would send them."""
    main = page.text.partition("<main")[2]
    inputs = re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', main)
    return {name: value.replace("&#34;", '"') for name, value in inputs}


async def test_a_rename_is_shown_then_done_once_then_refused_to_who_is_late(
    pages: Pages, build: DatabaseBuilder, account: AccountId
) -> None:
    path = f"/ops/accounts/{wire(AccountId, account)}/name"
    operator = pages.reader(an_operator(now=pages.now))
    form = await operator.get(path)
    late = fields(form)
    proposed = await operator.post(path, data=fields(form) | {"name": "Acme & Sons"})
    assert proposed.status_code == 200
    assert "Acme &amp; Sons" in proposed.text
    assert "Rename Acme" in proposed.text
    names = await operator.get(path)
    assert fields(names)["name"] == "Acme"
    confirmed = fields(proposed) | {"name": "Acme & Sons"}
    done, again = [await operator.post(path, data=confirmed) for _ in range(2)]  # pressed twice
    assert done.status_code == again.status_code == 303
    assert "Acme &amp; Sons" in (await operator.get(done.headers["location"])).text

    refused = await operator.post(path, data=late | {"name": "Other"})
    assert refused.status_code == 409
    assert "Somebody else changed it" in refused.text
    assert fields(refused)["name"] == "Other"
    assert "Acme &amp; Sons" in refused.text


async def test_what_is_wrong_stands_at_its_field(pages: Pages, account: AccountId) -> None:
    path = f"/ops/accounts/{wire(AccountId, account)}/name"
    operator = pages.reader(an_operator(now=pages.now))
    given = fields(await operator.get(path)) | {"name": "x" * 300}
    refused = await operator.post(path, data=given)
    assert refused.status_code == 400
    assert 'aria-invalid="true"' in refused.text
    assert fields(refused)["name"] == "x" * 300
    unknown = await operator.post(path, data=given | {"owner": "me"})
    assert unknown.status_code == 400
