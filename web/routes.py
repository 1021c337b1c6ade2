"""The table of all pages: path, functions, who may. A test walks it with every kind of reader.

An account's page has ``{account}`` in its path, never in the session. Fields of a query are never called ``key``: the
edge takes that for a secret in an address.
"""

from web.me import theme
from web.ops import account_name
from web.parts import workshop
from web.public import files, first, models, pricing
from web.public.documentation import errors, index, reference
from web.route import STAFF, Route, Who

ROUTES: tuple[Route, ...] = (
    # Public.
    Route(path="/", show=first.show),
    Route(path="/models", show=models.show),
    Route(path="/pricing", show=pricing.show),
    Route(path="/docs", show=index.show),
    Route(path="/docs/errors", show=errors.show),
    Route(path="/docs/api", show=reference.show),
    Route(path="/docs/api/{operation}", show=reference.show_operation),
    Route(path="/docs/{article}", show=index.show_article),
    Route(path="/robots.txt", show=files.show_robots),
    Route(path="/sitemap.xml", show=files.show_sitemap),
    Route(path="/llms.txt", show=files.show_llms),
    # A person's own.
    Route(path="/theme", act=theme.act),
    # Operations.
    Route(
        path="/ops/accounts/{account}/name",
        show=account_name.show,
        act=account_name.act,
        who=Who.OPERATOR,
        roles=STAFF,
        fresh=True,
    ),
    # All parts in all states, in `up` and tests.
    Route(path="/-/parts", show=workshop.show, only_workshop=True),
)
