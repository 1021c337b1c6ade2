"""Pure. Writes the current state as a manifest, whose plan is empty."""

from collections.abc import Iterator, Mapping

import yaml
from typing_extensions import override

from router.manifest.schema import SECTIONS
from router.manifest.values import CurrentState, Fields, Kind
from router.values import EndpointState

HEAD = """\
# The catalogue as it was exported. Fields that have their default are left out: what a file does not state, it leaves
# as it is. Endpoints that are off, credentials, waivers and lifecycles other than `status: live` are not in a file.
"""


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full: the reader refuses anchors."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        """Whether to write ``data`` in full where it stands again: always."""
        return True


def manifest_text(state: CurrentState) -> str:
    """YAML that reads back as the current state."""
    sections = {section: list(_entries(kind, state)) for section, kind in SECTIONS.items()}
    present = {section: entries for section, entries in sections.items() if entries}
    if not present:
        return HEAD
    texts = [
        yaml.dump({section: entries}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        for section, entries in present.items()
    ]
    return HEAD + "\n" + "\n".join(texts)


def _entries(kind: Kind, state: CurrentState) -> Iterator[Fields]:
    match kind:
        case Kind.PROVIDER:
            for name in sorted(state.providers):
                fields = state.fields[kind, name]
                yield {"name": name, "kind": fields["kind"], **_non_defaults(kind, fields, state)}
        case Kind.MODEL:
            for model_id in sorted(state.models):
                facts = _non_defaults(kind, state.fields[kind, model_id], state)
                launched: Fields = {"status": "live"} if facts.pop("status") == "live" else {}
                yield {"id": model_id, **launched, **facts}
        case Kind.ENDPOINT:
            yield from _endpoints(state)
        case Kind.PRICE:
            yield from _prices(state)
        case Kind.CLAIM:
            yield from _claims(state)
        case Kind.RESOLUTION:
            resolved = (model_id for model_id in sorted(state.models) if (kind, model_id) in state.fields)
            yield from ({"model": model_id, **state.fields[kind, model_id]} for model_id in resolved)


def _endpoints(state: CurrentState) -> Iterator[Fields]:
    for subject, endpoint in sorted(state.endpoints.items()):
        if endpoint.state is not EndpointState.OFF:
            identity: Fields = {"model": endpoint.model_id, "provider": endpoint.provider_name}
            identity["upstream_model"] = endpoint.upstream_model
            yield identity | _non_defaults(Kind.ENDPOINT, state.fields[Kind.ENDPOINT, subject], state)


def _prices(state: CurrentState) -> Iterator[Fields]:
    for model_id, prices in sorted(state.prices.items()):
        for price in prices:
            since = price.effective_at.isoformat()
            fields = state.fields[Kind.PRICE, f"{model_id} from {since}"]
            amounts = {name: value for name, value in fields.items() if value is not None}
            yield {"model": model_id, **amounts, "from": since}


def _claims(state: CurrentState) -> Iterator[Fields]:
    for model_id, model in sorted(state.models.items()):
        for claim in model.claims:
            fields: Fields = {"license": claim.license, "source": claim.source, "evidence": claim.evidence}
            yield {"model": model_id, **fields, "claimed_on": claim.claimed_on.isoformat()}


def _non_defaults(kind: Kind, fields: Mapping[str, object], state: CurrentState) -> Fields:
    defaults = state.defaults[kind]
    missing = object()
    return {name: value for name, value in fields.items() if value != defaults.get(name, missing)}
