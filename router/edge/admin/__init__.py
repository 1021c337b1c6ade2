"""The admin API, one file per noun; each is a door to the commands that ``gigarouter admin`` has too.

``operations`` is all of it: one line adds a noun.
"""

from router.edge.admin.acceptances import operations as acceptances
from router.edge.admin.accounts import operations as accounts
from router.edge.admin.audit import operations as audit
from router.edge.admin.claims import operations as claims
from router.edge.admin.decisions import operations as decisions
from router.edge.admin.endpoints import operations as endpoints
from router.edge.admin.grants import operations as grants
from router.edge.admin.keys import operations as keys
from router.edge.admin.members import operations as members
from router.edge.admin.models import operations as models
from router.edge.admin.prices import operations as prices
from router.edge.admin.providers import operations as providers
from router.edge.admin.resolutions import operations as resolutions
from router.edge.admin.routes import operations as routes
from router.edge.admin.waivers import operations as waivers

operations = [
    providers,
    endpoints,
    models,
    prices,
    claims,
    resolutions,
    waivers,
    decisions,
    acceptances,
    accounts,
    grants,
    keys,
    members,
    audit,
    routes,
]
