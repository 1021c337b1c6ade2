"""Builds the settings of a process that runs inside a test."""

from ipaddress import ip_network

from pydantic import SecretStr

from gigarouter.settings import Settings


def settings_of(database_url: str, redis_url: str, secret_key: str) -> Settings:
    """Real stores, one secret key, and providers on loopback allowed."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        secret_keys=[SecretStr(secret_key)],
        allowed_private_networks=[ip_network("127.0.0.0/8")],
    )
