"""Who may what, as one table that a person can review: every operation, from the routes themselves, with its roles."""

from router.api.app import all_operations
from router.api.operation import OperationSpec, Who, operation_routes
from router.identity.members import OPERATOR_ROLES
from router.identity.scopes import ANY_SCOPE

TABLE = """
GET    /                                                anyone
GET    /admin/openapi.json                              anyone
GET    /health                                          anyone
GET    /openapi.json                                    anyone
GET    /ready                                           anyone
GET    /metrics                                         nearby
DELETE /v1/models/{model_id:path}/vote                  key usage:write
DELETE /v1/models/{model_id:path}/launch-mail           key usage:write
POST   /v1/models/{model_id:path}/launch-mail           key usage:write
GET    /v1/account                                      key billing:read usage:read
GET    /v1/account/budgets                              key billing:read usage:read
GET    /v1/account/budgets/{budget_id}                  key billing:read usage:read
GET    /v1/account/caps                                 key billing:read usage:read
GET    /v1/account/webhooks                             key billing:read usage:read
GET    /v1/account/webhooks/{webhook_id}                key billing:read usage:read
GET    /v1/account/webhooks/{webhook_id}/deliveries     key billing:read usage:read
PATCH  /v1/account/budgets/{budget_id}                  key billing:write usage:write
DELETE /v1/account/budgets/{budget_id}                  key billing:write usage:write
DELETE /v1/account/webhooks/{webhook_id}                key billing:write usage:write
POST   /v1/account/budgets                              key billing:write usage:write
POST   /v1/account/webhooks                             key billing:write usage:write
POST   /v1/account/webhooks/{webhook_id}/rotate         key billing:write usage:write
POST   /v1/account/webhooks/{webhook_id}/test           key billing:write usage:write
GET    /v1/account/grants                               key billing:read
GET    /v1/account/movements                            key billing:read
GET    /v1/account/movements/{entry_id}                 key billing:read
GET    /v1/account/billing-profile                      key billing:read
GET    /v1/account/contracts                            key billing:read
GET    /v1/account/documents                            key billing:read
GET    /v1/account/documents/{number}                   key billing:read
GET    /v1/account/documents/{number}/files/{format}    key billing:read
POST   /v1/account/documents/{number}/correct           key billing:write
GET    /v1/account/documents/{number}/proofs/{request_id} key billing:read
GET    /v1/account/portal/{link_id}                     key billing:write
GET    /v1/account/recharge                             key billing:read
GET    /v1/account/refunds                              key billing:read
GET    /v1/account/topups                               key billing:read
GET    /v1/account/topups/{topup_id}                    key billing:read
GET    /v1/model-changes                                visitor
GET    /v1/models/{model_id:path}/endpoints             visitor
GET    /v1/models                                       visitor
GET    /v1/models/{model_id:path}                       visitor
GET    /v1/organization/costs                           key billing:read usage:read
GET    /v1/organization/usage/embeddings                key billing:read usage:read
GET    /v1/requests                                     key usage:read
GET    /v1/requests/{request_id}                        key usage:read
GET    /v1/usage                                        key billing:read usage:read
POST   /v1/account/billing-profile                      key billing:write
POST   /v1/account/caps                                 key billing:write
POST   /v1/account/portal                               key billing:write
POST   /v1/account/recharge                             key billing:write
POST   /v1/account/recharge/off                         key billing:write
POST   /v1/account/close                                key owner
GET    /v1/me                                           person person:read
PATCH  /v1/me                                           person person:write
GET    /v1/me/passkeys                                  person person:read
DELETE /v1/me/passkeys/{passkey_id}                     person person:write
POST   /v1/me/passkeys/{passkey_id}/rename              person person:write
GET    /v1/me/sessions                                  person person:read
POST   /v1/me/accounts                                  person person:write
GET    /v1/me/identities                                person person:read
DELETE /v1/me/identities/{identity_id}                  person person:write
GET    /v1/me/invitations                               person person:read
GET    /v1/me/invitations/{invitation_id}               person person:read
POST   /v1/me/invitations/{invitation_id}/accept        person person:write
POST   /v1/me/invitations/{invitation_id}/decline       person person:write
POST   /v1/me/sessions/end-others                       person person:write
POST   /v1/me/sessions/{session_id}/end                 person person:write
GET    /v1/account/closing                              key billing:read owner
GET    /v1/account/exports                              owner
GET    /v1/account/exports/{export_id}                  owner
GET    /v1/account/exports/{export_id}/file             owner
POST   /v1/account/exports                              owner
POST   /v1/account/refunds                              key billing:write
POST   /v1/account/topups                               key billing:write
POST   /v1/models/{model_id:path}/evidence              key usage:write
POST   /v1/models/{model_id:path}/vote                  key usage:write
GET    /v1/invitations                                  members:read
GET    /v1/members                                      members:read
GET    /v1/members/{member_id}                          members:read
PATCH  /v1/members/{member_id}                          members:write
POST   /v1/invitations                                  members:write
POST   /v1/invitations/{invitation_id}/resend           members:write
POST   /v1/invitations/{invitation_id}/withdraw         members:write
POST   /v1/members/leave                                members:read
POST   /v1/members/{member_id}/remove                   members:write
POST   /v1/quote                                        key
POST   /v1/stripe/webhook                               anyone
GET    /v1/unsubscribe/{link}                           anyone
POST   /v1/unsubscribe/{link}                           anyone
GET    /admin/v1/acceptances                            finance_admin ops
GET    /admin/v1/acceptances/{acceptance_id}            finance_admin ops
GET    /admin/v1/account-views                          finance_admin ops
GET    /admin/v1/account-views/{view_id}                finance_admin ops
POST   /admin/v1/account-views                          ops
POST   /admin/v1/account-views/{view_id}/end            ops
GET    /admin/v1/accounts                               finance_admin ops
GET    /admin/v1/accounts/{account_id}                  finance_admin ops
GET    /admin/v1/accounts/{account_id}/billing-profile  finance_admin ops
GET    /admin/v1/accounts/{account_id}/caps             finance_admin ops
GET    /admin/v1/accounts/{account_id}/closing          finance_admin ops
GET    /admin/v1/accounts/{account_id}/grants           finance_admin ops
GET    /admin/v1/accounts/{account_id}/grants/{grant_id} finance_admin ops
GET    /admin/v1/accounts/{account_id}/movements        finance_admin ops
GET    /admin/v1/accounts/{account_id}/movements/{entry_id} finance_admin ops
GET    /admin/v1/audit                                  finance_admin ops
GET    /admin/v1/books                                  finance_admin ops
GET    /admin/v1/claims                                 finance_admin ops
GET    /admin/v1/claims/{claim_id}                      finance_admin ops
GET    /admin/v1/decisions                              finance_admin ops
GET    /admin/v1/document-requests                      finance_admin ops
GET    /admin/v1/documents                              finance_admin ops
GET    /admin/v1/documents/{number}                     finance_admin ops
GET    /admin/v1/documents/{number}/files/{format}      finance_admin ops
GET    /admin/v1/documents/{number}/verification        finance_admin ops
GET    /admin/v1/documents:preview                      finance_admin ops
GET    /admin/v1/endpoints                              finance_admin ops
GET    /admin/v1/endpoints/{endpoint_id}                finance_admin ops
GET    /admin/v1/finance/exports                        finance_admin ops
GET    /admin/v1/finance/exports/{export_id}            finance_admin ops
GET    /admin/v1/finance/exports/{export_id}/files/{name} finance_admin ops
GET    /admin/v1/evidence                               finance_admin ops
GET    /admin/v1/evidence/{evidence_id}                 finance_admin ops
GET    /admin/v1/exchange-rates                         finance_admin ops
GET    /admin/v1/finance/close                          finance_admin ops
GET    /admin/v1/finance/close/{month}                  finance_admin ops
GET    /admin/v1/finance/close/{month}/late             finance_admin ops
GET    /admin/v1/finance/close/{month}/papers           finance_admin ops
GET    /admin/v1/finance/differences                    finance_admin ops
GET    /admin/v1/finance/differences/{difference_id}    finance_admin ops
GET    /admin/v1/finance/contracts                      finance_admin ops
GET    /admin/v1/finance/contracts/{contract_id}        finance_admin ops
GET    /admin/v1/finance/disputes                       finance_admin ops
GET    /admin/v1/finance/grant-schedules                finance_admin ops
GET    /admin/v1/finance/grant-schedules/{schedule_id}  finance_admin ops
GET    /admin/v1/finance/invoice-maps                   finance_admin ops
GET    /admin/v1/finance/invoice-maps/{provider_id}     finance_admin ops
GET    /admin/v1/finance/provider-invoices              finance_admin ops
GET    /admin/v1/finance/provider-invoices/{invoice_id} finance_admin ops
GET    /admin/v1/finance/reconciliations                finance_admin ops
GET    /admin/v1/finance/reconciliations/{reconciliation_id} finance_admin ops
GET    /admin/v1/finance/meter-mirrors                  finance_admin ops
GET    /admin/v1/finance/meter-mirrors/{account_id}     finance_admin ops
GET    /admin/v1/finance/lines                          finance_admin ops
GET    /admin/v1/finance/lines/{account_id}             finance_admin ops
GET    /admin/v1/finance/proposals                      finance_admin ops
GET    /admin/v1/finance/proposals/{proposal_id}        finance_admin ops
GET    /admin/v1/finance/receivables                    finance_admin ops
GET    /admin/v1/finance/receivables/{receivable_id}    finance_admin ops
GET    /admin/v1/finance/recharges                      finance_admin ops
GET    /admin/v1/finance/recharges/{account_id}         finance_admin ops
GET    /admin/v1/finance/refunds                        finance_admin ops
GET    /admin/v1/finance/reviews                        finance_admin ops
GET    /admin/v1/finance/topups                         finance_admin ops
GET    /admin/v1/finance/topups/{topup_id}              finance_admin ops
GET    /admin/v1/mails                                  finance_admin ops
GET    /admin/v1/stopped-addresses                      finance_admin ops
POST   /admin/v1/mails/{mail_id}/drop                   ops
POST   /admin/v1/mails/{mail_id}/retry                  ops
POST   /admin/v1/stopped-addresses                      ops
POST   /admin/v1/stopped-addresses/remove               ops
GET    /admin/v1/keys                                   finance_admin ops
GET    /admin/v1/keys/{key_id}                          finance_admin ops
GET    /admin/v1/ledger:trial-balance                   finance_admin ops
GET    /admin/v1/ledger:verify                          finance_admin ops
GET    /admin/v1/accounts/{account_id}/key-policy       finance_admin ops
PATCH  /admin/v1/accounts/{account_id}/key-policy       ops
GET    /admin/v1/management-keys                        finance_admin ops
GET    /admin/v1/management-keys/{key_id}               finance_admin ops
GET    /admin/v1/manifest:export                        finance_admin ops
GET    /admin/v1/members                                finance_admin ops
GET    /admin/v1/members/{member_id}                    finance_admin ops
GET    /admin/v1/models                                 finance_admin ops
GET    /admin/v1/models/{model_id:path}                 finance_admin ops
GET    /admin/v1/operators                              operator
GET    /admin/v1/prices                                 finance_admin ops
GET    /admin/v1/prices/{price_id}                      finance_admin ops
GET    /admin/v1/price-impacts                          finance_admin ops
GET    /admin/v1/spaces                                 finance_admin ops
GET    /admin/v1/spaces/{space:path}                    finance_admin ops
GET    /admin/v1/providers                              finance_admin ops
GET    /admin/v1/providers/{provider_id}                finance_admin ops
GET    /admin/v1/requests/{request_id}                  finance_admin ops
GET    /admin/v1/resolutions                            finance_admin ops
GET    /admin/v1/resolutions/{resolution_id}            finance_admin ops
GET    /admin/v1/queues                                 finance_admin ops
GET    /admin/v1/jobs                                   finance_admin ops
GET    /admin/v1/incidents                              finance_admin ops
GET    /admin/v1/incidents/{incident_id}                finance_admin ops
POST   /admin/v1/incidents                              ops
POST   /admin/v1/incidents/{incident_id}/updates        ops
PATCH  /admin/v1/incidents/{incident_id}                ops
PATCH  /admin/v1/incidents/{incident_id}/updates/{update_id} ops
GET    /admin/v1/sellers                                finance_admin ops
GET    /admin/v1/sellers/{seller_id}                    finance_admin ops
GET    /admin/v1/usage                                  finance_admin ops
GET    /admin/v1/votes                                  finance_admin ops
GET    /admin/v1/waivers                                finance_admin ops
GET    /admin/v1/waivers/{waiver_id}                    finance_admin ops
GET    /v1/acceptances                                  any
GET    /v1/alerts                                       billing:read usage:read
GET    /v1/audit                                        members:write
GET    /v1/device/logins/{user_code}                    keys:write
GET    /v1/keys                                         keys:read
GET    /v1/keys/{key_id}                                keys:read
GET    /v1/licenses                                     visitor
GET    /v1/licenses/{license}                           visitor
GET    /v1/licenses/{license}/acceptance                any
GET    /v1/account/key-policy                           keys:read
PATCH  /v1/account/key-policy                           owner
GET    /v1/management-keys                              owner
GET    /v1/management-keys/{key_id}                     owner
GET    /v1/model-changes                                visitor
GET    /v1/models/{model_id:path}/endpoints             visitor
GET    /v1/principal                                    key any
GET    /v1/requests                                     key usage:read
PATCH  /admin/v1/accounts/{account_id}                  finance_admin ops
PATCH  /admin/v1/endpoints/{endpoint_id}                ops
PATCH  /admin/v1/finance/differences/{difference_id}    finance_admin
PATCH  /admin/v1/finance/lines/{account_id}             finance_admin
PATCH  /admin/v1/keys/{key_id}                          ops
PATCH  /admin/v1/members/{member_id}                    ops
PATCH  /admin/v1/models/{model_id:path}                 ops
PATCH  /admin/v1/providers/{provider_id}                ops
PATCH  /v1/keys/{key_id}                                keys:write
POST   /admin/v1/acceptances                            ops
POST   /admin/v1/accounts                               finance_admin ops
POST   /admin/v1/accounts/{account_id}/billing-profile  finance_admin
POST   /admin/v1/accounts/{account_id}/billing-profile/erase finance_admin
POST   /admin/v1/accounts/{account_id}/caps             finance_admin ops
POST   /admin/v1/accounts/{account_id}/close            finance_admin
POST   /admin/v1/accounts/{account_id}/grants           finance_admin
POST   /admin/v1/accounts/{account_id}/resume           finance_admin ops
POST   /admin/v1/accounts/{account_id}/suspend          finance_admin ops
POST   /admin/v1/claims                                 ops
POST   /admin/v1/document-requests/{request_id}/retry   finance_admin
POST   /admin/v1/documents/{number}/collect             finance_admin
POST   /admin/v1/documents/{number}/credit              finance_admin
POST   /admin/v1/documents/{number}/send                finance_admin
POST   /admin/v1/documents/{number}/void                finance_admin
POST   /admin/v1/documents:issue                        finance_admin
POST   /admin/v1/documents:issue-month                  finance_admin
POST   /admin/v1/endpoints                              ops
POST   /admin/v1/endpoints/{endpoint_id}/drain          ops
POST   /admin/v1/endpoints/{endpoint_id}/off            ops
POST   /admin/v1/endpoints/{endpoint_id}/probe          ops
POST   /admin/v1/endpoints/{endpoint_id}/quarantine     ops
POST   /admin/v1/endpoints/{endpoint_id}/resume         ops
POST   /admin/v1/endpoints/{endpoint_id}/test           ops
POST   /admin/v1/endpoints/{endpoint_id}:activate       ops
POST   /admin/v1/finance/exports                        finance_admin
POST   /admin/v1/finance/exports/{export_id}/cancel     finance_admin
POST   /admin/v1/evidence/{evidence_id}/resolve         ops
POST   /admin/v1/exchange-rates                         finance_admin
POST   /admin/v1/finance/close/{month}/finish           finance_admin
POST   /admin/v1/finance/close/{month}/sign-off         finance_admin
POST   /admin/v1/finance/close/{month}/start            finance_admin
POST   /admin/v1/finance/grant-schedules                finance_admin
POST   /admin/v1/finance/grant-schedules/{schedule_id}/end finance_admin
POST   /admin/v1/finance/contracts                      finance_admin
POST   /admin/v1/finance/contracts/{contract_id}/end    finance_admin
POST   /admin/v1/finance/contracts/{contract_id}/fund   finance_admin
POST   /admin/v1/finance/lines/{account_id}/end         finance_admin
POST   /admin/v1/finance/lines/{account_id}/open        finance_admin
POST   /admin/v1/finance/proposals/{proposal_id}/approve finance_admin
POST   /admin/v1/finance/proposals/{proposal_id}/reject finance_admin
POST   /admin/v1/finance/receivables/{receivable_id}/pay finance_admin
POST   /admin/v1/finance/receivables/{receivable_id}/pay-back finance_admin
POST   /admin/v1/finance/recharges/{account_id}/off     finance_admin
POST   /admin/v1/finance/receivables/{receivable_id}/write-off finance_admin
POST   /admin/v1/finance/refunds                        finance_admin
POST   /admin/v1/finance/corrections                    finance_admin
POST   /admin/v1/finance/differences/{difference_id}/resolve finance_admin
POST   /admin/v1/finance/invoice-maps                   finance_admin
POST   /admin/v1/finance/meter-mirrors/{account_id}/off finance_admin
POST   /admin/v1/finance/meter-mirrors/{account_id}/on  finance_admin
POST   /admin/v1/finance/provider-invoices              finance_admin
POST   /admin/v1/finance/provider-invoices/{invoice_id}/pay finance_admin
POST   /admin/v1/finance/provider-invoices/{invoice_id}/settle finance_admin
POST   /admin/v1/finance/provider-invoices/{invoice_id}/void finance_admin
POST   /admin/v1/finance/reconciliations                finance_admin
POST   /admin/v1/finance/reviews/{review_id}/resolve    finance_admin
POST   /admin/v1/finance/topups                         finance_admin
POST   /admin/v1/keys                                   ops
POST   /admin/v1/keys/{key_id}/end-old-secrets          ops
POST   /admin/v1/keys/{key_id}/pause                    ops
POST   /admin/v1/keys/{key_id}/resume                   ops
POST   /admin/v1/keys/{key_id}/revoke                   ops
POST   /admin/v1/keys/{key_id}/rotate                   ops
PATCH  /admin/v1/management-keys/{key_id}               ops
POST   /admin/v1/management-keys                        ops
POST   /admin/v1/management-keys/{key_id}/revoke        ops
POST   /admin/v1/manifest:apply                         ops
POST   /admin/v1/manifest:import-litellm                ops
POST   /admin/v1/manifest:plan                          ops
POST   /admin/v1/members                                ops
POST   /admin/v1/members/{member_id}/remove             ops
POST   /admin/v1/models                                 ops
POST   /admin/v1/models/{model_id:path}:announce        ops
POST   /admin/v1/models/{model_id:path}:deprecate       ops
POST   /admin/v1/models/{model_id:path}:launch          ops
POST   /admin/v1/models/{model_id:path}:retire          ops
POST   /admin/v1/models:import                          ops
POST   /admin/v1/operators                              operator
POST   /admin/v1/operators/invite                       operator
POST   /admin/v1/operators/{key_id}/revoke              operator
POST   /admin/v1/prices                                 finance_admin
POST   /admin/v1/providers                              ops
POST   /admin/v1/providers/{provider_id}/credential     ops
POST   /admin/v1/providers/{provider_id}/discover       ops
POST   /admin/v1/providers/{provider_id}/models         ops
POST   /admin/v1/providers/{provider_id}/test           ops
POST   /admin/v1/providers:reseal                       ops
POST   /admin/v1/resolutions                            ops
POST   /admin/v1/routes:explain                         finance_admin ops
POST   /admin/v1/sellers                                finance_admin
POST   /admin/v1/waivers                                finance_admin
POST   /admin/v1/waivers/{waiver_id}/revoke             finance_admin
POST   /v1/device/code                                  anyone
POST   /v1/device/logins/{user_code}/approve            keys:write
POST   /v1/device/logins/{user_code}/deny               keys:write
POST   /v1/device/token                                 anyone
POST   /v1/keys                                         keys:write
POST   /v1/keys/{key_id}/end-old-secrets                keys:write
POST   /v1/keys/{key_id}/pause                          keys:write
POST   /v1/keys/{key_id}/resume                         keys:write
POST   /v1/keys/{key_id}/revoke                         keys:write
POST   /v1/keys/{key_id}/rotate                         keys:write
POST   /v1/licenses/{license}/acceptance                keys:write
PATCH  /v1/management-keys/{key_id}                     owner
POST   /v1/management-keys                              owner
POST   /v1/management-keys/{key_id}/revoke              owner
POST   /v1/models/{model_id:path}/evidence              key usage:write
POST   /v1/principal/revoke                             any
"""


def specs() -> list[OperationSpec]:
    return [route.spec for noun in all_operations() for route in operation_routes(noun.routes)]


def who_of(spec: OperationSpec) -> str:
    """Operators by role; keys of an account, and beside them management keys and members by scope."""
    who = [] if spec.who is Who.MANAGER else [spec.who.value]
    scopes = ["any"] if spec.scopes == ANY_SCOPE else sorted(spec.scopes)
    return " ".join(sorted(spec.roles) or [*who, *scopes])


def test_who_may_what_is_this_table() -> None:
    found = {(*spec.name, who_of(spec)) for spec in specs()}
    table = {tuple(line.split(maxsplit=2)) for line in TABLE.strip().splitlines()}
    assert found == table
    assert len(found) == len(specs())


def test_every_operation_for_operators_is_for_some_of_them() -> None:
    for spec in specs():
        assert spec.roles <= OPERATOR_ROLES
        assert (spec.who is Who.OPERATOR) == bool(spec.roles or spec.local)
        assert (spec.who is Who.OPERATOR) == spec.path.startswith("/admin/v1/"), spec.path


def test_no_operation_that_writes_money_is_for_ops() -> None:
    money = {spec.path for spec in specs() if spec.method == "POST" and spec.roles and "ops" not in spec.roles}
    assert {path.rpartition("/")[2] for path in money} == {
        *("prices", "waivers", "revoke", "grants"),
        *("open", "end", "pay", "start", "finish", "sign-off", "write-off", "close", "approve", "reject"),
        *("exports", "cancel"),
        *("billing-profile", "erase", "sellers", "exchange-rates", "documents:issue", "credit", "void", "send"),
        *("documents:issue-month", "corrections"),
        "collect",
        "pay-back",
        *("topups", "refunds", "resolve", "off", "grant-schedules", "retry"),
        *("reconciliations", "invoice-maps", "provider-invoices", "settle"),
        *("contracts", "fund", "on"),
    }


def test_a_noun_and_a_verb_name_one_operation() -> None:
    names = [(spec.noun, spec.verb) for spec in specs() if spec.who is Who.OPERATOR]
    assert len(names) == len(set(names))
