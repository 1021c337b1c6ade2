"""The references of vector spaces: what each space's vectors of the probe set are, and who vouches for them.

A reference is set by an in-house worker whose weights are the ones that the catalogue names, or by an operator with a
reason. Everything else is compared with it. Which process asks whom and when is not decided here.
"""

from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.values import Model
from providers.probing.agreement import RANKS_FROM_ROWS, Noise, admits, numerics_of
from providers.probing.probe_texts import ProbeSet
from providers.protocol import FloatMatrix
from providers.worker_client.identity import WorkerIdentity
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.tables import Json, SpaceReferenceRow

DIGEST_PREFIX = "sha256:"
# With fewer probes in common neighbors and ranks say nothing.
COMMON_LEAST = RANKS_FROM_ROWS


class Reference(msgspec.Struct, frozen=True):
    """A space's vectors, [probes, dimensions] float32. ``source`` says who vouches for them and why.

    The rows are the probes of the set that is asked now, those that the reference does not know are NaN; ``probe_set``
    is the set that it was recorded with. ``noise`` is how far honest copies were measured to be apart; None where no
    two were compared.
    """

    space: str
    probe_set: str
    vectors: FloatMatrix
    source: str
    recorded_by: str
    recorded_at: datetime
    noise: Noise | None = None

    @property
    def known(self) -> list[int]:
        """The rows of the probes that it knows."""
        return known_rows(self.vectors)

    @property
    def is_whole(self) -> bool:
        """Whether it knows every probe that is asked now."""
        return len(self.known) == len(self.vectors)


def known_rows(vectors: FloatMatrix) -> list[int]:
    """The rows of a reference's vectors that are not NaN."""
    return [int(row) for row in np.flatnonzero(~np.isnan(vectors).any(axis=1))]


async def find_reference(connection: AsyncConnection, space: str, probes: ProbeSet) -> Reference | None:
    """The newest reference of a space that says enough of these probes, if anyone has vouched for one."""
    query = select(SpaceReferenceRow.__table__).where(SpaceReferenceRow.space == space)
    for row in await connection.execute(query.order_by(SpaceReferenceRow.recorded_at.desc())):
        found = _reference(row, probes)
        if len(found.known) >= COMMON_LEAST or found.is_whole:
            return found
    return None


async def has_reference(connection: AsyncConnection, space: str) -> bool:
    """Whether anyone has ever vouched for the space, with whatever probes."""
    query = select(SpaceReferenceRow.space).where(SpaceReferenceRow.space == space).limit(1)
    return (await connection.execute(query)).one_or_none() is not None


async def remember_texts(connection: AsyncConnection, reference: Reference, probes: ProbeSet) -> None:
    """Of a reference from before texts were kept: it has those of its set, as long as that is the one at hand."""
    if reference.probe_set == probes.name:
        statement = update(SpaceReferenceRow).where(*_is(reference), SpaceReferenceRow.texts.is_(None))
        await connection.execute(statement.values(texts=probes.digests))


async def lock_space(connection: AsyncConnection, space: str) -> None:
    """Nobody else decides anything by the space's reference, or records one, before the transaction ends."""
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"space:{space}", 0))))


async def set_reference(
    work: UnitOfWork,
    space: str,
    probes: ProbeSet,
    vectors: FloatMatrix,
    source: str,
    *,
    before: Reference | None,
    noise: Noise | None = None,
) -> None:
    """Record what a space's vectors are from now on, instead of ``before``; the space is locked.

    The audit says what was replaced by what.
    """
    columns: dict[str, object] = {
        "dimensions": vectors.shape[1],
        "vectors": np.ascontiguousarray(vectors, dtype="<f4").tobytes(),
        "source": source[:500],
        "recorded_by": work.actor,
        "recorded_at": work.now,
        "texts": probes.digests,
        "noise_worst": None if noise is None else noise.worst,
        "noise_typical": None if noise is None else noise.typical,
    }
    statement = insert(SpaceReferenceRow).values(space=space, probe_set=probes.name, **columns)
    statement = statement.on_conflict_do_update(index_elements=["space", "probe_set"], set_=columns)
    await work.connection.execute(statement)
    facts = None if before is None else _facts(before.probe_set, before.vectors, before.source)
    after = _facts(probes.name, vectors, source)
    work.changed(Change("space.reference", space, None, facts, after, reason=source))


async def set_noise(work: UnitOfWork, reference: Reference, noise: Noise) -> None:
    """Record how far honest copies are apart: the largest distance that was measured counts.

    It was measured against this reference, and says nothing of another one.
    """
    before = reference.noise
    if before is not None:
        noise = Noise(max(noise.worst, before.worst), max(noise.typical, before.typical))
    if noise == before:
        return
    statement = update(SpaceReferenceRow).where(*_is(reference))
    done = await work.connection.execute(statement.values(noise_worst=noise.worst, noise_typical=noise.typical))
    if not done.rowcount:
        return
    facts = None if before is None else msgspec.structs.asdict(before)
    work.changed(Change("space.noise", reference.space, None, facts, msgspec.structs.asdict(noise)))


def _is(reference: Reference) -> tuple[ColumnElement[bool], ...]:
    """The row of this very reference: not of one that replaced it."""
    return (
        SpaceReferenceRow.space == reference.space,
        SpaceReferenceRow.probe_set == reference.probe_set,
        SpaceReferenceRow.recorded_at == reference.recorded_at,
    )


def refusal_to_vouch(model: Model, worker: WorkerIdentity) -> str:
    """Why an in-house worker may not vouch for the model's space; empty where it is what the catalogue says."""
    pooling = "+".join(worker.pooling)
    served = worker.revision or f"weights {worker.weights_sha256}"
    dtype = worker.build.dtype
    stated = model.revision or "no revision"
    faults = (
        (not _is_revision(model.revision, worker), f"the catalogue has {stated}, and the worker serves {served}"),
        (pooling != model.pooling.replace("-", ""), f"pooling is {model.pooling}, and the worker's is {pooling}"),
        (worker.dimensions != model.dimensions, f"the worker's vectors have {worker.dimensions} dimensions"),
        (worker.normalized != model.normalized, "the worker differs in whether vectors are normalized"),
        (_texts(worker.prompts) != _texts(model.prompts), "the worker's prompts are not the catalogue's"),
        (worker.build.derived is not None, f"the worker's weights are {worker.build.derived}"),
        (
            not admits(numerics_of(model.numerics), numerics_of(dtype)),
            f"the space is {model.numerics}, and the worker computes in {dtype}",
        ),
    )
    return next((sentence for wrong, sentence in faults if wrong), "")


def _is_revision(revision: str | None, worker: WorkerIdentity) -> bool:
    """A commit of the hub, or the digest of the one file of weights."""
    if revision is None:
        return False
    if not revision.startswith(DIGEST_PREFIX):
        return revision == worker.revision
    file = revision.removeprefix(DIGEST_PREFIX)
    try:
        return worker.weights_sha256 in (file, sha256(bytes.fromhex(file)).hexdigest())
    except ValueError:
        return False


def _texts(prompts: dict[str, str]) -> dict[str, str]:
    """The prompts of our two input types that say something."""
    return {name: text for name, text in prompts.items() if text and name in ("query", "document")}


def _reference(row: Row[Any], probes: ProbeSet) -> Reference:
    vectors = np.frombuffer(row.vectors, dtype="<f4").reshape(-1, row.dimensions)
    if row.probe_set != probes.name:
        at = {digest: place for place, digest in enumerate(row.texts or ())}
        unknown = np.full(row.dimensions, np.nan, dtype=np.float32)
        vectors = np.stack([vectors[at[one]] if one in at else unknown for one in probes.digests])
    noise = None if row.noise_worst is None else Noise(row.noise_worst, row.noise_typical)
    return Reference(row.space, row.probe_set, vectors, row.source, row.recorded_by, row.recorded_at, noise)


def _facts(probe_set: str, vectors: FloatMatrix, source: str) -> Json:
    digest = sha256(np.ascontiguousarray(vectors, dtype="<f4").tobytes()).hexdigest()
    return {"probe_set": probe_set, "vectors_sha256": digest, "source": source}
