"""Declares the settings of `gigarouter web`: where it listens, and which addresses and proxies it believes."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from gigarouter.ports import LOOPBACK, reachable

PORT_MAX = 65_535
WEB_PORT = 8001


class WebSettings(BaseModel):
    """The settings that only the pages read, and the address by which the API leads browsers to them."""

    web_host: str = Field(default="127.0.0.1", description="Address that the pages listen on.")
    web_port: int = Field(default=WEB_PORT, ge=1, le=PORT_MAX, description="Port that the pages listen on.")
    web_url: str | None = Field(
        default=None,
        description="Address at which browsers find the pages, as https://router.example: links and mails have it, and "
        "no other Host is answered. By default this machine's, at GIGAROUTER_WEB_PORT.",
    )
    api_url: str | None = Field(
        default=None,
        description="Address of the API as pages tell customers, as https://api.router.example; by default "
        "http://GIGAROUTER_HOST:GIGAROUTER_PORT.",
    )
    web_api_url: str | None = Field(
        default=None,
        description="Address at which the pages themselves reach the API, as http://10.0.0.5:8000: `Try it` makes a "
        "call there. Without it the pages call nothing, and say how to call instead. `up` sets it.",
    )
    web_proxies: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default=[],
        description="Networks, comma separated CIDRs, of the proxies before the pages, whose X-Forwarded-For is "
        "believed; none by default.",
    )
    web_statement_s: float = Field(
        default=5.0, gt=0, description="Time that a statement of a page may take in PostgreSQL."
    )
    web_workshop: bool = Field(
        default=False, description="Show all parts of the pages at /-/parts; `up` does, for whoever changes them."
    )
    web_reload: bool = Field(default=False, description="See changed templates, styles and scripts at once.")

    @field_validator("web_url", "api_url", "web_api_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value is not None and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/")):
            raise ValueError("an address is http or https and a host, without a path, such as https://router.example")
        return value.rstrip("/") if value is not None else None


def web_url(settings: WebSettings) -> str:
    """Where browsers find the pages; on this machine by its name, because a number has no passkeys."""
    host = reachable(settings.web_host)
    return settings.web_url or f"http://{'localhost' if host == LOOPBACK else host}:{settings.web_port}"
