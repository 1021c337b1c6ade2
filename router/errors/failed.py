"""Our fault or a provider's. Pure."""

from router.errors.base import Failed


class NoEndpoint(Failed):
    """No endpoint of the model can take the call now."""

    code = "no_provider_available"


class ProvidersBusy(NoEndpoint):
    """Each provider that could serve the call has as many calls as it takes from us."""

    code = "capacity_exhausted"


class ModelWarming(NoEndpoint):
    """The model is being loaded: it can be called in ``retry_after_s``."""

    code = "model_warming"


class AllAttemptsFailed(Failed):
    """Every endpoint tried has failed."""

    code = "provider_unavailable"


class UpstreamInvalid(Failed):
    """Providers answered, and no answer passed the checks."""

    code = "upstream_invalid"


class DeadlinePassed(Failed):
    """The call's time was over before an answer came."""

    code = "upstream_timeout"


class Overloaded(Failed):
    """This process has no room for one more call."""

    code = "overloaded"


class StoreUnavailable(Failed):
    """Redis or Postgres cannot be reached."""

    code = "store_unavailable"


class PaymentsNotConfigured(Failed):
    """This installation takes no payments: its operator has not set it up."""

    code = "payments_not_configured"


class NotRecorded(Failed):
    """The charge could not be committed, so nothing is delivered."""

    code = "not_recorded"


class Unexpected(Failed):
    """A fault that we did not foresee; the log has it under the request id."""

    code = "internal_error"
