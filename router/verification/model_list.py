"""Asks a provider which models it has, by one real call that costs nothing; writes nothing."""

import msgspec

from providers.model_list import ListedModel
from providers.outcomes import ConnectFailed, CredentialRefused, Failure, Misconfigured, TimedOut
from providers.protocol import Provider
from providers.wire import recording
from router.registry.indexes import ProviderRecord
from router.verification import call_steps
from router.verification.call_steps import CallStep, build_steps, explain_failure, failed_step
from router.verification.check_report import CheckReport, explain

DEADLINE_S = 15.0
LIST = "list"
NO_LIST = (
    "It gave no list of models there: set the option models_path where it has one elsewhere, or register its models by "
    "hand."
)


async def list_provider_models(
    record: ProviderRecord, provider: Provider
) -> tuple[CheckReport, tuple[ListedModel, ...] | None]:
    """How the call went, and the models; None where none came, or where this kind of provider has no list."""
    with recording() as exchanges:
        try:
            listed = await provider.list_models(DEADLINE_S)
        except Failure as failure:
            report = CheckReport(False, explain_failure(failure), _steps(record, failure))
            report = explain(report, exchanges, record, "", failure)
            return msgspec.structs.replace(report, advice=_advice(failure, report)), None
    count = 0 if listed is None else len(listed)
    steps = () if listed is None else _steps(record, detail=f"{count} models")
    return explain(CheckReport(True, "", steps), exchanges, record, "", None), listed


def _steps(record: ProviderRecord, failure: Failure | None = None, detail: str = "") -> tuple[CallStep, ...]:
    """The steps of any call up to the credential, and the list."""
    steps = build_steps(
        record.base_url,
        {call_steps.EMBED: detail},
        failed_at=None if failure is None else failed_step(failure),
        reason="" if failure is None else explain_failure(failure),
        shows_credential=failure is None or call_steps.tells_of_credential(failure),
    )
    last = call_steps.STEPS.index(call_steps.EMBED)
    return (*steps[:last], msgspec.structs.replace(steps[last], name=LIST))


def _advice(failure: Failure, report: CheckReport) -> str:
    """What would help: an answer that is no list is about the list's place, whatever an embedding call would need."""
    status = None if report.upstream is None else report.upstream.status
    is_about_place = not isinstance(failure, ConnectFailed | CredentialRefused | Misconfigured | TimedOut)
    return NO_LIST if is_about_place and status is not None and status < 500 and status != 429 else report.advice
