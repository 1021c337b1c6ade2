"""The rows of keys, management keys, logins of devices, licenses and the audit in the table of routes."""

from web.customer import audit, device, key, keys, management_keys
from web.public import license
from web.route import BUILDERS, MEMBERS, OWNERS, Route, Who

KEYS, ONE = "/accounts/{account}/keys", "/accounts/{account}/keys/{key}"
MANAGEMENT = "/accounts/{account}/management-keys"
DEVICE, LICENSE = "/accounts/{account}/device", "/accounts/{account}/licenses/{license}"
AUDIT = "/accounts/{account}/audit"

KEY_ROUTES: tuple[Route, ...] = (
    Route(path=KEYS, show=keys.show, who=Who.MEMBER, roles=BUILDERS),
    Route(path=f"{KEYS}/new", show=keys.show_new, act=keys.create, who=Who.MEMBER, roles=BUILDERS, fresh=True),
    Route(path=ONE, show=key.show, who=Who.MEMBER, roles=BUILDERS),
    Route(path=f"{ONE}/edit", act=key.edit, who=Who.MEMBER, roles=BUILDERS, fresh=True),
    Route(path=f"{ONE}/rotate", act=key.rotate, who=Who.MEMBER, roles=BUILDERS, fresh=True),
    Route(path=f"{ONE}/resume", act=key.resume, who=Who.MEMBER, roles=BUILDERS, fresh=True),
    # What stops a key waits for no sign-in.
    Route(path=f"{ONE}/pause", act=key.pause, who=Who.MEMBER, roles=BUILDERS),
    Route(path=f"{ONE}/end-old-secrets", act=key.end_old, who=Who.MEMBER, roles=BUILDERS),
    Route(path=f"{ONE}/revoke", show=key.confirm_revoke, act=key.revoke, who=Who.MEMBER, roles=BUILDERS),
    Route(path=MANAGEMENT, show=management_keys.show, who=Who.MEMBER, roles=OWNERS),
    Route(path=f"{MANAGEMENT}/new", act=management_keys.create, who=Who.MEMBER, roles=OWNERS, fresh=True),
    Route(
        path=f"{MANAGEMENT}/{{key}}/revoke",
        show=management_keys.confirm_revoke,
        act=management_keys.revoke,
        who=Who.MEMBER,
        roles=OWNERS,
    ),
    Route(path="/device", show=device.show_start, who=Who.PERSON),
    Route(path=DEVICE, show=device.show, act=device.decide, who=Who.MEMBER, roles=BUILDERS, fresh=True),
    Route(path="/licenses/{license}", show=license.show),
    Route(path=LICENSE, show=license.show_account, act=license.accept, who=Who.MEMBER, roles=MEMBERS),
    Route(path=AUDIT, show=audit.show, who=Who.MEMBER, roles=OWNERS),
    Route(path=f"{AUDIT}.csv", show=audit.show_csv, who=Who.MEMBER, roles=OWNERS),
)
