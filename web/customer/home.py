"""``/accounts/{account}``: leads to the first page of an account that there is."""

from web.answers import Redirect
from web.request import PageRequest


async def show(request: PageRequest) -> Redirect:
    """Lead to the account's usage, or to its members."""
    base = f"/accounts/{request.values['account']}"
    return Redirect(to=request.page_or(f"{base}/usage", f"{base}/members"), status=302)
