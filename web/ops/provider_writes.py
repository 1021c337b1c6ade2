"""What operators do with providers and endpoints, each as a page: register, edit, move, set the cost."""

from web.answers import Crumb
from web.ops.providers import PROVIDERS
from web.ops.write import OPERATIONS, Field, Write

REASON = Field(name="reason", label="Reason", kind="area", hint="For whoever looks next; the audit has it.")
BASE_URL = Field(name="base_url", label="Base URL", hint="Such as https://api.example.com/v1.")
REGIONS = Field(
    name="regions",
    label="Regions",
    kind="list",
    hint="Where it may process a call, such as eu, us; empty: not known.",
    is_empty_sent=True,
)
OPTIONS = Field(
    name="options",
    label="Options",
    kind="map",
    is_empty_sent=True,
    hint="A line each, as vendor=cohere or models_path=/v2/models; the documentation of providers has them by kind.",
)
COLLECTS = Field(name="collects_data", label="It may use inputs for more than the answer", kind="check", initial="1")
RETENTION = Field(
    name="retention_days",
    label="Days that it keeps inputs",
    kind="count",
    is_empty_null=True,
    hint="0: not at all; empty: not known.",
)
NAMES = {
    "name": "Name",
    "kind": "Kind",
    "base_url": "Base URL",
    "enabled": "Gets calls",
    "options": "Options",
    "regions": "Regions",
    "collects_data": "Uses inputs for more",
    "retention_days": "Days that it keeps inputs",
}

NEW_PROVIDER = Write(
    operation="create_provider",
    verb="Register",
    noun="a provider",
    explanation="The first step of adding a provider. It gets no calls before an endpoint of it is live.",
    fields=(
        Field(name="name", label="Name", hint="Lower-case letters, digits and dashes.", is_required=True),
        Field(
            name="kind",
            label="Kind",
            kind="choice",
            options=(("openai", "OpenAI-compatible"), ("worker", "Our worker"), ("litellm", "Through LiteLLM")),
            hint="How we speak to it.",
        ),
        BASE_URL,
        OPTIONS,
        REGIONS,
        COLLECTS,
        RETENTION,
    ),
    names=NAMES,
    back="/ops/providers",
    done="/ops/providers/{id}",
    crumbs=(OPERATIONS, PROVIDERS),
)
EDIT_PROVIDER = Write(
    operation="edit_provider",
    verb="Edit",
    explanation="Another address takes its endpoints out of traffic until they pass their tests.",
    values={"provider_id": "provider"},
    reads="retrieve_provider",
    fields=(
        BASE_URL,
        Field(name="enabled", label="It gets calls", kind="check"),
        OPTIONS,
        REGIONS,
        COLLECTS,
        RETENTION,
    ),
    names=NAMES,
    back="/ops/providers/{provider}",
    crumbs=(OPERATIONS, PROVIDERS),
)

LIMITS = (
    Field(
        name="requests_per_minute",
        label="Requests per minute",
        kind="count",
        is_empty_null=True,
        hint="That the provider grants us; empty: no limit is known.",
    ),
    Field(name="tokens_per_minute", label="Tokens per minute", kind="count", is_empty_null=True),
    Field(name="concurrency", label="Attempts at once", kind="count", is_empty_null=True),
)
COST = Field(
    name="cost_usd_per_mtok",
    label="Our cost, USD per 1M tokens",
    hint="What it charges us, such as 0.004.",
    is_required=True,
)
ENDPOINT_NAMES = {
    "model": "Model",
    "provider_name": "Provider",
    "upstream_model": "Its name of the model",
    "state": "State",
    "cost_usd_per_mtok": "Our cost, USD per 1M tokens",
    "priority": "Priority",
    "weight": "Weight",
    "requests_per_minute": "Requests per minute",
    "tokens_per_minute": "Tokens per minute",
    "concurrency": "Attempts at once",
}

NEW_ENDPOINT = Write(
    operation="create_endpoint",
    verb="Register",
    noun="an endpoint",
    name="model",
    explanation="One model at one provider, as a draft without traffic. A test puts it live.",
    fields=(
        Field(name="provider", label="Provider", hint="By name or id.", is_required=True),
        Field(name="model", label="Model", hint="By id or alias.", is_required=True),
        Field(name="upstream_model", label="The provider's name of the model", hint="Where it differs."),
        COST,
        *LIMITS,
    ),
    names=ENDPOINT_NAMES,
    back="/ops/providers",
    done="/ops/endpoints/{id}",
    crumbs=(OPERATIONS, PROVIDERS),
)
EDIT_ENDPOINT = Write(
    operation="edit_endpoint",
    verb="Edit",
    name="model",
    explanation="What it costs us, in which order it is called, and what the provider grants us.",
    values={"endpoint_id": "endpoint"},
    reads="retrieve_endpoint",
    fields=(
        COST,
        Field(name="allow_zero_cost", label="A cost of 0 is meant", kind="check"),
        Field(name="priority", label="Priority", kind="count", hint="Smaller goes first."),
        Field(name="weight", label="Weight", kind="count", hint="Its share among those of the same priority and cost."),
        *LIMITS,
    ),
    names=ENDPOINT_NAMES,
    back="/ops/endpoints/{endpoint}",
    crumbs=(OPERATIONS, PROVIDERS),
)


def _move(action: str, verb: str, explanation: str, *, is_dangerous: bool = False) -> Write:
    return Write(
        operation=f"{action}_endpoint",
        verb=verb,
        name="model",
        explanation=explanation,
        values={"endpoint_id": "endpoint"},
        reads="retrieve_endpoint",
        fields=(REASON,),
        names={"model": "Model", "provider_name": "Provider", "state": "State"},
        back="/ops/endpoints/{endpoint}",
        crumbs=(OPERATIONS, PROVIDERS, Crumb("Endpoint")),
        is_dangerous=is_dangerous,
    )


# By what the path calls them.
MOVES = {
    "probe": _move("probe", "Probe", "It gets no traffic, and waits for its test."),
    "drain": _move("drain", "Drain", "It gets no new calls; those in flight end as they do."),
    "resume": _move("resume", "Resume", "It gets traffic again."),
    "quarantine": _move("quarantine", "Quarantine", "It gets no traffic until it passes a test.", is_dangerous=True),
    "off": _move("off", "Turn off", "It gets no traffic and is no candidate.", is_dangerous=True),
}
