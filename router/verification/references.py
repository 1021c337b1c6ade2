"""Stores the references of vector spaces: each space's vectors of the probe texts, and who vouches for them.

A reference is set by an in-house worker whose weights are the ones that the catalogue names, or by an operator with a
reason. Every other endpoint of the space is compared with it (:mod:`router.verification.compare`).
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
# With fewer probes in common, nearest neighbors and ranks say nothing.
COMMON_PROBES_MIN = RANKS_FROM_ROWS


class Reference(msgspec.Struct, frozen=True):
    """A space's vectors, [probes, dimensions] float32. ``source`` says who vouches for them and why.

    The rows are those of today's probe set, NaN where the reference does not know the text; ``probe_set`` is the set
    that it was recorded with. ``noise`` is how far honest copies were measured to be apart; None where no two were
    compared.
    """

    space: str
    probe_set: str
    vectors: FloatMatrix
    source: str
    recorded_by: str
    recorded_at: datetime
    noise: Noise | None = None

    @property
    def known_rows(self) -> list[int]:
        """The rows of the probes that the reference knows."""
        return known_rows(self.vectors)

    @property
    def is_whole(self) -> bool:
        """Whether the reference knows every probe of today's set."""
        return len(self.known_rows) == len(self.vectors)


def known_rows(vectors: FloatMatrix) -> list[int]:
    """Return the rows of a reference's vectors that are not NaN."""
    return [int(row) for row in np.flatnonzero(~np.isnan(vectors).any(axis=1))]


async def find_reference(connection: AsyncConnection, space: str, probes: ProbeSet) -> Reference | None:
    """Return the newest reference of a space that knows enough of these probes, None where there is none."""
    query = select(SpaceReferenceRow.__table__).where(SpaceReferenceRow.space == space)
    for row in await connection.execute(query.order_by(SpaceReferenceRow.recorded_at.desc())):
        found = _reference(row, probes)
        if len(found.known_rows) >= COMMON_PROBES_MIN or found.is_whole:
            return found
    return None


async def has_reference(connection: AsyncConnection, space: str) -> bool:
    """Whether the space has any reference, of whatever probe set."""
    query = select(SpaceReferenceRow.space).where(SpaceReferenceRow.space == space).limit(1)
    return (await connection.execute(query)).one_or_none() is not None


async def backfill_texts(connection: AsyncConnection, reference: Reference, probes: ProbeSet) -> None:
    """Add the digests of its texts to a reference from before they were kept, while its probe set is still at hand."""
    if reference.probe_set == probes.name:
        statement = update(SpaceReferenceRow).where(*_row_of(reference), SpaceReferenceRow.texts.is_(None))
        await connection.execute(statement.values(texts=probes.digests))


async def lock_space(connection: AsyncConnection, space: str) -> None:
    """Keep others from deciding by the space's reference, or recording one, until the transaction ends."""
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
    """Record a space's vectors in place of ``before``, and in the audit what they replaced. The space is locked."""
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
    replaced = None if before is None else _audit_facts(before.probe_set, before.vectors, before.source)
    after = _audit_facts(probes.name, vectors, source)
    work.record_change(Change("space.reference", space, None, replaced, after, reason=source))


async def record_noise(work: UnitOfWork, reference: Reference, noise: Noise) -> None:
    """Record how far honest copies are apart: the largest distance that was measured against this reference.

    Nothing is recorded where the reference was replaced meanwhile.
    """
    before = reference.noise
    if before is not None:
        noise = Noise(max(noise.worst, before.worst), max(noise.typical, before.typical))
    if noise == before:
        return
    statement = update(SpaceReferenceRow).where(*_row_of(reference))
    done = await work.connection.execute(statement.values(noise_worst=noise.worst, noise_typical=noise.typical))
    if not done.rowcount:
        return
    replaced = None if before is None else msgspec.structs.asdict(before)
    work.record_change(Change("space.noise", reference.space, None, replaced, msgspec.structs.asdict(noise)))


def _row_of(reference: Reference) -> tuple[ColumnElement[bool], ...]:
    """Conditions that only the row of this very reference meets, not the row of one that replaced it."""
    return (
        SpaceReferenceRow.space == reference.space,
        SpaceReferenceRow.probe_set == reference.probe_set,
        SpaceReferenceRow.recorded_at == reference.recorded_at,
    )


def refusal_to_vouch(model: Model, worker: WorkerIdentity) -> str:
    """Say why an in-house worker may not vouch for the model's space; empty where it is what the catalogue says."""
    pooling = "+".join(worker.pooling)
    served = worker.revision or f"weights {worker.weights_sha256}"
    dtype = worker.build.dtype
    stated = model.revision or "no revision"
    faults = (
        (not _serves_revision(worker, model.revision), f"the catalogue has {stated}, and the worker serves {served}"),
        (pooling != model.pooling.replace("-", ""), f"pooling is {model.pooling}, and the worker's is {pooling}"),
        (worker.dimensions != model.dimensions, f"the worker's vectors have {worker.dimensions} dimensions"),
        (worker.normalized != model.normalized, "the worker differs in whether vectors are normalized"),
        (
            _prompts_in_use(worker.prompts) != _prompts_in_use(model.prompts),
            "the worker's prompts are not the catalogue's",
        ),
        (worker.build.derived is not None, f"the worker's weights are {worker.build.derived}"),
        (
            not admits(numerics_of(model.numerics), numerics_of(dtype)),
            f"the space is {model.numerics}, and the worker computes in {dtype}",
        ),
    )
    return next((sentence for wrong, sentence in faults if wrong), "")


def _serves_revision(worker: WorkerIdentity, revision: str | None) -> bool:
    """Whether the worker serves this revision: a commit of the hub, or the digest of the one file of weights."""
    if revision is None:
        return False
    if not revision.startswith(DIGEST_PREFIX):
        return revision == worker.revision
    file = revision.removeprefix(DIGEST_PREFIX)
    try:
        return worker.weights_sha256 in (file, sha256(bytes.fromhex(file)).hexdigest())
    except ValueError:
        return False


def _prompts_in_use(prompts: dict[str, str]) -> dict[str, str]:
    """The prompts of our two input types that are not empty."""
    return {name: text for name, text in prompts.items() if text and name in ("query", "document")}


def _reference(row: Row[Any], probes: ProbeSet) -> Reference:
    vectors = np.frombuffer(row.vectors, dtype="<f4").reshape(-1, row.dimensions)
    if row.probe_set != probes.name:
        row_of = {digest: number for number, digest in enumerate(row.texts or ())}
        unknown = np.full(row.dimensions, np.nan, dtype=np.float32)
        vectors = np.stack([vectors[row_of[text]] if text in row_of else unknown for text in probes.digests])
    noise = None if row.noise_worst is None else Noise(row.noise_worst, row.noise_typical)
    return Reference(row.space, row.probe_set, vectors, row.source, row.recorded_by, row.recorded_at, noise)


def _audit_facts(probe_set: str, vectors: FloatMatrix, source: str) -> Json:
    digest = sha256(np.ascontiguousarray(vectors, dtype="<f4").tobytes()).hexdigest()
    return {"probe_set": probe_set, "vectors_sha256": digest, "source": source}
