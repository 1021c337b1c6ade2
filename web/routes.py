"""The table of all pages: path, functions, who may. A test walks it with every kind of reader.

An account's page has ``{account}`` in its path, never in the session. Fields of a query are never called ``key``: the
edge takes that for a secret in an address.
"""

from web.customer import (
    billing,
    calls,
    caps,
    credit,
    documents,
    first_call,
    home,
    members,
    movements,
    recharge,
    topup,
    usage,
    usage_csv,
    usage_proof,
)
from web.me import invitation, passkeys, profile, sessions, theme
from web.ops.routes import OPS
from web.parts import mails, workshop
from web.public import compare, files, first, model, model_files, model_twins, models, pricing, unsubscribe
from web.public.documentation import errors, index, reference
from web.route import BUILDERS, MEMBERS, MONEY, OWNERS, Route, Who
from web.sign_in import code, link, operator, out, passkey, start

# A form that was refused for want of a fresh sign-in comes along, encoded once more.
CARRIED_BYTES_MAX = 256 * 1024
MEMBERS_PATH = "/accounts/{account}/members"
CREDIT_PATH = "/accounts/{account}/credit"
DOCUMENTS_PATH = "/accounts/{account}/documents"

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
    # Mail programs post to it for their reader (RFC 8058).
    Route(path="/unsubscribe/{link}", show=unsubscribe.show, act=unsubscribe.act, any_origin=True),
    Route(path="/models.json", show=model_files.show_json),
    Route(path="/models.csv", show=model_files.show_csv),
    Route(path="/models.atom", show=model_files.show_atom),
    Route(path="/models/{owner}/{name}.md", show=model_twins.show_markdown),
    Route(path="/models/{owner}/{name}.json", show=model_twins.show_json),
    Route(path="/models/{owner}/{name}", show=model.show),
    Route(path="/models/{alias}", show=model.show_alias),
    Route(path="/compare", show=compare.show),
    Route(path="/accounts/{account}/models/{model:path}", act=model.act, who=Who.MEMBER, roles=BUILDERS),
    # Signing in.
    Route(path="/sign-in", show=start.show, act=start.act, body_bytes_max=CARRIED_BYTES_MAX),
    Route(path="/sign-in/again", show=start.again),
    Route(path="/sign-in/code", show=code.show, act=code.act, body_bytes_max=CARRIED_BYTES_MAX),
    Route(path="/sign-in/link/{link}", show=link.show, act=link.act),
    Route(path="/sign-in/passkey", act=passkey.act, body_bytes_max=CARRIED_BYTES_MAX),
    Route(path="/sign-in/passkey/options", act=passkey.options),
    Route(path="/sign-in/operator/{token}", show=operator.show, act=operator.act),
    Route(path="/sign-in/operator/{token}/options", act=operator.options),
    Route(path="/sign-out", act=out.act),
    # A person's own.
    Route(path="/theme", act=theme.act),
    Route(path="/me", show=profile.show, act=profile.act, who=Who.PERSON),
    Route(path="/me/accounts", act=profile.open_account, who=Who.PERSON, fresh=True),
    Route(path="/me/sessions", show=sessions.show, who=Who.PERSON),
    Route(path="/me/sessions/end", act=sessions.end_others, who=Who.PERSON),
    Route(path="/me/sessions/{session}/end", act=sessions.end, who=Who.PERSON),
    Route(path="/me/passkeys", show=passkeys.show, act=passkeys.act, who=Who.PERSON),
    Route(path="/me/passkeys/options", act=passkeys.options, who=Who.PERSON, fresh=True),
    Route(path="/me/passkeys/{passkey}/name", act=passkeys.rename, who=Who.PERSON),
    Route(path="/me/passkeys/{passkey}/remove", act=passkeys.remove, who=Who.PERSON, fresh=True),
    Route(path="/invitations/{invitation}", show=invitation.show, act=invitation.act, who=Who.PERSON),
    # An account's.
    Route(path="/accounts/{account}", show=home.show, who=Who.MEMBER, roles=MEMBERS),
    Route(path="/accounts/{account}/first-call", show=first_call.show, who=Who.MEMBER, roles=BUILDERS),
    Route(path="/accounts/{account}/usage", show=usage.show, who=Who.MEMBER, roles=MEMBERS),
    Route(path="/accounts/{account}/usage.csv", show=usage_csv.show, who=Who.MEMBER, roles=MEMBERS),
    Route(path="/accounts/{account}/usage/proof", show=usage_proof.show, who=Who.MEMBER, roles=MEMBERS),
    Route(path="/accounts/{account}/calls", show=calls.show, who=Who.MEMBER, roles=BUILDERS),
    Route(path="/accounts/{account}/calls.csv", show=calls.show_csv, who=Who.MEMBER, roles=BUILDERS),
    Route(path="/accounts/{account}/calls/{call}", show=calls.show_one, who=Who.MEMBER, roles=BUILDERS),
    Route(path=MEMBERS_PATH, show=members.show, who=Who.MEMBER, roles=MEMBERS),
    Route(path=f"{MEMBERS_PATH}/leave", act=members.leave, who=Who.MEMBER, roles=MEMBERS),
    Route(path=f"{MEMBERS_PATH}/invite", act=members.invite, who=Who.MEMBER, roles=OWNERS, fresh=True),
    Route(path=f"{MEMBERS_PATH}/{{member}}/role", act=members.change, who=Who.MEMBER, roles=OWNERS, fresh=True),
    Route(path=f"{MEMBERS_PATH}/{{member}}/remove", act=members.remove, who=Who.MEMBER, roles=OWNERS, fresh=True),
    Route(
        path=f"{MEMBERS_PATH}/invitations/{{invitation}}/resend",
        act=members.resend,
        who=Who.MEMBER,
        roles=OWNERS,
        fresh=True,
    ),
    Route(
        path=f"{MEMBERS_PATH}/invitations/{{invitation}}/withdraw",
        act=members.withdraw,
        who=Who.MEMBER,
        roles=OWNERS,
        fresh=True,
    ),
    # An account's money.
    Route(path=CREDIT_PATH, show=credit.show, act=credit.buy, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{CREDIT_PATH}/movements", show=movements.show, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{CREDIT_PATH}/recharge", show=recharge.show, act=recharge.set_on, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{CREDIT_PATH}/recharge/off", act=recharge.set_off, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{CREDIT_PATH}/caps", show=caps.show, act=caps.set_caps, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{CREDIT_PATH}/caps/budgets", act=caps.add_budget, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{CREDIT_PATH}/caps/budgets/{{budget}}/delete", act=caps.delete_budget, who=Who.MEMBER, roles=MONEY),
    Route(path="/accounts/{account}/billing", show=billing.show, who=Who.MEMBER, roles=MONEY),
    Route(path="/accounts/{account}/billing/save", act=billing.act, who=Who.MEMBER, roles=MONEY, fresh=True),
    Route(path=f"{CREDIT_PATH}/portal", act=topup.portal, who=Who.MEMBER, roles=MONEY, fresh=True),
    Route(path=f"{CREDIT_PATH}/top-ups/{{topup}}", show=topup.show, who=Who.MEMBER, roles=MONEY),
    Route(path=DOCUMENTS_PATH, show=documents.show, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{DOCUMENTS_PATH}/{{number}}", show=documents.show_one, who=Who.MEMBER, roles=MONEY),
    Route(path=f"{DOCUMENTS_PATH}/{{number}}/{{format}}", show=documents.download, who=Who.MEMBER, roles=MONEY),
    # Operations.
    *OPS,
    # All parts in all states, in `up` and tests.
    Route(path="/-/parts", show=workshop.show, only_workshop=True),
    # What `up` would have mailed; on this machine alone.
    Route(path="/-/mails", show=mails.show, only_workshop=True),
)
