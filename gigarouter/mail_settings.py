"""Defines what an operator can set about mails: the server, who they are from, and where their links lead."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator


class MailSettings(BaseModel):
    """The part of :class:`gigarouter.settings.Settings` that mails need."""

    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server that mails are sent by, as smtp://user:password@host:587, where a password goes by "
        "STARTTLS alone, or smtps://…; without it none is sent, and they wait.",
    )
    mail_from: str | None = Field(
        default=None,
        description="Address that mails are from, as billing@example.com; by default the seller's.",
    )
    mail_bounces_to: str | None = Field(
        default=None,
        description="Address that mail servers return undeliverable mails to; by default GIGAROUTER_MAIL_FROM.",
    )
    mail_dir: Path | None = Field(
        default=None,
        description="Folder into which mails are written as .eml files where no mail server is set; `up` sets it to "
        "`mails` in its data folder.",
    )

    @field_validator("smtp_url")
    @classmethod
    def _is_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value()) if value is not None else None
        if parts is not None and (parts.scheme not in ("smtp", "smtps") or not parts.hostname):
            raise ValueError("it is smtp://user:password@host:587, or smtps://…")
        return value
