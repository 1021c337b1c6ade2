"""The rows of the operations console in the table of all pages. What reads is for all operators; writes are fresh."""

from router.identity.members import Role
from web.ops import account, account_name, accounts, audit
from web.ops.write import Write
from web.route import STAFF, PageFunction, Route, Who

OPERATORS = frozenset({Role.OPS})
FINANCE = frozenset({Role.FINANCE_ADMIN})


def _read(path: str, show: PageFunction) -> Route:
    return Route(path=path, show=show, who=Who.OPERATOR, roles=STAFF)


def _write(path: str, write: Write, roles: frozenset[Role]) -> Route:
    return Route(path=path, show=write.show, act=write.act, who=Who.OPERATOR, roles=roles, fresh=True)


OPS: tuple[Route, ...] = (
    _read("/ops/accounts", accounts.show),
    Route(
        path="/ops/accounts/{account}/name",
        show=account_name.show,
        act=account_name.act,
        who=Who.OPERATOR,
        roles=STAFF,
        fresh=True,
    ),
    _write("/ops/accounts/{account}/suspend", account.SUSPEND, STAFF),
    _write("/ops/accounts/{account}/resume", account.RESUME, STAFF),
    _write("/ops/accounts/{account}/grant", account.GRANT, FINANCE),
    _read("/ops/accounts/{account}", account.show),
    _read("/ops/audit", audit.show),
)
