"""The rows of the operations console in the table of all pages. What reads is for all operators; writes are fresh."""

from collections.abc import Mapping

import msgspec

from router.identity.members import Role
from web.ops import (
    account,
    account_name,
    account_view,
    accounts,
    audit,
    check,
    credential,
    endpoint,
    found_models,
    incident_writes,
    incidents,
    key,
    license,
    license_writes,
    licenses,
    model,
    model_entries,
    model_writes,
    models,
    overview,
    price_impact,
    prices,
    proposal,
    provider,
    provider_writes,
    providers,
    queues,
    route,
    spaces,
    votes,
)
from web.ops.write import Write
from web.route import STAFF, PageFunction, Route, Who

MODEL = "/ops/models/{owner}/{name}"
TEXT_BYTES_MAX = 256 * 1024
OPERATORS = frozenset({Role.OPS})
FINANCE = frozenset({Role.FINANCE_ADMIN})


def _read(path: str, show: PageFunction) -> Route:
    return Route(path=path, show=show, who=Who.OPERATOR, roles=STAFF)


def _form(path: str, show: PageFunction, act: PageFunction, roles: frozenset[Role] = OPERATORS) -> Route:
    return Route(path=path, show=show, act=act, who=Who.OPERATOR, roles=roles, fresh=True)


def _write(path: str, write: Write, roles: frozenset[Role] = OPERATORS) -> Route:
    return _form(path, write.show, write.act, roles)


def _records(part: str, writes: Mapping[str, Write]) -> tuple[Route, ...]:
    """What is done with the records of a list of a model; their forms hold long texts twice: now, and as read."""
    one = f"{MODEL}/{part}/{{place}}"
    paths = {"new": f"{MODEL}/{part}/new", "edit": one, "withdraw": f"{one}/withdraw"}
    return tuple(
        msgspec.structs.replace(_write(path, writes[action]), body_bytes_max=TEXT_BYTES_MAX)
        for action, path in paths.items()
    )


OPS: tuple[Route, ...] = (
    _read("/ops", overview.show),
    _read("/ops/providers", providers.show),
    _write("/ops/providers/new", provider_writes.NEW_PROVIDER),
    _write("/ops/providers/{provider}/edit", provider_writes.EDIT_PROVIDER),
    _form("/ops/providers/{provider}/credential", credential.show, credential.act),
    _form("/ops/providers/{provider}/test", check.show_provider, check.act_provider),
    _form("/ops/providers/{provider}/models", found_models.show, found_models.act),
    _read("/ops/providers/{provider}", provider.show),
    _write("/ops/endpoints/new", provider_writes.NEW_ENDPOINT),
    _write("/ops/endpoints/{endpoint}/edit", provider_writes.EDIT_ENDPOINT),
    _form("/ops/endpoints/{endpoint}/check", check.show_endpoint, check.act_endpoint),
    *(_write(f"/ops/endpoints/{{endpoint}}/{action}", write) for action, write in provider_writes.MOVES.items()),
    _read("/ops/endpoints/{endpoint}", endpoint.show),
    _read("/ops/spaces", spaces.show),
    _read("/ops/spaces/{space:path}", spaces.show_one),
    _read("/ops/models", models.show),
    _write("/ops/models/new", model_writes.NEW),
    _read(MODEL, model.show),
    _write(f"{MODEL}/edit", model_writes.EDIT),
    *(_write(f"{MODEL}/{action}", write) for action, write in model_writes.MOVES.items()),
    *(_write(f"{MODEL}/{part}", write) for part, write in model_entries.SINGLES.items()),
    *_records("facts", model_entries.STATEMENTS),
    *_records("texts", model_entries.TEXTS),
    *_records("benchmarks", model_entries.BENCHMARKS),
    _read("/ops/licenses", licenses.show),
    _write("/ops/licenses/{model:path}/claim", license_writes.CLAIM),
    _write("/ops/licenses/{model:path}/resolve", license_writes.RESOLVE),
    _write("/ops/licenses/{model:path}/waive", license_writes.WAIVE, FINANCE),
    _read("/ops/licenses/{model:path}", license.show),
    _write("/ops/waivers/{waiver}/revoke", license_writes.END_WAIVER, FINANCE),
    _write("/ops/evidence/{evidence}", license_writes.CLOSE_EVIDENCE),
    _read("/ops/incidents", incidents.show),
    _write("/ops/incidents/new", incident_writes.OPEN),
    _write("/ops/incidents/{incident}/update", incident_writes.UPDATE),
    _write("/ops/incidents/{incident}/resolve", incident_writes.RESOLVE),
    _write("/ops/incidents/{incident}/edit", incident_writes.EDIT),
    _write("/ops/incidents/{incident}/updates/{update}", incident_writes.CORRECT),
    _read("/ops/incidents/{incident}", incidents.show_one),
    _read("/ops/accounts", accounts.show),
    _form("/ops/accounts/{account}/name", account_name.show, account_name.act, STAFF),
    _write("/ops/accounts/{account}/see", account_view.START, OPERATORS),
    Route(path="/ops/account-view", show=account_view.show, who=Who.OPERATOR, roles=OPERATORS),
    Route(path="/ops/account-view/end", act=account_view.end, who=Who.OPERATOR, roles=OPERATORS),
    _write("/ops/accounts/{account}/suspend", account.SUSPEND, STAFF),
    _write("/ops/accounts/{account}/resume", account.RESUME, STAFF),
    _write("/ops/accounts/{account}/key-policy", account.BOUND_KEYS),
    _write("/ops/accounts/{account}/grant", account.GRANT, FINANCE),
    _read("/ops/accounts/{account}", account.show),
    _write("/ops/keys/{key}/networks", key.NETWORKS),
    *(_write(f"/ops/keys/{{key}}/{action}", write) for action, write in key.MOVES.items()),
    _read("/ops/keys/{key}", key.show),
    _read("/ops/prices", prices.show),
    _write("/ops/prices/new", prices.SET, FINANCE),
    _read("/ops/prices/impact", price_impact.show),
    _read("/ops/queues", queues.show),
    _read("/ops/route", route.show),
    _write("/ops/proposals/{proposal}/approve", proposal.APPROVE, FINANCE),
    _write("/ops/proposals/{proposal}/reject", proposal.REJECT, FINANCE),
    _read("/ops/proposals/{proposal}", proposal.show),
    _read("/ops/votes", votes.show),
    _read("/ops/audit", audit.show),
)
