"""The admin API, one file per noun, which is its commands' too: ``gigarouter admin`` asks it.

``operations`` is all of it: one line adds a noun.
"""

from router.api.admin.acceptances import operations as acceptances
from router.api.admin.account_views import operations as account_views
from router.api.admin.accounts import operations as accounts
from router.api.admin.audit import operations as audit
from router.api.admin.billing_documents import operations as documents
from router.api.admin.billing_documents import requests as document_requests
from router.api.admin.billing_profiles import operations as billing_profiles
from router.api.admin.books import operations as books
from router.api.admin.caps import operations as caps
from router.api.admin.claims import operations as claims
from router.api.admin.close import operations as close
from router.api.admin.closing import operations as closing
from router.api.admin.contracts import operations as contracts
from router.api.admin.corrections import operations as corrections
from router.api.admin.decisions import operations as decisions
from router.api.admin.differences import operations as differences
from router.api.admin.disputes import operations as disputes
from router.api.admin.endpoints import operations as endpoints
from router.api.admin.evidence import operations as evidence
from router.api.admin.explain import requests, routes
from router.api.admin.exports import operations as exports
from router.api.admin.grants import operations as grants
from router.api.admin.incidents import operations as incidents
from router.api.admin.invoice_maps import operations as invoice_maps
from router.api.admin.key_policies import operations as key_policies
from router.api.admin.keys import operations as keys
from router.api.admin.ledger import operations as ledger
from router.api.admin.lines import operations as lines
from router.api.admin.litellm_import import operations as litellm_import
from router.api.admin.mails import operations as mails
from router.api.admin.management_keys import operations as management_keys
from router.api.admin.manifest import operations as manifest
from router.api.admin.members import operations as members
from router.api.admin.meter_mirrors import operations as meter_mirrors
from router.api.admin.models import operations as models
from router.api.admin.movements import operations as movements
from router.api.admin.operators import operations as operators
from router.api.admin.price_impacts import operations as price_impacts
from router.api.admin.prices import operations as prices
from router.api.admin.proposals import operations as proposals
from router.api.admin.provider_invoices import operations as provider_invoices
from router.api.admin.provider_models import operations as provider_models
from router.api.admin.providers import operations as providers
from router.api.admin.queues import jobs
from router.api.admin.queues import operations as queues
from router.api.admin.receivables import operations as receivables
from router.api.admin.recharges import operations as recharges
from router.api.admin.reconciliations import operations as reconciliations
from router.api.admin.refunds import operations as refunds
from router.api.admin.resolutions import operations as resolutions
from router.api.admin.reviews import operations as reviews
from router.api.admin.schedules import operations as grant_schedules
from router.api.admin.sellers import operations as sellers
from router.api.admin.sellers import rates as exchange_rates
from router.api.admin.spaces import operations as spaces
from router.api.admin.stopped_addresses import operations as stopped_addresses
from router.api.admin.topups import operations as topups
from router.api.admin.usage import operations as usage
from router.api.admin.votes import operations as votes
from router.api.admin.waivers import operations as waivers

_nouns = (
    *(providers, provider_models, endpoints, models, prices, price_impacts, spaces),
    *(accounts, account_views, closing, grants, grant_schedules, movements, caps),
    *(keys, management_keys, key_policies, members, operators),
    *(claims, resolutions, waivers, decisions, acceptances, evidence, votes),
    *(lines, contracts, receivables, close, proposals),
    *(billing_profiles, sellers, exchange_rates, documents, document_requests),
    *(topups, recharges, refunds, disputes, reviews),
    *(reconciliations, differences, corrections, invoice_maps, provider_invoices, meter_mirrors),
    *(mails, stopped_addresses, incidents, queues, jobs),
    *(manifest, litellm_import, requests, routes, usage, ledger, books, exports, audit),
)

operations = [noun.routes for noun in _nouns]
