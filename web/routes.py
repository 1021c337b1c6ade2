"""The table of all pages: path, functions, who may. A test walks it with every kind of reader.

An account's page has ``{account}`` in its path, never in the session. Fields of a query are never called ``key``: the
edge takes that for a secret in an address.
"""

from web.me import theme
from web.ops import account_name
from web.parts import mails, workshop
from web.public import first, models, unsubscribe
from web.route import STAFF, Route, Who

ROUTES: tuple[Route, ...] = (
    # Public.
    Route(path="/", show=first.show),
    Route(path="/models", show=models.show),
    # Mail programs post to it for their reader (RFC 8058).
    Route(path="/unsubscribe/{link}", show=unsubscribe.show, act=unsubscribe.act, any_origin=True),
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
    # What `up` would have mailed; on this machine alone.
    Route(path="/-/mails", show=mails.show, only_workshop=True),
)
