"""Declares the settings of a customer's own commands: the key that they send."""

from pydantic import BaseModel, Field, SecretStr


class CustomerSettings(BaseModel):
    """The settings of `gigarouter keys`, `usage` and the other commands of an account."""

    api_key: SecretStr | None = Field(
        default=None,
        description="A management key, gr_mgmt_…, or an API key, for `gigarouter keys` and the other commands of an "
        "account, which call GIGAROUTER_API_URL; by default the key of `gigarouter login`.",
    )
