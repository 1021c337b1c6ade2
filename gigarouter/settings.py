"""Defines what an operator can set, one typed field with a sentence each. Alone reads the environment.

The environment comes first (``GIGAROUTER_<FIELD>``; ``DATABASE_URL`` and ``REDIS_URL`` are taken too, as platforms set
them), then an optional ``gigarouter.toml``, then the default. An unknown ``GIGAROUTER_`` name or TOML key is an error,
because a misspelled limit is a limit that is not there.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import override

from billing.exports.storage import ExportFolder
from gigarouter.customer_settings import CustomerSettings
from gigarouter.mail_settings import MailSettings
from gigarouter.second_person_settings import SecondPersonSettings
from gigarouter.sign_in_settings import SignInSettings
from gigarouter.web_settings import WebSettings
from store.faults import CannotStart

PREFIX = "GIGAROUTER_"
CONFIG_FILE_ENV = "GIGAROUTER_CONFIG"
# Read by clients of the API and by this module; a shell that has them set is not misconfigured.
NOT_FIELDS = frozenset({CONFIG_FILE_ENV, "GIGAROUTER_API_KEY", "GIGAROUTER_BASE_URL"})
# In the data folder, written by `up`, closed to others: how to reach what it started.
CONNECTION_FILE = "connection.toml"
PORT_MAX = 65_535
ADMIN_PORT_ABOVE = 1_000
# Names without our prefix that a field is also read from.
PLAIN_NAMES = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}

# RFC 6454: no path, and no slash at the end.
_ORIGIN = re.compile(r"(?i)[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")


class SettingsError(CannotStart):
    """The configuration cannot be used; the message is for the operator, one line per fault."""


def _default_data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "gigarouter"


def _default_config_dir() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "gigarouter"


def _default_admin_port(fields: dict[str, Any]) -> int:
    """A thousand above the API's, so that processes on neighbouring ports of one host do not meet; below where it ends.

    A port that is wrong itself is not among ``fields``.
    """
    port = int(fields.get("port", 0))
    return port + ADMIN_PORT_ABOVE if port + ADMIN_PORT_ABOVE <= PORT_MAX else port - ADMIN_PORT_ABOVE


class Settings(CustomerSettings, WebSettings, SecondPersonSettings, SignInSettings, MailSettings, BaseSettings):
    """Everything that can be set. Durations are in seconds, sizes in bytes."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL to record in, as postgresql://user:password@host/database; `up` starts its own.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis for holds and limits, or any node of a Redis Cluster, as redis://host:6379/0 or unix:///path;"
        " `up` starts its own.",
    )
    secret_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default=[],
        description="Fernet keys, comma separated, that encrypt provider credentials, and keys that a repeated request "
        "shows again: the first encrypts, all decrypt. "
        "Required by serve and jobs; `up` makes one and keeps it in the data folder.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(default=8080, ge=1, le=PORT_MAX, description="Port that the API listens on.")
    admin_host: str = Field(
        default="127.0.0.1",
        description="Address that `/admin` and `/metrics` listen on; nothing from outside has to reach it.",
    )
    admin_port: int = Field(
        default_factory=_default_admin_port,
        ge=1,
        le=PORT_MAX,
        description="Port of `/admin` and `/metrics`, by default GIGAROUTER_PORT + 1000; where it is GIGAROUTER_PORT "
        "itself, both are on the API's port, open to whoever reaches that.",
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder in which `up` keeps the embedded PostgreSQL and Redis, logs and secrets.",
    )
    config_dir: Path = Field(
        default_factory=_default_config_dir,
        description="Folder in which `gigarouter login` keeps the key of this machine.",
    )
    monthly_documents: bool = Field(
        default=True, description="`jobs` asks for each account's invoice or statement an hour after a month's end."
    )
    exports_dir: Path | None = Field(
        default=None,
        description="Folder of the files of exports, which `serve` and `jobs` both reach; by default `exports` in "
        "GIGAROUTER_DATA_DIR.",
    )
    ledger_archives_dir: Path | None = Field(
        default=None,
        description="Folder of the files of months put away, for `jobs`: customers' archives have them, too.",
    )
    exports_bytes_max: int = Field(
        default=10 * 1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Most bytes of the files of all exports together; an export that would pass it fails.",
    )
    exports_days: int = Field(default=7, ge=1, description="Days after which the files of an export are removed.")
    own_exports_days: int = Field(
        default=3, ge=1, description="Days after which the archive of all that an account has is removed."
    )
    durability: Literal["commit", "memory"] = Field(
        default="commit",
        description="`commit` answers after the charge is in PostgreSQL; `memory` answers before it, and a crash loses "
        "what the process had queued, at the house's expense.",
    )
    compare_share: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of calls whose answer is compared with a second endpoint of the call's own route, which is "
        "paid for and delivered to nobody; long and large calls are preferred. 0 compares none.",
    )
    compare_tokens_per_hour: int = Field(
        default=100_000, ge=1, description="Most tokens an hour that a process spends on such comparisons."
    )
    worker_url: str | None = Field(
        default=None, description="Base URL of the in-house worker, as http://127.0.0.1:8090, for a new demo endpoint."
    )
    worker_port: int = Field(
        default=8090, ge=1, le=PORT_MAX, description="Port of the worker that `up` starts; another if it is taken."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least important level that is logged."
    )
    log_format: Literal["json", "text"] = Field(default="json", description="`json` for machines, `text` for people.")
    body_bytes_max: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="Largest request body, counted as it arrives; beyond it 413."
    )
    idempotency_bytes_max: int = Field(
        default=1024 * 1024 * 1024,
        ge=1024,
        description="Most bytes of answers that are kept for an account under its Idempotency-Keys, a day each; beyond "
        "it 429. Each counts as at least 1,024.",
    )
    idempotency_free_bytes_max: int = Field(
        default=16 * 1024 * 1024, ge=1024, description="The same for calls that cost nothing, apart from the others."
    )
    header_bytes_max: int = Field(default=32 * 1024, ge=1024, description="Largest request head; beyond it 431.")
    header_deadline_s: float = Field(default=10.0, gt=0, description="Time within which a request's head must arrive.")
    body_deadline_s: float = Field(default=30.0, gt=0, description="Time within which a request's body must arrive.")
    call_deadline_s: float = Field(default=60.0, gt=0, description="Time a call may take, all attempts together.")
    drain_s: float = Field(default=30.0, ge=0, description="Time that calls in flight get to finish on shutdown.")
    allowed_private_networks: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default=[],
        description="Private networks, comma separated CIDRs, in which providers may be reached; all others are "
        "refused. `up` allows the loopback for its worker.",
    )
    webhook_private_networks: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default=[],
        description="Private networks, comma separated CIDRs, in which customers' webhooks may be reached, by plain "
        "http, too; none by default, since customers type their URLs. Networks of providers do not count.",
    )
    reads_per_minute: int = Field(
        default=600,
        ge=1,
        description="How often a minute a key may read its account, models and requests in each process, beside its "
        "calls; beyond it 429.",
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Origins, comma separated, whose pages may call the API from a browser, as https://app.example, or "
        "* for every page; none by default, because a secret key does not belong into a page.",
    )
    proxies: Annotated[list[IPv4Network | IPv6Network] | None, NoDecode] = Field(
        default=None,
        description="Networks, comma separated CIDRs, of proxies before the API: their X-Forwarded-For is believed, "
        "by default that of any peer in a private network. Name yours where keys are bound to private networks.",
    )

    stripe_secret_key: SecretStr | None = Field(
        default=None,
        description="Stripe's secret or restricted key, sk_… or rk_…, for top-ups; without it there are none. Needs "
        "GIGAROUTER_STRIPE_WEBHOOK_SECRETS. Test and live keys never share a database.",
    )
    stripe_webhook_secrets: Annotated[list[SecretStr], NoDecode] = Field(
        default=[],
        description="Signing secret of the webhook endpoint at Stripe, whsec_…; two, comma separated, while one is "
        "replaced by another.",
    )
    stripe_base_url: str = Field(
        default="https://api.stripe.com", description="Address of Stripe's API; another one only for tests."
    )
    stripe_return_url: str | None = Field(
        default=None,
        description="Page to which customers return from paying, with ?topup=…&outcome=… added; by default the API's "
        "own first page.",
    )
    stripe_automatic_tax: bool = Field(
        default=True,
        description="Let Stripe Tax work out the tax of top-ups; where it is not set up at Stripe, pages are refused.",
    )
    topup_min_usd: int = Field(default=5, ge=1, description="Smallest top-up in USD.")
    topup_max_usd: int = Field(default=10_000, ge=1, le=999_999, description="Largest top-up in USD.")

    url: str | None = Field(
        default=None,
        description="Address of the admin port that `gigarouter admin` works on, as http://127.0.0.1:9080; by default "
        "the database of this machine.",
    )
    operator_key: SecretStr | None = Field(
        default=None, description="An operator's key, gr_ops_…, for `gigarouter admin` at an address."
    )

    @field_validator(
        "secret_keys",
        "stripe_webhook_secrets",
        "allowed_private_networks",
        "webhook_private_networks",
        "cors_origins",
        "web_proxies",
        "proxies",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is a scheme, a host and perhaps a port, such as https://app.example:8443")
        return [origin.lower() for origin in origins]

    @model_validator(mode="after")
    def _require_one_address_for_one_port(self) -> Self:
        if self.shares_port and "admin_host" in self.model_fields_set and self.admin_host != self.host:
            raise ValueError(
                f"GIGAROUTER_ADMIN_PORT is GIGAROUTER_PORT, so /admin and /metrics would listen on {self.host}, and "
                f"GIGAROUTER_ADMIN_HOST is {self.admin_host}: set another port, or leave out GIGAROUTER_ADMIN_HOST"
            )
        return self

    @property
    def shares_port(self) -> bool:
        """Whether `/admin` and `/metrics` are on the API's own port, which somebody has asked for."""
        return self.admin_port == self.port

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read keyword arguments, environment and file, but no dotenv, by which a folder would change what runs."""
        plain = {field: os.environ[name] for field, name in PLAIN_NAMES.items() if name in os.environ}
        file = TomlConfigSettingsSource(settings_cls, config_file())
        return init_settings, env_settings, InitSettingsSource(settings_cls, plain), file

    def require_database_url(self) -> str:
        """The URL, or :class:`SettingsError`."""
        if self.database_url is None:
            raise SettingsError("DATABASE_URL is not set: name the PostgreSQL to record in, or use `gigarouter up`.")
        return self.database_url.get_secret_value()

    def require_redis_url(self) -> str:
        """The URL, or :class:`SettingsError`."""
        if self.redis_url is None:
            raise SettingsError("REDIS_URL is not set: name the Redis for holds and limits, or use `gigarouter up`.")
        return self.redis_url.get_secret_value()

    def exports_folder(self) -> ExportFolder:
        """Where the files of exports are."""
        path = self.exports_dir or self.data_dir / "exports"
        kept, own_kept = timedelta(days=self.exports_days), timedelta(days=self.own_exports_days)
        return ExportFolder(path.expanduser(), self.exports_bytes_max, kept, own_kept)

    def require_secret_keys(self) -> list[str]:
        """The Fernet keys, or :class:`SettingsError`."""
        if not self.secret_keys:
            raise SettingsError(
                "GIGAROUTER_SECRET_KEYS is not set: provider credentials are encrypted with it. Make one with "
                "`gigarouter config new-secret-key` and keep it; credentials cannot be read without it."
            )
        return [key.get_secret_value() for key in self.secret_keys]


def config_file() -> Path:
    """The TOML file that is read when it exists: ``GIGAROUTER_CONFIG``, else ``gigarouter.toml`` here."""
    return Path(os.environ.get(CONFIG_FILE_ENV, "gigarouter.toml"))


def unknown_names() -> list[str]:
    """``GIGAROUTER_`` names in the environment that no field reads."""
    fields = {f"{PREFIX}{field}".upper() for field in Settings.model_fields} | NOT_FIELDS
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in fields)


def load(**overrides: Any) -> Settings:  # noqa: ANN401 - a field's value may be of any of the fields' types
    """Load settings from keyword arguments, environment, file. Raises :class:`SettingsError` with a line per fault."""
    if unknown := unknown_names():
        raise SettingsError("\n".join(f"{name} is set, but there is no such setting." for name in unknown))
    named = os.environ.get(CONFIG_FILE_ENV)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_FILE_ENV} names {named}, which is not a file.")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        # Never the input: a fault in a secret's field would print the secret.
        raise SettingsError("\n".join(map(_sentence, error.errors(include_input=False)))) from None
    except ValueError as error:  # tomllib's decode error
        raise SettingsError(f"{config_file()} cannot be read: {error}.") from None


def _sentence(fault: ErrorDetails) -> str:
    """One fault, with its field where it is of one field."""
    field = ".".join(str(part) for part in fault["loc"])
    return f"{field}: {fault['msg']}." if field else f"{fault['msg'].removeprefix('Value error, ')}."


def load_local() -> Settings:
    """Load settings for commands typed beside a running `up`; its connection file replaces the defaults."""
    loaded = load()
    file = loaded.data_dir / CONNECTION_FILE
    if loaded.database_url is not None or not file.is_file():
        return loaded
    local = tomllib.loads(file.read_text())
    return load(**{field: value for field, value in local.items() if source(field) == "default"})


def source(field: str) -> str:
    """Where a field's value comes from: ``environment NAME``, the file's name, or ``default``."""
    for name in (f"{PREFIX}{field}".upper(), PLAIN_NAMES.get(field, "")):
        if name in os.environ:
            return f"environment {name}"
    if config_file().is_file() and field in TomlConfigSettingsSource(Settings, config_file())():
        return str(config_file())
    return "default"


def display_value(settings: Settings, field: str) -> str:
    """A field's value as people may see it: secrets are starred."""
    value = getattr(settings, field)
    if isinstance(value, SecretStr) or (isinstance(value, list) and value and isinstance(value[0], SecretStr)):
        return "**********"
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return "" if value is None else str(value)


def export(names: Mapping[str, str]) -> None:
    """Set environment variables that a library reads, where an operator has not set them."""
    for name, value in names.items():
        os.environ.setdefault(name, value)


def child_environment(**values: str) -> dict[str, str]:
    """This process's environment with some fields set, for a child process: ``child_environment(port="9000")``."""
    for field in values:
        if field not in Settings.model_fields:
            raise SettingsError(f"{field} is not a setting.")
    environment = dict(os.environ)
    for field, value in values.items():
        environment[f"{PREFIX}{field}".upper()] = value
    return environment
