"""Declares the settings of what somebody gets who signs in for the first time, and of services that sign people in."""

from datetime import timedelta

from pydantic import BaseModel, Field, SecretStr

from billing.money import NANO_PER_USD, NanoUSD
from router.identity.people.set_up import GITHUB, FreeCredit, Service


class SignInSettings(BaseModel):
    """Free credit; the rest of the settings inherit these."""

    free_credit_usd: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Free credit in USD that comes with a person's first account; 0: none. `up` gives 5.",
    )
    free_credit_days: int = Field(default=90, ge=1, le=3650, description="Days after which free credit expires.")

    github_client_id: str | None = Field(
        default=None,
        description="Client id of an OAuth app at GitHub, by which people may sign in; its callback is "
        "GIGAROUTER_WEB_URL/sign-in/with/github/return.",
    )
    github_client_secret: SecretStr | None = Field(default=None, description="The OAuth app's client secret.")
    github_url: str = Field(default=GITHUB, description="Address of GitHub; another one for an Enterprise server.")
    github_api_url: str = Field(default="https://api.github.com", description="Address of GitHub's API.")
    oidc_issuer: str | None = Field(
        default=None,
        description="Issuer of a service of OpenID Connect by which people may sign in, as https://id.example; its "
        "callback is GIGAROUTER_WEB_URL/sign-in/with/oidc/return.",
    )
    oidc_client_id: str | None = Field(default=None, description="The client id at that service.")
    oidc_client_secret: SecretStr | None = Field(default=None, description="The client secret at that service.")
    oidc_name: str = Field(default="single sign-on", description="What the page calls that service.")

    def sign_in_services(self) -> tuple[Service, ...]:
        """The services that are set up, with all that they need."""
        found = []
        if self.github_client_id and self.github_client_secret:
            found.append(
                Service(
                    slug="github",
                    label="GitHub",
                    issuer=self.github_url.rstrip("/"),
                    api_url=self.github_api_url.rstrip("/"),
                    client_id=self.github_client_id,
                    client_secret=self.github_client_secret.get_secret_value(),
                )
            )
        if self.oidc_issuer and self.oidc_client_id and self.oidc_client_secret:
            found.append(
                Service(
                    slug="oidc",
                    label=self.oidc_name,
                    issuer=self.oidc_issuer,
                    client_id=self.oidc_client_id,
                    client_secret=self.oidc_client_secret.get_secret_value(),
                )
            )
        return tuple(found)

    def free_credit(self) -> FreeCredit:
        """The free credit as an amount and how long it lasts."""
        return FreeCredit(NanoUSD(self.free_credit_usd * NANO_PER_USD), timedelta(days=self.free_credit_days))
