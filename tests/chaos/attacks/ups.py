"""Attacks on `gigarouter up`: what all of it needs is taken from it, a part of it dies, or it dies as a whole."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress

from tests.chaos.attacks.outcome import Outcome, Venues, bury, dice_of
from tests.chaos.table import Cell, Fault, Place
from tests.harness.processes import free_port
from tests.harness.scarcity import Disk, can_mount, no_descriptors, no_memory
from tests.harness.up_command import WELCOME, Up, balance, vector_of
from tests.harness.up_fire import AGAIN_WITHIN_S, FAULT_ENDS, Customer, killing, parts, within

# By what the command of a part is known, and its kind at a start.
WORDS = {
    Place.SERVE: "serve",
    Place.JOBS: "jobs",
    Place.REDIS: "redis-server",
    Place.POSTGRES: "bin/postgres",
    Place.PROVIDER: "providers.worker",
}
KINDS = {**WORDS, Place.POSTGRES: "postgres"}
ON_DISK = (Fault.FULL_DISK, Fault.READ_ONLY)
# What a customer is told, moreover, while the only provider is away.
NO_PROVIDER = {"503 provider_unavailable", "503 no_provider_available"}


def up(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """A customer calls all the while; afterwards every answer was charged once, and nothing else."""
    if cell.fault in ON_DISK and not can_mount():
        return Outcome(skipped="a file system of its own needs root and mount namespaces")
    running = venues.up()
    try:
        within(AGAIN_WITHIN_S, lambda: vector_of(running.curl))
    except Exception as fault:  # noqa: BLE001 - whatever it is, there is no service
        losses = [f"no service before the fault ({fault!r}): {running.said}"]
        return Outcome(losses=[*losses, *venues.close_up()])
    port = running.port
    customer = Customer(port, running.key)
    before = balance(port, running.key)
    customer.start()
    try:
        time.sleep(1)
        losses = _under_fault(cell, running, Disk(running.process.pid, running.folder.parent))
    finally:
        customer.stop()
    venues.say(f"  {dict(customer.seen)}")
    expected = FAULT_ENDS | (NO_PROVIDER if cell.place is Place.PROVIDER else set())
    losses += [f"callers saw {dict(customer.seen)}"] if set(customer.seen) - expected else []
    if not losses:
        each = customer.cost_nano // max(customer.seen["200"], 1)
        spent = round((float(before) - float(balance(port, running.key))) * 1e9)
        if spent != customer.cost_nano + each:
            losses.append(f"{spent} nano-USD were spent, and answers cost {customer.cost_nano + each}")
    if losses:
        losses += venues.close_up()
    return Outcome(sum(customer.seen.values()) + 1, 1, losses)


def _under_fault(cell: Cell, running: Up, disk: Disk) -> list[str]:
    """What is lost while it lasts, and until service is back; the one call of that is charged, too."""
    try:
        # It may still be away, by the cell before this one.
        within(AGAIN_WITHIN_S, lambda: _pids(running, cell.place)[0])
    except IndexError:
        return [f"there is no {cell.place}"]
    pids = _pids(running, cell.place)
    with ExitStack() as taken:
        taken.enter_context(_taken(cell, pids, disk))
        if cell.fault in ON_DISK and cell.place is not Place.UP:
            _kill(pids)
        elif cell.fault in (Fault.NO_DESCRIPTORS, Fault.NO_MEMORY) and cell.place is Place.UP:
            _kill([pid for place in (Place.SERVE, Place.JOBS) for pid in _pids(running, place)])
        time.sleep(cell.level)
        if running.process.poll() is not None:
            return [f"`up` has ended: {running.process.stdout.read() if running.process.stdout else ''}"]
    try:
        within(AGAIN_WITHIN_S, lambda: vector_of(running.curl))
    except Exception as fault:  # noqa: BLE001 - whatever it is, there is no service
        return [f"no service within {AGAIN_WITHIN_S:.0f} s: {fault}"]
    return []


def _taken(cell: Cell, pids: list[int], disk: Disk) -> AbstractContextManager[None]:
    match cell.fault:
        case Fault.FULL_DISK:
            return disk.full()
        case Fault.READ_ONLY:
            return disk.read_only()
        case Fault.FREEZE:
            return _frozen(pids)
        case Fault.NO_DESCRIPTORS | Fault.NO_MEMORY:
            return _limited(cell.fault, pids)
        case _:
            return nullcontext()


@contextmanager
def _frozen(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _limited(fault: Fault, pids: list[int]) -> Iterator[None]:
    with ExitStack() as limits:
        for pid in pids:
            limits.enter_context((no_descriptors if fault is Fault.NO_DESCRIPTORS else no_memory)(pid))
        yield


def up_ends(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """All of it is killed, or its parent alone; started again, it has its key, its money and the same vectors."""
    venues.close_arena()
    folder, port, dice = venues.new_folder(), free_port(), dice_of(cell, seed)
    first = Up(folder, port)
    second = None
    try:
        vector, key, before = vector_of(first.curl), first.key, balance(port, first.key)
        whole = dice.random() < 0.5
        _kill([process.pid for process in first.family()] if whole else [first.process.pid])
        first.bury()
        time.sleep(cell.level)
        second = Up(folder, port)
        if WELCOME not in second.said or second.key != key:
            return Outcome(1, 1, [f"it does not come back: {second.said}"])
        losses = [] if balance(port, key) == before else [f"{before} became {balance(port, key)}"]
        losses += [] if vector_of(second.curl) == vector else ["the vector is another"]
        rest = second.end(signal.SIGTERM)
        losses += [] if "Stopped." in rest else [f"it ended so: {rest}"]
        return Outcome(2, 1, losses)
    finally:
        for each in filter(None, (first, second)):
            bury(each)


def up_starts(cell: Cell, seed: int, venues: Venues) -> Outcome:
    """One kind of part dies so many times while `up` starts for the first time."""
    venues.close_arena()
    folder, kind = venues.new_folder(), KINDS[cell.place]
    running = Up(folder, free_port(), until="gigarouter starts")
    try:
        with killing(running.process.pid, dice_of(cell, seed), round(cell.level), {kind}, (0.05, 0.2)) as killed:
            running.read(WELCOME)
        venues.say(f"  killed {dict(killed)}")
        if WELCOME not in running.said or "Traceback" in running.said:
            return Outcome(1, killed.total(), [running.said])
        losses = [] if killed else [f"no {kind} was there to be killed: this shows nothing"]
        try:
            within(AGAIN_WITHIN_S, lambda: vector_of(running.curl))
        except Exception as fault:  # noqa: BLE001 - whatever it is, there is no service
            losses.append(f"no service within {AGAIN_WITHIN_S:.0f} s: {fault}")
        rest = running.end(signal.SIGTERM)
        losses += [] if "Stopped." in rest else [f"it ended so: {rest}"]
        return Outcome(1, killed.total(), losses)
    finally:
        bury(running)


def _pids(running: Up, place: Place) -> list[int]:
    """Postgres' first process stands for all of it."""
    if place is Place.UP:
        return [running.process.pid]
    return [process.pid for process in parts(running, WORDS[place])][:1]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
