"""Turns the failures of a call's attempts into the one error that its caller gets. Pure.

No words of a provider get out: only which providers were tried, and how each attempt ended, as receipts show it.
"""

from providers.outcomes import (
    BadAnswer,
    BeyondQuota,
    CallerFault,
    Failure,
    PassedOver,
    Quarantine,
    TimedOut,
    TooLong,
    TryLater,
    Warming,
)
from router import errors
from router.routing.public_reasons import public_outcome
from router.values import Endpoint

Failures = list[tuple[Endpoint, Failure]]


def error_for(failures: Failures) -> errors.Refusal:
    """The error of a call that no endpoint answered.

    InvalidRequest or InputTooLong for the caller's fault; AboveProviderQuota, ModelWarming or ProvidersBusy where
    nothing but quotas and pauses was in the way; else DeadlinePassed, UpstreamInvalid or AllAttemptsFailed, the last
    with ``again`` False where no retry can help.
    """
    if failures and isinstance(failures[-1][1], CallerFault):
        return _caller_error(failures[-1][1])
    details: dict[str, object] = {
        "attempts": [{"provider": e.provider_name, "outcome": _outcome(f)} for e, f in failures]
    }
    detail = "; ".join(f"{e.provider_name}: {type(f).__name__} {f.message} {f.detail}" for e, f in failures)
    wait_s = min((f.retry_after_s for _, f in failures if f.retry_after_s is not None), default=1.0)
    # Where all asked for patience the next call gets this error from ``choose``, before anything is sent.
    if failures and all(isinstance(failure, TryLater) for _, failure in failures):
        return _quota_error(failures, wait_s, details, detail)
    sent = [failure for _, failure in failures if not isinstance(failure, PassedOver)]
    if not sent or all(isinstance(failure, TimedOut) for failure in sent):
        return errors.DeadlinePassed(
            "No provider answered within the call's deadline. Nothing was charged.", details=details, detail=detail
        )
    if all(isinstance(failure, BadAnswer) for failure in sent):
        return errors.UpstreamInvalid(
            "Every provider's answer failed our checks. Nothing was charged.", details=details, detail=detail
        )
    is_permanent = all(isinstance(failure, Quarantine) for _, failure in failures)
    return errors.AllAttemptsFailed(
        "Every provider of this model failed. Nothing was charged; try again in a moment."
        if not is_permanent
        else "No provider of this model can serve it at the moment, and our operators are told. Nothing was charged.",
        retry_after_s=None if is_permanent else wait_s,
        details=details,
        detail=detail,
        again=not is_permanent,
    )


def _quota_error(
    failures: Failures, wait_s: float, details: dict[str, object], detail: str
) -> errors.NoEndpoint | errors.AboveProviderQuota:
    """The error where nothing but quotas and pauses was in the way."""
    beyond = [failure for _, failure in failures if isinstance(failure, BeyondQuota)]
    if len(beyond) == len(failures):
        return _above_quota(beyond, details, detail)
    if any(isinstance(failure, Warming) for _, failure in failures):
        return model_warming(wait_s, details, detail)
    return providers_busy(wait_s, details, detail)


def _above_quota(beyond: list[BeyondQuota], details: dict[str, object], detail: str) -> errors.AboveProviderQuota:
    """The error of a call that is too large for the quotas: in seconds, since a provider's grant is our own affair."""
    least = min(beyond, key=lambda failure: failure.least_s)
    return errors.AboveProviderQuota(
        f"The providers of this model take a call of this size over {least.least_s:.0f} s at the least, and a call has "
        f"{least.limit_s:.0f} s: waiting does not help. Nothing was charged; send fewer inputs per call.",
        param="input",
        details={**details, "needed_s": round(least.least_s), "limit_s": round(least.limit_s)},
        detail=detail,
    )


def providers_busy(wait_s: float, details: dict[str, object], detail: str = "") -> errors.ProvidersBusy:
    """The error where only used-up quotas and pauses keep a call from being served."""
    return errors.ProvidersBusy(
        "Every provider of this model has as many calls as it takes from us right now. Nothing was charged; try again "
        "in a moment.",
        retry_after_s=wait_s,
        details=details,
        detail=detail,
    )


def model_warming(wait_s: float, details: dict[str, object], detail: str = "") -> errors.ModelWarming:
    """The error where only the loading of the model keeps a call from being served."""
    return errors.ModelWarming(
        "The model is warming up. Nothing was charged; try again after the time in Retry-After, or send 'Prefer: "
        "wait=N' to wait for up to N seconds.",
        retry_after_s=wait_s,
        details=details,
        detail=detail,
    )


def _outcome(failure: Failure) -> str:
    return public_outcome(type(failure).__name__)[0]


def _caller_error(fault: CallerFault) -> errors.InvalidRequest:
    if isinstance(fault, TooLong):
        return errors.InputTooLong(
            f"{fault.message} Please reduce its length.",
            param="input",
            details={"index": fault.index, "tokens": fault.tokens, "limit": fault.limit},
            detail=fault.detail,
        )
    message = fault.message or "The provider refuses this input."
    if fault.index is None:
        return errors.InvalidRequest(message, param="input", detail=fault.detail)
    return errors.InvalidRequest(
        f"{message} Look at $.input[{fault.index}].",
        param="input",
        details={"index": fault.index},
        detail=fault.detail,
    )
