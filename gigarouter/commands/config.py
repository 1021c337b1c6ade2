"""`gigarouter config`: what is set, where from, and whether it can be used."""

import typer
from cryptography.fernet import Fernet

from gigarouter import settings

app = typer.Typer(no_args_is_help=True)


@app.command("print")
def print_settings() -> None:
    """Every setting with its value (secrets starred), its source and its meaning."""
    loaded = settings.load()
    for field, info in settings.Settings.model_fields.items():
        typer.echo(f"# {info.description}\n# from: {settings.source(field)}")
        typer.echo(f"{field} = {settings.display_value(loaded, field)}\n")


@app.command()
def check() -> None:
    """Exit with 1 and a line per fault when the settings cannot be used."""
    settings.load()
    typer.echo("The settings can be used.")


@app.command()
def new_secret_key() -> None:
    """Print a fresh key for GIGAROUTER_SECRET_KEYS."""
    typer.echo(Fernet.generate_key().decode())
