"""Pure. Reads the manifest, ``catalogue.yaml``, into typed entries; the tables here say what a file may state.

The fields of providers, models and endpoints are those of the structs that the commands take
(:mod:`router.manifest.fields`). docs/catalogue.md is the manual.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from billing.money import from_usd
from catalog.terms import find, normalize
from catalog.values import ModelFacts
from providers.options import OptionsRefused, options_sentence, read_options
from providers.protocol import ProviderKind
from router.manifest import yaml_reader
from router.manifest.fields import readers_of
from router.manifest.values import Entry, Fault, FileRefused, Kind
from router.manifest.yaml_reader import Node, Reader, items, line_of, members, optional, refusal
from router.registry.specs import EndpointSpec, ProviderSpec

# Sections with their kinds, in the order in which a person reads them.
SECTIONS: Mapping[str, Kind] = {
    "providers": Kind.PROVIDER,
    "models": Kind.MODEL,
    "endpoints": Kind.ENDPOINT,
    "prices": Kind.PRICE,
    "claims": Kind.CLAIM,
    "resolutions": Kind.RESOLUTION,
}
SECTION_OF: Mapping[Kind, str] = {kind: section for section, kind in SECTIONS.items()}

# Kind -> field -> its reader. The fields of IDENTITY name the subject; all others are compared with the database.
FIELDS: Mapping[Kind, Mapping[str, Reader]] = {
    Kind.PROVIDER: {
        "name": yaml_reader.text,
        "kind": yaml_reader.one_of(*ProviderKind),
        **readers_of(ProviderSpec),
    },
    Kind.MODEL: {
        "id": yaml_reader.text,
        "status": yaml_reader.one_of("live"),
        **readers_of(ModelFacts),
    },
    Kind.ENDPOINT: {
        "model": yaml_reader.text,
        "provider": yaml_reader.text,
        "space": yaml_reader.text,
        **readers_of(EndpointSpec),
    },
    Kind.PRICE: {
        "model": yaml_reader.text,
        "usd_per_mtok": yaml_reader.usd,
        "batch_usd_per_mtok": optional(yaml_reader.usd),
        "from": yaml_reader.instant,
        "note": yaml_reader.text,
    },
    Kind.CLAIM: {
        "model": yaml_reader.text,
        "license": yaml_reader.text,
        "source": yaml_reader.text,
        "evidence": yaml_reader.text,
        "claimed_on": yaml_reader.day,
    },
    Kind.RESOLUTION: {
        "model": yaml_reader.text,
        "license": yaml_reader.text,
        "reason": yaml_reader.text,
        "evidence": yaml_reader.text,
    },
}
IDENTITY: Mapping[Kind, frozenset[str]] = {
    Kind.PROVIDER: frozenset({"name"}),
    Kind.MODEL: frozenset({"id"}),
    Kind.ENDPOINT: frozenset({"model", "provider", "upstream_model", "space"}),
    Kind.PRICE: frozenset({"model", "from", "note"}),
    Kind.CLAIM: frozenset({"model", "license", "source"}),
    Kind.RESOLUTION: frozenset({"model"}),
}
NEEDED: Mapping[Kind, frozenset[str]] = {
    Kind.PROVIDER: frozenset({"name", "kind"}),
    Kind.MODEL: frozenset({"id"}),
    Kind.ENDPOINT: frozenset({"model", "provider"}),
    Kind.PRICE: frozenset({"model", "usd_per_mtok"}),
    Kind.CLAIM: frozenset({"model", "license", "source", "evidence", "claimed_on"}),
    Kind.RESOLUTION: frozenset({"model", "license", "reason", "evidence"}),
}


def read(text: str) -> tuple[Entry, ...]:
    """Read every entry of the file, in its order. Raises ``FileRefused`` with all faults that can be seen at once."""
    root = yaml_reader.document(text)
    if root is None:
        return ()
    sections = members(root, "")
    faults = [
        Fault(name, line_of(node), f"There is no such section; there are {', '.join(SECTIONS)}.")
        for name, node in sections.items()
        if name not in SECTIONS
    ]
    entries: list[Entry] = []
    for section, kind in SECTIONS.items():
        if section not in sections:
            continue
        try:
            for item, path in items(sections[section], section):
                try:
                    entries.append(_entry(kind, item, path))
                except FileRefused as refused:
                    faults += refused.faults
        except FileRefused as refused:
            faults += refused.faults
    faults += _duplicates(entries)
    if faults:
        raise FileRefused(tuple(sorted(faults, key=lambda fault: fault.line)))
    return tuple(entries)


def _entry(kind: Kind, node: Node, path: str) -> Entry:
    fields = yaml_reader.mapping(FIELDS[kind], NEEDED[kind])(node, path)
    assert isinstance(fields, dict)
    effective_at = fields.pop("from", None)
    assert effective_at is None or isinstance(effective_at, datetime)
    match kind:
        case Kind.ENDPOINT:
            fields.setdefault("upstream_model", fields["model"])
        case Kind.PRICE:
            _check_price(fields, members(node, path), path)
        case Kind.CLAIM | Kind.RESOLUTION:
            fields["license"] = normalize(str(fields["license"]))
            if kind is Kind.RESOLUTION and find(str(fields["license"])) is None:
                message = f"The terms of {fields['license']} are not known here: resolve to a license that is."
                raise refusal(members(node, path)["license"], f"{path}.license", message)
        case Kind.PROVIDER:
            _check_options(fields, members(node, path), path)
        case Kind.MODEL:
            pass
    identity = {name: str(fields.pop(name)) for name in IDENTITY[kind] if name in fields}
    subject = subject_of(kind, identity, effective_at)
    return Entry(kind, subject, path, line_of(node), identity, fields, effective_at)


def _check_price(fields: dict[str, object], nodes: Mapping[str, Node], path: str) -> None:
    # A price that states no batch price has none, unlike other fields, which stay where they are not stated.
    batch = fields.setdefault("batch_usd_per_mtok", None)
    if batch is not None and from_usd(str(batch)) > from_usd(str(fields["usd_per_mtok"])):
        raise refusal(
            nodes["batch_usd_per_mtok"],
            f"{path}.batch_usd_per_mtok",
            "The batch lane never costs more than the interactive one.",
        )


def _check_options(fields: dict[str, object], nodes: Mapping[str, Node], path: str) -> None:
    """Raise ``FileRefused`` with every fault of a provider's options, each at its own line.

    A file that states no options leaves those that are there, which were checked when they were set.
    """
    options = fields.get("options")
    if not isinstance(options, Mapping):
        return
    try:
        read_options(ProviderKind(str(fields["kind"])), options)
    except OptionsRefused as refused:
        stated = members(nodes["options"], f"{path}.options")
        listed = options_sentence(refused.kind)
        raise FileRefused(
            tuple(
                Fault(
                    f"{path}.options.{fault.name}",
                    line_of(stated.get(fault.name, nodes["options"])),
                    f"{fault.message}.{f' {listed}' if fault.is_unknown else ''}",
                )
                for fault in refused.faults
            )
        ) from refused


def subject_of(kind: Kind, identity: Mapping[str, str], effective_at: datetime | None = None) -> str:
    """The name of an entry among those of its kind."""
    match kind:
        case Kind.PROVIDER:
            return identity["name"]
        case Kind.MODEL:
            return identity["id"]
        case Kind.ENDPOINT:
            return f"{identity['model']} at {identity['provider']} as {identity['upstream_model']}"
        case Kind.PRICE:
            return identity["model"] + (f" from {effective_at.isoformat()}" if effective_at else "")
        case Kind.CLAIM:
            return f"{identity['model']}: {identity['license']} by {identity['source']}"
        case Kind.RESOLUTION:
            return identity["model"]


def _duplicates(entries: list[Entry]) -> Iterator[Fault]:
    first: dict[tuple[Kind, str], str] = {}
    dated: dict[str, bool] = {}
    for entry in entries:
        if (first_path := first.setdefault(entry.name, entry.path)) != entry.path:
            yield Fault(entry.path, entry.line, f"{entry.subject} stands at {first_path} already.")
        if entry.kind is Kind.PRICE:
            has_date = entry.effective_at is not None
            if dated.setdefault(entry.identity["model"], has_date) != has_date:
                message = "A model has one price without `from`, which is the one in force, or prices that all have it."
                yield Fault(entry.path, entry.line, message)
