"""Lists the public pages, and what a member does on them for an account."""

from web.public import (
    compare,
    files,
    first,
    license,
    model,
    model_files,
    model_twins,
    models,
    pricing,
    search,
    shortcuts,
    status,
    unsubscribe,
)
from web.public.documentation import errors, index, reference
from web.route import BUILDERS, MEMBERS, Route, Who

PUBLIC: tuple[Route, ...] = (
    Route(path="/", show=first.show),
    Route(path="/models", show=models.show),
    Route(path="/pricing", show=pricing.show),
    Route(path="/status", show=status.show),
    Route(path="/status.json", show=status.show_json),
    Route(path="/status.atom", show=status.show_atom),
    Route(path="/search", show=search.show),
    Route(path="/shortcuts", show=shortcuts.show, act=shortcuts.act),
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
    Route(path="/licenses/{license}", show=license.show),
    Route(
        path="/accounts/{account}/licenses/{license}",
        show=license.show_account,
        act=license.accept,
        who=Who.MEMBER,
        roles=MEMBERS,
    ),
)
