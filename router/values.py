"""Declares the values of one call, from its raw bytes to its answer, and of the endpoints that may serve it. Pure."""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

import msgspec

from billing.money import NanoUSD
from billing.values import Hold, Payer, Quote, Usage
from catalog.values import Decision, Model, Use
from router.networks import NO_NETWORKS, NetworkRange
from store.ids import AccountId, EndpointId, KeyId, ModelId, ProviderId, RequestId


class Lane(StrEnum):
    """Which queue a call waits in, and which of a price's two amounts it pays."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Preferences(msgspec.Struct, frozen=True):
    """A call's demands on its route: the body's ``provider`` object. An endpoint that does not meet one is left out.

    ``order``, ``only`` and ``ignore`` name providers. ``max_price`` is nano-USD per million tokens. ``space`` pins the
    vector space. ``quantizations`` are classes of numerics, ``regions`` where a provider may process the call.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    sort: Literal["price", "latency", "throughput"] | None = None
    max_price: int | None = None
    allow_fallbacks: bool = True
    data_collection: Literal["allow", "deny"] = "allow"
    zero_retention: bool = False
    quantizations: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    space: str | None = None
    hedge: bool = False


# The preferences of a call without a ``provider`` object; compared by identity where every microsecond counts.
NO_PREFERENCES: Final = Preferences()


class EmbedRequest(msgspec.Struct, frozen=True):
    """A parsed and valid body. Exactly one of ``texts`` and ``token_ids`` is set."""

    model: str
    texts: list[str] | None
    token_ids: list[list[int]] | None
    encoding_format: Literal["float", "base64"]
    dimensions: int | None
    input_type: Literal["query", "document"] | None
    user: str | None
    preferences: Preferences = NO_PREFERENCES

    @property
    def inputs(self) -> int:
        """How many vectors the caller gets."""
        return len(self.texts if self.texts is not None else self.token_ids or ())


class Key(msgspec.Struct, frozen=True):
    """An API key in memory. ``models`` empty means every model; calls with an ``is_test`` key cost nothing.

    ``allow_token_ids`` says that its token ids are those of the called model's own tokenizer. ``is_trial``: by the
    secret that the pages made for one call, which is no use of the key by whoever has it. ``networks`` are those from
    which it may be used, empty for every one.
    """

    id: KeyId
    account_id: AccountId
    name: str
    use: Use
    payer: Payer
    models: frozenset[ModelId] = frozenset()
    expires_at: datetime | None = None
    paused: bool = False
    revoked_at: datetime | None = None
    is_test: bool = False
    accepted: frozenset[str] = frozenset()
    allow_token_ids: bool = False
    is_trial: bool = False
    networks: tuple[NetworkRange, ...] = NO_NETWORKS


class Caller(msgspec.Struct, frozen=True):
    """An authenticated key."""

    key: Key


class EndpointState(StrEnum):
    """Where an endpoint stands; only ``live`` gets traffic."""

    DRAFT = "draft"
    PROBING = "probing"
    LIVE = "live"
    DRAINING = "draining"
    QUARANTINED = "quarantined"
    OFF = "off"


class QuarantineCause(StrEnum):
    """Why an endpoint is quarantined, which decides what brings it back.

    Three good verifications in a row end ``probe``: its vectors failed one. A single good verification ends
    ``proof_awaited``: something was edited that decides who answers; and ``credential_refused``: the provider refused
    our credential or our credit. Only an activation ends the others: ``operator``: an operator quarantined it;
    ``test_failed``: an operator's test got no answer to compare; ``edited_while_draining``: as ``proof_awaited``, while
    it was draining; ``model_missing``: the provider does not know the upstream model; ``space_mismatch``: it answers
    from another space than was tested.
    """

    PROBE = "probe"
    PROOF_AWAITED = "proof_awaited"
    CREDENTIAL_REFUSED = "credential_refused"
    OPERATOR = "operator"
    TEST_FAILED = "test_failed"
    EDITED_WHILE_DRAINING = "edited_while_draining"
    MODEL_MISSING = "model_missing"
    SPACE_MISMATCH = "space_mismatch"


class Endpoint(msgspec.Struct, frozen=True):
    """One model at one provider. A small ``priority`` goes first; ``cost_nano_per_mtok`` is what it costs us.

    The provider's quota (``requests_per_minute``, ``tokens_per_minute``, ``concurrency``) counts all processes
    together; None where no limit is known. ``numerics`` is the number format of its weights; None: as the model
    declares. ``regions``, ``collects_data`` and ``retention_days`` are its provider's.

    ``upstream_space`` is the provider's own name of the space, where it gives one with each answer: it must not change.
    """

    id: EndpointId
    model_id: ModelId
    provider_id: ProviderId
    provider_name: str
    upstream_model: str
    space: str
    state: EndpointState
    priority: int
    cost_nano_per_mtok: int
    asks_base64: bool = True
    native_input_type: bool = False
    max_batch: int | None = None
    upstream_space: str | None = None
    weight: int = 100
    numerics: str | None = None
    max_batch_tokens: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    provider_kind: str = ""
    regions: tuple[str, ...] = ()
    collects_data: bool = True
    retention_days: int | None = None


class Choice(msgspec.Struct, frozen=True):
    """One candidate of a route: why it was left out, or the facts that decided its place; explanations print them.

    ``code`` is the short and stable name of the reason, for programs: ``region``, ``breaker`` and so on.
    """

    endpoint: Endpoint
    left_out: str | None = None
    facts: dict[str, float] = {}
    code: str = ""


class Route(msgspec.Struct, frozen=True):
    """The endpoints to try, in order, and those left out with the reason. ``ranked`` has the facts behind the order."""

    order: tuple[Endpoint, ...]
    left_out: tuple[Choice, ...] = ()
    ranked: tuple[Choice, ...] = ()
    policy: str = ""


class AttemptRecord(msgspec.Struct, frozen=True):
    """One attempt of a call, as it ended. ``outcome`` is ``answered``, ``canceled`` or the failure's class."""

    endpoint: Endpoint
    why: Literal["first", "next", "hedge"]
    began_ms: float
    took_ms: float
    outcome: str
    reason: str = ""


class Trace(msgspec.Struct):
    """The record of one call, filled by the pipeline step by step: the route explanation is written from it.

    Times are milliseconds since ``began``, which is on the event loop's clock. Steps that were not reached stay None.
    """

    began: float = 0.0
    key: Key | None = None
    model: Model | None = None
    lane: Lane = Lane.INTERACTIVE
    preferences: Preferences | None = None
    inputs: int = 0
    decision: Decision | None = None
    quote: Quote | None = None
    route: Route | None = None
    hold: Hold | None = None
    attempts: list[AttemptRecord] = []
    usage: Usage | None = None
    admitted_ms: float | None = None
    delivered_ms: float | None = None
    charged_ms: float | None = None

    @property
    def attempts_sent(self) -> int:
        """How many attempts were really sent: an endpoint that was passed over does not count."""
        return sum(attempt.outcome not in ("PassedOver", "BeyondQuota") for attempt in self.attempts)


class RawCall(msgspec.Struct, frozen=True):
    """A call as the edge hands it over: the whole body, the headers that the pipeline reads, the clocks.

    ``now`` is UTC wall time; ``deadline_at`` is on the event loop's clock (``loop.time()``). ``client_gone`` says
    whether the client has hung up: checked before dispatch, it saves a call without a reader. ``wait_s`` is how long
    the client wants to wait for a model that is warming up. ``client_address`` finds the client's address, which only a
    key with networks needs.
    """

    request_id: RequestId
    body: bytes
    authorization: str | None
    idempotency_key: str | None
    now: datetime
    deadline_at: float
    client_gone: Callable[[], bool] = lambda: False
    lane: Lane = Lane.INTERACTIVE
    wait_s: float = 0.0
    trace: Trace = msgspec.field(default_factory=Trace)
    client_address: Callable[[], str | None] = lambda: None


class CallSummary(msgspec.Struct, frozen=True):
    """The figures of an answered call that the log and the metrics publish."""

    account_id: AccountId
    key_id: KeyId
    model_id: ModelId
    endpoint_id: EndpointId
    inputs: int
    tokens: int
    charged: NanoUSD
    attempts: int
    upstream_ms: float


class Answer(msgspec.Struct, frozen=True):
    """The answer to the client: status, headers as ASGI pairs, the body in pieces that each take little time to make.

    ``body`` is encoded while it is iterated, and may be iterated more than once: :meth:`to_bytes` where one piece is
    needed. ``compact`` gives what the body can be encoded from again, unless it is longer than so many bytes.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: Iterable[bytes]
    summary: CallSummary | None = None
    compact: Callable[[int], bytes | None] | None = None

    def to_stored(self, bytes_max: int) -> bytes | None:
        """The body as it is stored, or None where that is longer than ``bytes_max``."""
        return self.to_bytes(bytes_max) if self.compact is None else self.compact(bytes_max)

    def to_bytes(self, bytes_max: int) -> bytes | None:
        """The body as one, or None as soon as it is seen to be longer than ``bytes_max``."""
        pieces: list[bytes] = []
        left = bytes_max
        for piece in self.body:
            left -= len(piece)
            if left < 0:
                return None
            pieces.append(piece)
        return b"".join(pieces)
