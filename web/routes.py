"""The table of all pages, by reader: path, functions, who may. A test walks it with every kind of reader.

An account's page has ``{account}`` in its path, never in the session. Fields of a query are never called ``key``: the
edge takes that for a secret in an address.
"""

from web.customer.routes import CUSTOMER
from web.finance.routes import FINANCE
from web.me.routes import OWN
from web.ops.routes import OPS
from web.parts import mails, workshop
from web.public.routes import PUBLIC
from web.route import Route
from web.sign_in.routes import SIGN_IN

ROUTES: tuple[Route, ...] = (
    *PUBLIC,
    *SIGN_IN,
    *OWN,
    *CUSTOMER,
    *OPS,
    *FINANCE,
    # All parts in all states, in `up` and tests.
    Route(path="/-/parts", show=workshop.show, only_workshop=True),
    # What `up` would have mailed; on this machine alone.
    Route(path="/-/mails", show=mails.show, only_workshop=True),
)
