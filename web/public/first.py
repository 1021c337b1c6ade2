"""The first page: to the catalogue, which is what visitors come for."""

from web.answers import Redirect
from web.request import PageRequest


async def show(request: PageRequest) -> Redirect:
    """Lead to the list of models."""
    del request
    return Redirect(to="/models", status=302)
