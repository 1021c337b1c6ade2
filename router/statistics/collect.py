"""Collects statistics of endpoints, of models and of keys' last use in a process, and writes them every five seconds.

A call adds numbers to a few counters, and its key's use is looked at once a minute. They are written on a connection
that its owner lends. What was written in a transaction that ended in the dark is not written again: statistics may lack
five seconds of one process, and never count a call twice.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, TypeVar

import asyncpg
import msgspec

from router.networks import Network, network_of
from router.statistics.counts import Counts, attempt_fault, bucket_of, call_fault, says_nothing, size_of
from router.values import Lane, Trace
from store.ids import EndpointId, KeyId
from store.postgres import CONNECTION_LOST, Connection

SPAN_S = 300
WRITE_EVERY = timedelta(seconds=5)
# How often the last use of a key is noted at most.
USE_EVERY = timedelta(minutes=1)
# Keys whose uses wait, and whose latest one is remembered.
KEYS_MAX = 50_000
CLIENT_MAX = 64

_ADD_ENDPOINTS = """
INSERT INTO endpoint_statistics AS s (endpoint_id, at, size, answered, ours, providers, customers, latency)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (endpoint_id, at, size) DO UPDATE SET answered = s.answered + EXCLUDED.answered,
    ours = s.ours + EXCLUDED.ours, providers = s.providers + EXCLUDED.providers,
    customers = s.customers + EXCLUDED.customers, latency = add_counts(s.latency, EXCLUDED.latency)
"""
_ADD_MODELS = """
INSERT INTO model_statistics AS s (model_id, at, answered, ours, providers, customers) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (model_id, at) DO UPDATE SET answered = s.answered + EXCLUDED.answered, ours = s.ours + EXCLUDED.ours,
    providers = s.providers + EXCLUDED.providers, customers = s.customers + EXCLUDED.customers
"""
_NOTE_USES = """
INSERT INTO key_uses AS k (key_id, used_at, network, client) VALUES ($1, $2, $3, $4)
ON CONFLICT (key_id) DO UPDATE SET used_at = EXCLUDED.used_at, network = EXCLUDED.network, client = EXCLUDED.client
WHERE k.used_at < EXCLUDED.used_at
"""
_NOTE_WRITTEN = """
INSERT INTO statistics_state AS s (name, at) VALUES ('written', $1)
ON CONFLICT (name) DO UPDATE SET at = greatest(s.at, EXCLUDED.at)
"""

K = TypeVar("K")
EndpointSpan = tuple[EndpointId, datetime, str]
ModelSpan = tuple[str, datetime]


class KeyUse(msgspec.Struct, frozen=True):
    """A use of a key: when, from which network, by which client; None where that is not known."""

    at: datetime
    network: str | None
    client: str | None


class Collected(msgspec.Struct):
    """What waits to be written."""

    endpoints: dict[EndpointSpan, Counts] = msgspec.field(default_factory=dict)
    models: dict[ModelSpan, Counts] = msgspec.field(default_factory=dict)
    uses: dict[KeyId, KeyUse] = msgspec.field(default_factory=dict)


class StatisticsCollector:
    """Collects what the calls of one process add to statistics."""

    def __init__(self) -> None:
        self._collected = Collected()
        self._noted: dict[KeyId, datetime] = {}
        self._written_at = datetime.min.replace(tzinfo=UTC)

    def count_call(self, at: datetime, status: int, code: str, trace: Trace) -> None:
        """Count a call of a known key that is over, and its attempts. Calls with test keys reach no provider."""
        if trace.key is None or trace.key.is_test:
            return
        span = at.replace(minute=at.minute // 5 * 5, second=0, microsecond=0)
        model_span = (trace.model.id if trace.model is not None else "", span)
        collected = self._collected
        counts = collected.models.get(model_span)
        if counts is None:
            counts = collected.models[model_span] = Counts()
        counts.count(call_fault(status, code))
        if trace.attempts:
            self._count_attempts(span, trace)

    def note_use(self, key_id: KeyId, at: datetime, address: Callable[[], str | None], user_agent: bytes) -> None:
        """Note that a key was used, once a minute: only then is what it came with looked at."""
        last = self._noted.get(key_id)
        if last is not None and at - last < USE_EVERY:
            return
        if len(self._noted) >= KEYS_MAX:
            self._noted.clear()
        self._noted[key_id] = at
        if len(self._collected.uses) < KEYS_MAX:
            self._collected.uses[key_id] = KeyUse(at, text_of_network(address()), client_of(user_agent))

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to write, were there nothing to write too: that is how one sees that a process can."""
        return now - self._written_at >= WRITE_EVERY

    async def write(self, connection: Connection, now: datetime) -> None:
        """Write what is collected. Raises what a lost connection raises; what was not sent then is collected still."""
        collected, self._collected = self._collected, Collected()
        try:
            transaction = connection.transaction()
            await transaction.start()
            for statement, rows in _statements(collected, now):
                if rows:
                    await connection.executemany(statement, rows)
        except (asyncpg.PostgresError, *CONNECTION_LOST):
            self._put_back(collected)
            raise
        await transaction.commit()
        self._written_at = now

    def _count_attempts(self, span: datetime, trace: Trace) -> None:
        tokens = trace.usage.tokens if trace.usage is not None else trace.quote.tokens_limited if trace.quote else 0
        size = size_of(tokens).value
        for attempt in trace.attempts:
            if says_nothing(attempt.outcome):
                continue
            key = (attempt.endpoint.id, span, size)
            counts = self._collected.endpoints.get(key)
            if counts is None:
                counts = self._collected.endpoints[key] = Counts()
            fault = attempt_fault(attempt.outcome)
            counts.count(fault)
            if fault is None and trace.lane is Lane.INTERACTIVE:
                counts.latency[bucket_of(attempt.took_ms)] += 1

    def _put_back(self, unwritten: Collected) -> None:
        since = self._collected
        _merge(since.endpoints, unwritten.endpoints)
        _merge(since.models, unwritten.models)
        since.uses = {**unwritten.uses, **since.uses}


def _merge(into: dict[K, Counts], counted: dict[K, Counts]) -> None:
    for key, counts in counted.items():
        if key in into:
            into[key].add(counts)
        else:
            into[key] = counts


def text_of_network(address: str | None) -> str | None:
    """The network that an address is in, as text: ``203.0.113.0/24``; None for what is no address."""
    network = network_of(address)
    return None if network is None else str(network)


def client_of(user_agent: bytes) -> str | None:
    """The product that a user agent names first (RFC 9110 §10.1.5), without its version: ``openai-python``."""
    product = user_agent.decode("latin-1").strip().partition(" ")[0].partition("/")[0]
    return product[:CLIENT_MAX] if product and product.isascii() and product.isprintable() else None


def _statements(collected: Collected, now: datetime) -> Iterable[tuple[str, list[Any]]]:
    """Each statement with its rows in the order of their keys, so that two processes never wait for each other."""
    yield (
        _ADD_ENDPOINTS,
        [
            (*key, n.answered, n.ours, n.providers, n.customers, n.latency)
            for key, n in sorted(collected.endpoints.items(), key=lambda item: item[0])
        ],
    )
    yield (
        _ADD_MODELS,
        [
            (*key, n.answered, n.ours, n.providers, n.customers)
            for key, n in sorted(collected.models.items(), key=lambda item: item[0])
        ],
    )
    yield (
        _NOTE_USES,
        [
            (key, use.at, None if use.network is None else _network(use.network), use.client)
            for key, use in sorted(collected.uses.items(), key=lambda item: item[0])
        ],
    )
    yield _NOTE_WRITTEN, [(now,)]


def _network(text: str) -> Network:
    return ip_network(text)
