"""The present state as a catalogue file: what it states makes an empty plan."""

from collections.abc import Iterator, Mapping

import yaml
from typing_extensions import override

from router.manifest.schema import SECTIONS
from router.manifest.values import Fields, Kind, Present
from router.values import EndpointState

HEAD = """\
# The catalogue as it was exported. Fields that have their default are left out: what a file does not state, it leaves
# as it is. Endpoints that are off, credentials, waivers and lifecycles other than `status: live` are not in a file.
"""


class _Plain(yaml.SafeDumper):
    """Writes each thing out where it stands: the reader takes no anchors."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        """Always."""
        return True


def export(present: Present) -> str:
    """YAML that reads back as what is there."""
    sections = {section: list(_entries(kind, present)) for section, kind in SECTIONS.items()}
    stated = {section: entries for section, entries in sections.items() if entries}
    if not stated:
        return HEAD
    parts = [
        yaml.dump({section: entries}, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
        for section, entries in stated.items()
    ]
    return HEAD + "\n" + "\n".join(parts)


def _entries(kind: Kind, present: Present) -> Iterator[Fields]:
    match kind:
        case Kind.PROVIDER:
            for name in sorted(present.providers):
                fields = present.fields[kind, name]
                yield {"name": name, "kind": fields["kind"], **_stated(kind, fields, present)}
        case Kind.MODEL:
            for model_id in sorted(present.models):
                facts = _stated(kind, present.fields[kind, model_id], present)
                launched: Fields = {"status": "live"} if facts.pop("status") == "live" else {}
                yield {"id": model_id, **launched, **facts}
        case Kind.ENDPOINT:
            yield from _endpoints(present)
        case Kind.PRICE:
            yield from _prices(present)
        case Kind.CLAIM:
            yield from _claims(present)
        case Kind.RESOLUTION:
            ruled = (model_id for model_id in sorted(present.models) if (kind, model_id) in present.fields)
            yield from ({"model": model_id, **present.fields[kind, model_id]} for model_id in ruled)


def _endpoints(present: Present) -> Iterator[Fields]:
    for subject, one in sorted(present.endpoints.items()):
        if one.state is not EndpointState.OFF:
            identity: Fields = {"model": one.model_id, "provider": one.provider_name}
            identity["upstream_model"] = one.upstream_model
            yield identity | _stated(Kind.ENDPOINT, present.fields[Kind.ENDPOINT, subject], present)


def _prices(present: Present) -> Iterator[Fields]:
    for model_id, prices in sorted(present.prices.items()):
        for price in prices:
            since = price.effective_at.isoformat()
            fields = present.fields[Kind.PRICE, f"{model_id} from {since}"]
            amounts = {name: value for name, value in fields.items() if value is not None}
            yield {"model": model_id, **amounts, "from": since}


def _claims(present: Present) -> Iterator[Fields]:
    for model_id, model in sorted(present.models.items()):
        for claim in model.claims:
            fields: Fields = {"license": claim.license, "source": claim.source, "evidence": claim.evidence}
            yield {"model": model_id, **fields, "claimed_on": claim.claimed_on.isoformat()}


def _stated(kind: Kind, fields: Mapping[str, object], present: Present) -> Fields:
    defaults = present.defaults[kind]
    missing = object()
    return {name: value for name, value in fields.items() if value != defaults.get(name, missing)}
