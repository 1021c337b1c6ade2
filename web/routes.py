"""The table of all pages: path, functions, who may. A test walks it with every kind of reader.

An account's page has ``{account}`` in its path, never in the session. Fields of a query are never called ``key``: the
edge takes that for a secret in an address.
"""

from web.me import theme
from web.ops import account_name
from web.parts import workshop
from web.public import compare, first, model, model_files, model_twins, models
from web.route import BUILDERS, STAFF, Route, Who

ROUTES: tuple[Route, ...] = (
    # Public.
    Route(path="/", show=first.show),
    Route(path="/models", show=models.show),
    Route(path="/models.json", show=model_files.show_json),
    Route(path="/models.csv", show=model_files.show_csv),
    Route(path="/models.atom", show=model_files.show_atom),
    Route(path="/models/{owner}/{name}.md", show=model_twins.show_markdown),
    Route(path="/models/{owner}/{name}.json", show=model_twins.show_json),
    Route(path="/models/{owner}/{name}", show=model.show),
    Route(path="/models/{alias}", show=model.show_alias),
    Route(path="/compare", show=compare.show),
    Route(path="/accounts/{account}/models/{model:path}", act=model.act, who=Who.MEMBER, roles=BUILDERS),
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
)
