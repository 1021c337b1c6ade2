"""The customers' API, one file per noun.

``operations`` is all of it but the hot one: one line adds a noun. What has a model's id within its path stands before
models, whose ids have slashes.
"""

from router.api.public.account import operations as account
from router.api.public.alerts import operations as alerts
from router.api.public.audit import operations as audit
from router.api.public.budgets import operations as budgets
from router.api.public.calls import operations as calls
from router.api.public.caps import operations as caps
from router.api.public.closing import operations as closing
from router.api.public.contracts import operations as contracts
from router.api.public.device import operations as device
from router.api.public.documents import operations as documents
from router.api.public.documents import profile_operations as billing_profiles
from router.api.public.evidence import operations as evidence
from router.api.public.first_page import operations as first_page
from router.api.public.grants import operations as grants
from router.api.public.invitations import operations as invitations
from router.api.public.key_policy import operations as key_policy
from router.api.public.keys import operations as keys
from router.api.public.launch_mail import operations as launch_mail
from router.api.public.licenses import acceptances
from router.api.public.licenses import operations as licenses
from router.api.public.management_keys import operations as management_keys
from router.api.public.me import operations as me
from router.api.public.me import passkeys, sessions
from router.api.public.members import operations as members
from router.api.public.model_changes import operations as model_changes
from router.api.public.model_endpoints import operations as model_endpoints
from router.api.public.models import operations as models
from router.api.public.movements import operations as movements
from router.api.public.openai_usage import operations as openai_usage
from router.api.public.own_accounts import operations as own_accounts
from router.api.public.own_exports import operations as exports
from router.api.public.own_identities import operations as own_identities
from router.api.public.own_invitations import operations as own_invitations
from router.api.public.portal import operations as portal
from router.api.public.principal import operations as principal
from router.api.public.quote import operations as quotes
from router.api.public.recharge import operations as recharge
from router.api.public.refunds import operations as refunds
from router.api.public.requests import operations as requests
from router.api.public.stripe_webhook import operations as stripe_webhook
from router.api.public.topups import operations as topups
from router.api.public.unsubscribe import operations as unsubscribe
from router.api.public.usage import operations as usage
from router.api.public.votes import operations as votes
from router.api.public.webhooks import operations as webhooks

operations = [
    *(
        votes,
        launch_mail,
        model_endpoints,
        evidence,
        models,
        model_changes,
        account,
        closing,
        exports,
        grants,
        movements,
        contracts,
        caps,
        budgets,
        webhooks,
        billing_profiles,
        documents,
    ),
    *(members, invitations),
    *(me, sessions, passkeys, own_accounts, own_invitations, own_identities),
    *(topups, refunds, recharge, portal),
    *(keys, management_keys, key_policy, principal, device, licenses, acceptances, alerts, audit),
    *(calls, requests, quotes, usage, openai_usage, stripe_webhook, unsubscribe, first_page),
]
