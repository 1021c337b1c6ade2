"""The table of all pages: path, functions, who may. A test walks it with every kind of reader.

An account's page has ``{account}`` in its path, never in the session. Fields of a query are never called ``key``: the
edge takes that for a secret in an address.
"""

from web.me import theme
from web.ops.routes import OPS
from web.parts import workshop
from web.public import first, models
from web.route import Route

ROUTES: tuple[Route, ...] = (
    # Public.
    Route(path="/", show=first.show),
    Route(path="/models", show=models.show),
    # A person's own.
    Route(path="/theme", act=theme.act),
    # Operations.
    *OPS,
    # All parts in all states, in `up` and tests.
    Route(path="/-/parts", show=workshop.show, only_workshop=True),
)
