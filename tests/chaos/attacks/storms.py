"""Attacks under load: one fault at one place, at three serves that are called all the while."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from tests.chaos.arena import SERVES, SETTLED_WITHIN_S, Act, Arena
from tests.chaos.attacks.outcome import Outcome, Venues, dice_of, reason_of
from tests.chaos.faults import World
from tests.chaos.load import PATH, VOCABULARY
from tests.chaos.table import Cell, Duration, Fault, Place
from tests.harness import silent_serve
from tests.harness.fake_upstream import Reply
from tests.harness.links import Cut
from tests.harness.lost_keys import KEYS, are_whole_again
from tests.harness.raw_http import request_bytes, send
from tests.harness.silent_serve import ANSWERED_AFTER_S, CALLS, COST_NANO
from tests.harness.simulation.silences import Silence, simulate

BEFORE_S, AFTER_S = 1.5, 1.5
WIDTH = 24
CUTS = {Fault.CUT: Cut.BOTH, Fault.CUT_TO: Cut.TO_SERVER, Fault.CUT_FROM: Cut.FROM_SERVER}
SILENT = frozenset({Fault.FREEZE, *CUTS})
# Seconds of virtual time.
SIMULATED_S = {Duration.SHORT: (0, 4), Duration.THRESHOLD: (4, 15), Duration.LONG: (15, 60)}
SILENCES = {
    (Fault.FREEZE, Place.SERVE): Silence.SERVE_FROZEN,
    (Fault.CUT, Place.SERVE): Silence.SERVE_CUT,
    (Fault.CUT_TO, Place.SERVE): Silence.SERVE_MUTE,
    (Fault.CUT_FROM, Place.SERVE): Silence.SERVE_DEAF,
    (Fault.FREEZE, Place.JOBS): Silence.JOBS_FROZEN,
    (Fault.CUT, Place.JOBS): Silence.JOBS_CUT,
    (Fault.CUT_TO, Place.JOBS): Silence.JOBS_MUTE,
    (Fault.CUT_FROM, Place.JOBS): Silence.JOBS_DEAF,
    (Fault.FREEZE, Place.REDIS): Silence.REDIS_FROZEN,
    (Fault.CUT, Place.REDIS): Silence.SERVE_CUT_FROM_REDIS,
    (Fault.CUT_FROM, Place.REDIS): Silence.SERVE_DEAF_TO_REDIS,
    (Fault.FREEZE, Place.POSTGRES): Silence.POSTGRES_FROZEN,
}


def load(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """A storm with the cell's fault, and the same silence in virtual time where it is one."""
    dice = dice_of(cell, seed)
    arena = venues.arena()
    acts = acts_of(cell, arena.world, dice)
    storm = arena.storm(dice.randrange(2**31), acts[-1].at_s + AFTER_S, acts, WIDTH)
    venues.say(f"  {storm}")
    operations, losses = storm.calls, list(storm.breaches)
    if silence := SILENCES.get((cell.fault, cell.place)):
        duration_s = dice.uniform(*SIMULATED_S[cell.duration])
        simulated = simulate(silence, duration_s, seed)
        venues.say(f"  {duration_s:.1f} s of it in virtual time: {simulated}")
        operations += simulated.answered + simulated.refused
        losses += simulated.breaches
        losses += [f"{simulated.overdraft} booked to overdraft in virtual time"] if simulated.overdraft else []
    return Outcome(operations, len(acts), losses)


def silence(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """That, and credit for 20 calls is spent at another serve meanwhile, Redis wiped."""
    outcome = load(cell, seed, venues)
    losses = [*outcome.losses, *_spend_elsewhere(cell, dice_of(cell, seed), venues.arena())]
    return Outcome(outcome.operations + 2 * CALLS, outcome.faults + 2, losses)


def keys(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """That, and a process whose holds are lost with keys of their account, deleted and put back older."""
    outcome = load(cell, seed, venues)
    dice = dice_of(cell, seed)
    losses = list(outcome.losses)
    for is_older in (False, True):
        subset = tuple(sorted(dice.sample(range(len(KEYS)), round(cell.level))))
        servers, url = venues.stores()
        try:
            asyncio.run(are_whole_again(url, servers.redis_url, subset, f"{seed}", is_older=is_older))
        except (AssertionError, BaseExceptionGroup) as loss:
            losses.append(f"keys {subset}, {'older' if is_older else 'lost'}: {reason_of(loss)}")
    return Outcome(outcome.operations + 2 * 24, outcome.faults + 2, losses)


def acts_of(cell: Cell, world: World, dice: random.Random) -> list[Act]:
    """What is done in a storm, in time."""
    target, place, level = dice.randrange(SERVES), cell.place, cell.level
    end_s = BEFORE_S + level

    def act(at_s: float, name: str, do: Callable[..., object], *arguments: object) -> Act:
        return Act(at_s, f"{name} {place} {target if place is Place.SERVE else ''}".rstrip(), partial(do, *arguments))

    if cell.fault is Fault.WIPE:
        return [act(BEFORE_S + number, "FLUSHALL", world.wipe) for number in range(round(level))]
    if cell.fault is Fault.ROLL_BACK:
        done = [act(BEFORE_S, "copy", world.copy), act(end_s, "put the copy back", world.roll_back)]
        return [*done, act(end_s + 0.3, "start", world.start, place)]
    if cell.fault is Fault.LOSE_KEYS:
        return _lose_keys(world, target, dice)
    begin, end = {
        Fault.KILL: (world.kill, world.start),
        Fault.FREEZE: (world.freeze, world.thaw),
    }.get(cell.fault, (partial(_cut, world, cell.fault), world.mend))
    acts = [act(BEFORE_S, str(cell.fault), begin, place, target), act(end_s, "undo", end, place, target)]
    if cell.fault in SILENT and place in (Place.SERVE, Place.JOBS):
        # Redis forgets what the silent one holds.
        acts.append(Act(BEFORE_S + dice.uniform(0.05, level - 0.05), "FLUSHALL", world.wipe))
    return sorted(acts, key=lambda each: each.at_s)


def _lose_keys(world: World, target: int, dice: random.Random) -> list[Act]:
    drawn = dice.random()
    return [
        Act(BEFORE_S, "copy keys", world.copy_keys),
        Act(BEFORE_S + 1, "lose keys", partial(world.lose_keys, drawn)),
        Act(BEFORE_S + 1.1, f"kill serve {target}", partial(world.kill, Place.SERVE, target)),
        Act(BEFORE_S + 1.6, f"start serve {target}", partial(world.start, Place.SERVE, target)),
    ]


def _cut(world: World, fault: Fault, place: Place, target: int) -> None:
    world.cut(place, CUTS[fault], target)


def _spend_elsewhere(cell: Cell, dice: random.Random, arena: Arena) -> list[str]:
    """Credit for 20 calls pays 20, and whoever is answered is charged."""
    product, world, model = arena.world.product, arena.world, arena.models[1]
    account = product.database.an_account(CALLS * COST_NANO)
    key = product.wait_until_known(product.database.a_key(account))
    silent = dice.randrange(SERVES)
    port, other = product.serves[silent].port, product.serves[(silent + 1) % SERVES].port
    begin: Callable[..., None] = world.freeze if cell.fault is Fault.FREEZE else partial(_cut, world, cell.fault)

    def wake() -> None:
        world.thaw(Place.SERVE, silent)
        world.mend(Place.SERVE, silent)

    attack = silent_serve.Attack(key, model, port, other, partial(begin, Place.SERVE, silent), wake, world.wipe)
    moods = list(arena.upstream.script)
    arena.upstream.script.clear()
    arena.upstream.always = Reply(delay_s=ANSWERED_AFTER_S)
    try:
        first, second = asyncio.run(attack.run(cell.level))
        arena.upstream.always = Reply()
        rest = asyncio.run(_spend_the_rest(other, key, model))
    finally:
        arena.upstream.script.extend(moods)
    replies = [*first, *second]
    answered = sum(reply.status == 200 for reply in replies) + rest
    query = "SELECT charged_nano, overdraft_nano FROM usage_events WHERE account_id = $1"
    booked = Counter(tuple(row) for row in product.database.rows(query, account))
    if answered == CALLS and booked == {(COST_NANO, 0): CALLS}:
        return []
    statuses = dict(Counter(reply.status for reply in replies))
    return [f"credit for {CALLS} calls: {answered} answered ({statuses}, then {rest}), booked {dict(booked)}"]


async def _spend_the_rest(port: int, key: str, model: str) -> int:
    """Call until the credit is spent, also what a dead call held; how many were answered."""
    request = request_bytes(PATH, key, {"model": model, "input": [n % VOCABULARY for n in range(COST_NANO)]})
    answered, until = 0, time.monotonic() + SETTLED_WITHIN_S
    while time.monotonic() < until:
        reply = await send(port, request, timeout_s=30)
        answered += reply.status == 200
        if reply.status == 402 and reply.json["error"]["code"] == "credit_exhausted":
            break
        await asyncio.sleep(0.02)
    return answered
