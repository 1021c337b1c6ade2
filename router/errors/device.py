"""Why a device that logs in has no key yet: the errors of RFC 8628, whose codes are the RFC's."""

from router.errors.base import Refused


class DeviceLoginRefused(Refused):
    """A device's login does not lead to a key with this request."""

    code = "invalid_grant"


class AuthorizationPending(DeviceLoginRefused):
    """Nobody has approved the login yet; ask again after the interval."""

    code = "authorization_pending"


class PolledTooFast(DeviceLoginRefused):
    """The device asks more often than its interval says."""

    code = "slow_down"


class DeviceCodeExpired(DeviceLoginRefused):
    """The code was not approved in time, or has led to a key already; begin anew."""

    code = "expired_token"


class LoginDenied(DeviceLoginRefused):
    """A member has denied the login."""

    code = "access_denied"
