"""`gigarouter admin licenses`: what sources claim of a model's license, what an operator ruled, what was waived."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models, record
from catalog.permit import decide, may_charge
from catalog.record import RecordStatus
from catalog.values import Claim, Decision, Resolution, Signer, Term, Use, Waiver
from gigarouter.commands.admin.instants import instant_of
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import USAGE, fail, id_of, read, write
from router.admin.licenses import record_claim, resolve_license, revoke_waiver, sign_waiver
from router.changes.transaction import UnitOfWork
from store.ids import ClaimId, ModelId, ResolutionId, WaiverId, wire

app = typer.Typer(no_args_is_help=True)
IN_FORCE = RecordStatus.IN_FORCE.value
Evidence = Annotated[str, typer.Option(help="Where it can be seen: a URL, a document's number.")]


@app.command("list")
def list_all(
    model: str,
    history: Annotated[bool, typer.Option("--history", help="What no longer holds, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """A model's claims, and the resolution and waivers that stand beside them."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        found, now = await models.get(connection, model), datetime.now(UTC)
        resolutions = [
            (row.status, _resolution(row.resolution)) for row in await record.resolutions(connection, found.id)
        ]
        waivers = [(row.status(now), _waiver(row.waiver)) for row in await record.waivers(connection, found.id)]
        entries = [(status, row) for status, row in [*resolutions, *waivers] if history or status == IN_FORCE]
        return [*map(_claim, found.claims), *({**row, "status": status} for status, row in entries)]

    show_list(read(ask), as_json=as_json)


@app.command("decide")
def decide_(model: str, as_json: AsJson = False) -> None:
    """What may be done with a model, and why not."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        found, now = await models.get(connection, model), datetime.now(UTC)
        uses = [(use.value, decide(found, use, frozenset(), now)) for use in Use]
        return [_decision(what, decision) for what, decision in [*uses, ("charging", may_charge(found, now))]]

    show_list(read(ask), as_json=as_json)


@app.command("claim")
def claim(
    model: str,
    license: Annotated[str, typer.Argument(help="SPDX id or LicenseRef-….")],
    *,
    source: Annotated[str, typer.Option(help="Who says so.")],
    evidence: Evidence,
    on: Annotated[str | None, typer.Option(help="The day it was read; by default today.")] = None,
    as_json: AsJson = False,
) -> None:
    """Record what a source says; it binds until it is resolved."""
    read_at = instant_of(on) or datetime.now(UTC)
    claim_id = write(
        lambda work: record_claim(
            work,
            ModelId(model),
            license=license,
            source=source,
            evidence=evidence,
            claimed_on=read_at.date(),
        )
    )
    show_one({"id": wire(ClaimId, claim_id)}, as_json=as_json)


@app.command("resolve")
def resolve(
    model: str,
    license: Annotated[str, typer.Argument(help="The license that holds.")],
    reason: Annotated[str, typer.Option(help="Why this one.")],
    evidence: Evidence,
    as_json: AsJson = False,
) -> None:
    """Rule which license holds, where claims disagree."""

    async def change(work: UnitOfWork) -> ResolutionId:
        return await resolve_license(work, ModelId(model), license=license, reason=reason, evidence=evidence)

    show_one({"id": wire(ResolutionId, write(change))}, as_json=as_json)


@app.command("waive")
def waive(
    model: str,
    term: Annotated[Term, typer.Argument(help="The term that is lifted.")],
    *,
    signed_by: Annotated[str, typer.Option(help="Whose signature it is.")],
    evidence: Evidence,
    signer: Annotated[Signer, typer.Option(help="licensor, or operator for our own decision.")] = Signer.OPERATOR,
    expires: Annotated[str | None, typer.Option(help="2026-12-31 or 90d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Record a signed lifting of one term."""

    async def change(work: UnitOfWork) -> WaiverId:
        until = instant_of(expires, work.now)
        return await sign_waiver(
            work,
            ModelId(model),
            term=term,
            signer=signer,
            signed_by=signed_by,
            evidence=evidence,
            expires_at=until,
        )

    if not signed_by.strip():
        fail("A waiver carries a signature: --signed-by says whose.", USAGE)
    show_one({"id": wire(WaiverId, write(change))}, as_json=as_json)


@app.command("revoke-waiver")
def revoke(waiver: str) -> None:
    """End a waiver."""
    waiver_id = WaiverId(id_of(WaiverId, waiver))
    write(lambda work: revoke_waiver(work, waiver_id))


def _claim(claim: Claim) -> Row:
    identity, read_on = wire(ClaimId, claim.id), claim.claimed_on.isoformat()
    status = "settled" if claim.resolved else IN_FORCE
    return {**_line("claim", identity, claim.license, claim.source, claim.evidence, read_on), "status": status}


def _resolution(ruled: Resolution) -> Row:
    identity, ruled_at = wire(ResolutionId, ruled.id), instant(ruled.decided_at)
    return _line("resolution", identity, ruled.license, ruled.decided_by, ruled.evidence, ruled_at)


def _waiver(waiver: Waiver) -> Row:
    identity, signed_at = wire(WaiverId, waiver.id), instant(waiver.signed_at)
    return _line("waiver", identity, waiver.term.value, waiver.signed_by, waiver.evidence, signed_at)


def _line(what: str, identity: str, says: str, by: str, evidence: str, at: str | None) -> Row:
    return {"what": what, "says": says, "by": by, "at": at, "evidence": evidence, "id": identity}


def _decision(what: str, decision: Decision) -> Row:
    return {
        "what": what,
        "allowed": decision.allowed,
        "license": decision.license,
        "reasons": " ".join(decision.reasons),
        "lifted_by": decision.lifted_by,
    }
