"""`gigarouter admin`: everything an operator changes or looks up, one file per noun.

Each change goes through the router's one write path and leaves its audit row. Nothing here decides anything.
"""

import typer

from gigarouter.commands.admin import (
    acceptances,
    accounts,
    audit,
    catalogue,
    endpoints,
    grants,
    keys,
    ledger,
    licenses,
    members,
    models,
    operators,
    prices,
    providers,
    route,
    usage,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

for name, noun, sentence in (
    ("accounts", accounts.app, "Who pays: open, list, show, suspend."),
    ("members", members.app, "People of an account, and operators."),
    ("operators", operators.app, "Operators' keys for the admin API: create, list, revoke."),
    ("keys", keys.app, "API keys: create, limit, rotate, pause, revoke."),
    ("grants", grants.app, "Credit: give, list."),
    ("providers", providers.app, "Who serves models, and our credentials there."),
    ("endpoints", endpoints.app, "One model at one provider: add, test, move."),
    ("route", route.app, "Why a call went where it did, and where one would go."),
    ("prices", prices.app, "What customers pay: set, list."),
    ("models", models.app, "The catalogue: list, add, edit, launch, move."),
    ("licenses", licenses.app, "Claims about a model's license, resolutions, waivers."),
    ("acceptances", acceptances.app, "Accounts' yes to license texts."),
    ("ledger", ledger.app, "Trial balance and its checks."),
    ("audit", audit.app, "Who changed what."),
):
    app.add_typer(noun, name=name, help=sentence)
app.command("usage", help="Calls, tokens and money over a period.")(usage.command)
app.command("plan", help="What a catalogue file would change, and whom it affects.")(catalogue.plan)
app.command("apply", help="Make the catalogue what a file says.")(catalogue.apply)
app.command("export", help="The catalogue as a file.")(catalogue.export)
app.command("import-litellm", help="The embedding models of litellm's price map.")(catalogue.import_litellm)
