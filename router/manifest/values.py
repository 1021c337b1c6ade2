"""What the catalogue's file, its difference to the database and its plan are made of. No I/O."""

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
    """What the file speaks of."""

    PROVIDER = "provider"
    MODEL = "model"
    ENDPOINT = "endpoint"
    CLAIM = "claim"
    RESOLUTION = "resolution"
    PRICE = "price"


# Kind and subject: what names a thing in the file, in the database and in what was applied last.
Name = tuple[Kind, str]


class Entry(msgspec.Struct, frozen=True):
    """One thing as a file states it. ``path`` is where (``providers[2]``), ``fields`` are those that it states."""

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
    """Something in the file that cannot be: where it stands, and a sentence."""

    path: str
    line: int
    says: str

    @override
    def __str__(self) -> str:
        return f"line {self.line}, {self.path}: {self.says}" if self.path else f"line {self.line}: {self.says}"


class FileRefused(Exception):
    """The file cannot be used; ``faults`` has a line for each reason."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class FieldChange(msgspec.Struct, frozen=True):
    """One field before and after."""

    field: str
    before: object
    after: object


class Verb(StrEnum):
    """What a step does."""

    CREATE = "create"
    CHANGE = "change"
    LAUNCH = "launch"
    DRAIN = "drain"
    OFF = "off"


class Step(msgspec.Struct, frozen=True):
    """One change that an apply makes. ``whole`` is every field after it, of those that are known."""

    verb: Verb
    kind: Kind
    subject: str
    path: str
    identity: dict[str, str]
    changes: tuple[FieldChange, ...]
    whole: Fields
    effective_at: datetime | None = None


class Drift(msgspec.Struct, frozen=True):
    """One field that was changed elsewhere: ours at the last apply, theirs now, the file's value."""

    path: str
    kind: Kind
    subject: str
    field: str
    ours: object
    ours_known: bool
    theirs: object
    file: object


class Vanished(msgspec.Struct, frozen=True):
    """A thing that a file had applied and has no longer; ``would`` is what pruning does to it."""

    kind: Kind
    subject: str
    would: Verb


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was applied last of one subject, field by field, and the file's values that were turned down by hand.

    ``origin``: where an import has it from.
    """

    fields: Fields
    declined: Fields = {}
    origin: str = ""


class ProviderNow(msgspec.Struct, frozen=True):
    """As much of a registered provider as a plan needs beside its fields."""

    id: ProviderId
    enabled: bool
    has_credential: bool


class Present(msgspec.Struct, frozen=True):
    """The database as the file's kinds see it, and the rows behind it. ``defaults`` are a new thing's fields."""

    fields: Mapping[Name, Fields]
    defaults: Mapping[Kind, Fields]
    providers: Mapping[str, ProviderNow]
    models: Mapping[str, Model]
    endpoints: Mapping[str, Endpoint]
    prices: Mapping[ModelId, tuple[Price, ...]]
    remembered: Mapping[Name, Remembered]


class Decisions(msgspec.Struct, frozen=True):
    """What the operator decided beforehand: whose value holds at which paths, and what may be done.

    ``yields``: whatever was changed elsewhere stays as it is, which is how an import behaves. ``allow_loss_of_drafts``:
    what gets no traffic yet may be registered below its cost.
    """

    take_file: tuple[str, ...] = ()
    take_theirs: tuple[str, ...] = ()
    prune: bool = False
    allow_loss: bool = False
    allow_loss_of_drafts: bool = False
    yields: bool = False


class Difference(msgspec.Struct, frozen=True):
    """The file against what there is and what was applied last."""

    steps: tuple[Step, ...] = ()
    conflicts: tuple[Drift, ...] = ()
    kept: tuple[Drift, ...] = ()
    vanished: tuple[Vanished, ...] = ()
    faults: tuple[Fault, ...] = ()
    remember: Mapping[Name, Remembered] = {}
    forget: tuple[Name, ...] = ()


LaneName = Literal["interactive", "batch"]


class Margin(msgspec.Struct, frozen=True):
    """What one endpoint leaves of a model's price from an instant on, in nano-USD per million tokens.

    ``before`` is None where nothing was or could be earned before.
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
        """Price minus cost."""
        return self.price - self.cost

    @property
    def is_loss(self) -> bool:
        """Each call costs more than it brings."""
        return self.after < 0

    @property
    def percent(self) -> str:
        """The margin as percent of the price, to a tenth: ``62.5%``; of a price of zero there is none."""
        if self.price == 0:
            return "-"
        tenths = (abs(self.after) * 2000 + self.price) // (2 * self.price)
        return f"{'-' if self.is_loss else ''}{tenths // 10}.{tenths % 10}%"


class Customers(msgspec.Struct, frozen=True):
    """Who used a model lately: how many accounts, and what they paid."""

    model: str
    accounts: int
    calls: int
    charged: NanoUSD


class Impact(msgspec.Struct, frozen=True):
    """Whom the steps affect. ``unproven`` are live endpoints that lose their traffic until they pass their probes."""

    models: tuple[str, ...] = ()
    margins: tuple[Margin, ...] = ()
    stops: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    stranded: tuple[str, ...] = ()
    customers: tuple[Customers, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """What an apply would do, or did. ``waiting`` are launches that lack something; ``refused`` what forbids it all."""

    difference: Difference
    impact: Impact = Impact()
    waiting: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def has_something_to_do(self) -> bool:
        """Steps, or decisions that a person has to make."""
        found = self.difference
        return bool(found.steps or found.conflicts or found.vanished or found.faults or self.refused)
