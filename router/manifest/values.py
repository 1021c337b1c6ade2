"""Pure. The values of the manifest: entries of the file, the current state, the diff between them, and the plan."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec
from typing_extensions import override

from billing.money import NanoUSD, Price
from catalog.values import Model
from router.values import Endpoint
from store.ids import ModelId, ProviderId

# A field's value as JSON writes it, amounts as canonical text ("0.008"), lists in one order.
Fields = dict[str, object]
Source = Literal["file", "litellm"]


class Kind(StrEnum):
    """The kinds of entries that a manifest has."""

    PROVIDER = "provider"
    MODEL = "model"
    ENDPOINT = "endpoint"
    CLAIM = "claim"
    RESOLUTION = "resolution"
    PRICE = "price"


# Kind and subject: names a thing in the file, in the database and in the record of the last apply.
Name = tuple[Kind, str]


class Entry(msgspec.Struct, frozen=True):
    """One entry of the file. ``path`` is its place (``providers[2]``), ``fields`` are those that the file states.

    ``origin`` is the source that an import names for it.
    """

    kind: Kind
    subject: str
    path: str
    line: int
    identity: dict[str, str]
    fields: Fields
    effective_at: datetime | None = None
    origin: str = ""

    @property
    def name(self) -> Name:
        """Kind and subject."""
        return self.kind, self.subject


class Fault(msgspec.Struct, frozen=True):
    """A fault of the file: its path and line, and a sentence about it."""

    path: str
    line: int
    message: str = msgspec.field(name="says")

    @override
    def __str__(self) -> str:
        return f"line {self.line}, {self.path}: {self.message}" if self.path else f"line {self.line}: {self.message}"


class FileRefused(Exception):
    """Refuses a whole file; ``faults`` has all that can be seen at once."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class FieldChange(msgspec.Struct, frozen=True):
    """One field's value before and after a step."""

    field: str
    before: object
    after: object


class Verb(StrEnum):
    """What a step of a plan does to its subject."""

    CREATE = "create"
    CHANGE = "change"
    LAUNCH = "launch"
    DRAIN = "drain"
    OFF = "off"


class PlanStep(msgspec.Struct, frozen=True):
    """One change that an apply makes. ``fields_after`` has every known field of the subject as the step leaves it."""

    verb: Verb
    kind: Kind
    subject: str
    path: str
    identity: dict[str, str]
    changes: tuple[FieldChange, ...]
    fields_after: Fields
    effective_at: datetime | None = None


class Drift(msgspec.Struct, frozen=True):
    """Configuration drift: a field whose current value is neither the file's nor what the last apply left.

    ``last`` is what the last apply left (``was_applied`` tells null from no apply), ``current`` is in the database now,
    ``file`` is in the file. JSON calls them ``ours``, ``theirs`` and ``file``, as ``--take-theirs`` does.
    """

    path: str
    kind: Kind
    subject: str
    field: str
    last: object = msgspec.field(name="ours")
    was_applied: bool = msgspec.field(name="ours_known")
    current: object = msgspec.field(name="theirs")
    file: object


class Orphan(msgspec.Struct, frozen=True):
    """A subject that an earlier file had and this one has not; ``prune_verb`` is what ``--prune`` does to it."""

    kind: Kind
    subject: str
    prune_verb: Verb = msgspec.field(name="would")


class LastApplied(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of the last apply of one subject: its fields, and the file's values that an operator declined.

    ``origin`` is the source that an import named.
    """

    fields: Fields
    declined: Fields = {}
    origin: str = ""


class ProviderState(msgspec.Struct, frozen=True):
    """What a plan needs of a registered provider beside its fields."""

    id: ProviderId
    enabled: bool
    has_credential: bool


class CurrentState(msgspec.Struct, frozen=True):
    """The database by the manifest's kinds and names, with the rows behind it.

    ``fields`` and ``last_applied`` are by name, ``defaults`` are a new entry's fields. ``providers``, ``models`` and
    ``endpoints`` are by subject, ``prices`` are all versions.
    """

    fields: Mapping[Name, Fields]
    defaults: Mapping[Kind, Fields]
    providers: Mapping[str, ProviderState]
    models: Mapping[str, Model]
    endpoints: Mapping[str, Endpoint]
    prices: Mapping[ModelId, tuple[Price, ...]]
    last_applied: Mapping[Name, LastApplied]


class Decisions(msgspec.Struct, frozen=True):
    """What the operator decides with the command: whose value holds at which paths, and what the apply may do.

    ``prune`` ends orphans. ``allow_loss`` lets a price be below an endpoint's cost, ``allow_loss_of_drafts`` for
    endpoints without traffic. ``allow_zero_cost``: a cost of 0 of an endpoint that serves is meant. ``keep_drift``
    leaves every drifted field as it is, which is how an import behaves.
    """

    take_file: tuple[str, ...] = ()
    take_theirs: tuple[str, ...] = ()
    prune: bool = False
    allow_loss: bool = False
    allow_loss_of_drafts: bool = False
    keep_drift: bool = False
    allow_zero_cost: bool = False


class Diff(msgspec.Struct, frozen=True):
    """The file compared with the current state and the last apply.

    ``conflicts`` are drifts that an operator has to decide, ``accepted`` are those that stay. ``applied`` and ``stale``
    are what the apply records and deletes in the record of the last apply.
    """

    steps: tuple[PlanStep, ...] = ()
    conflicts: tuple[Drift, ...] = ()
    accepted: tuple[Drift, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    faults: tuple[Fault, ...] = ()
    applied: Mapping[Name, LastApplied] = {}
    stale: tuple[Name, ...] = ()


LaneName = Literal["interactive", "batch"]


class Margin(msgspec.Struct, frozen=True):
    """The margin of one endpoint in one lane from an instant on, in nano-USD per million tokens.

    ``before`` is the margin without the plan; None where there was no price or no endpoint.
    """

    model: str
    endpoint: str
    lane: LaneName
    since: datetime
    price: int
    cost: int
    before: int | None

    @property
    def after(self) -> int:
        """The margin with the plan: price minus cost."""
        return self.price - self.cost

    @property
    def is_loss(self) -> bool:
        """Whether each call costs more than it brings."""
        return self.after < 0

    @property
    def percent(self) -> str:
        """The margin as percent of the price, to a tenth: ``62.5%``; ``-`` where the price is zero."""
        if self.price == 0:
            return "-"
        tenths = (abs(self.after) * 2000 + self.price) // (2 * self.price)
        return f"{'-' if self.is_loss else ''}{tenths // 10}.{tenths % 10}%"


class Customers(msgspec.Struct, frozen=True):
    """How many accounts used a model in the last 30 days, how often, and what they were charged."""

    model: str
    accounts: int
    calls: int
    charged: NanoUSD


class Impact(msgspec.Struct, frozen=True):
    """What the steps of a plan affect.

    ``stopping`` endpoints lose their traffic for good, ``unverified`` ones until they pass their probes.
    ``without_live_endpoint`` are models that nobody serves afterwards.
    """

    models: tuple[str, ...] = ()
    margins: tuple[Margin, ...] = ()
    stopping: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    without_live_endpoint: tuple[str, ...] = ()
    customers: tuple[Customers, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """What an apply would do, or did. ``waiting`` says what launches lack, ``refusals`` what forbids it all."""

    diff: Diff
    impact: Impact = Impact()
    waiting: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def needs_action(self) -> bool:
        """Whether there are steps to run or decisions to make."""
        diff = self.diff
        return bool(diff.steps or diff.conflicts or diff.orphans or diff.faults or self.refusals)
