"""What goes wrong, and when: a pure function of the seed, so that a failing seed replays with the same faults."""

import random
from enum import StrEnum

import msgspec


class What(StrEnum):
    """One thing done to one part of the product's world."""

    KILL_SERVE = "kill -9 serve"
    START_SERVE = "start serve"
    FREEZE_SERVE = "SIGSTOP serve"
    THAW_SERVE = "SIGCONT serve"
    KILL_JOBS = "kill -9 jobs"
    START_JOBS = "start jobs"
    WIPE_REDIS = "FLUSHALL"
    KILL_REDIS = "kill -9 redis"
    COPY_REDIS = "copy redis' files"
    ROLL_BACK_REDIS = "kill -9 redis, put the copy back"
    START_REDIS = "start redis"
    CRASH_POSTGRES = "postgres stops immediately"
    START_POSTGRES = "start postgres"
    CUT_SERVE = "serve and postgres hear nothing of each other"
    DEAFEN_SERVE = "serve hears nothing of postgres"
    MUTE_SERVE = "postgres hears nothing of serve"
    MEND_SERVE = "serve and postgres hear each other"
    COPY_KEYS = "copy some accounts' keys"
    PUT_KEYS_BACK = "put some accounts' keys back"
    LOSE_KEYS = "delete some accounts' keys"
    FREEZE_JOBS = "SIGSTOP jobs"
    THAW_JOBS = "SIGCONT jobs"
    FREEZE_REDIS = "SIGSTOP redis"
    THAW_REDIS = "SIGCONT redis"
    FREEZE_POSTGRES = "SIGSTOP postgres"
    THAW_POSTGRES = "SIGCONT postgres"


class Step(msgspec.Struct, frozen=True, order=True):
    """``what`` happens ``at_s`` seconds into the run, to the ``target``-th process of its kind."""

    at_s: float
    what: What
    target: int = 0


# Each fault as its steps: (what, seconds after the fault's own instant, as a range).
FAULTS: dict[str, list[tuple[What, float, float]]] = {
    "serve dies": [(What.KILL_SERVE, 0, 0), (What.START_SERVE, 0.1, 1.5)],
    "serve freezes": [(What.FREEZE_SERVE, 0, 0), (What.THAW_SERVE, 0.3, 3)],
    # Silent for longer than others wait, while Redis forgets what it held.
    "serve freezes for long, redis is wiped": [
        (What.FREEZE_SERVE, 0, 0),
        (What.WIPE_REDIS, 0.1, 2),
        (What.THAW_SERVE, 4.2, 8),
    ],
    "serve is cut off, redis is wiped": [
        (What.CUT_SERVE, 0, 0),
        (What.WIPE_REDIS, 0.1, 2),
        (What.MEND_SERVE, 4.2, 8),
    ],
    "serve is deaf, redis is wiped": [
        (What.DEAFEN_SERVE, 0, 0),
        (What.WIPE_REDIS, 0.1, 2),
        (What.MEND_SERVE, 4.2, 8),
    ],
    "serve is mute, redis is wiped": [
        (What.MUTE_SERVE, 0, 0),
        (What.WIPE_REDIS, 0.1, 2),
        (What.MEND_SERVE, 4.2, 8),
    ],
    "keys are lost, then serve dies": [
        (What.LOSE_KEYS, 0, 0),
        (What.KILL_SERVE, 0, 0.3),
        (What.START_SERVE, 0.5, 1.5),
    ],
    "keys are older than the rest, then serve dies": [
        (What.COPY_KEYS, -3, -0.3),
        (What.PUT_KEYS_BACK, 0, 0),
        (What.KILL_SERVE, 0, 0.3),
        (What.START_SERVE, 0.5, 1.5),
    ],
    "jobs freeze": [(What.FREEZE_JOBS, 0, 0), (What.THAW_JOBS, 1, 8)],
    "redis freezes": [(What.FREEZE_REDIS, 0, 0), (What.THAW_REDIS, 0.5, 5)],
    "postgres freezes": [(What.FREEZE_POSTGRES, 0, 0), (What.THAW_POSTGRES, 0.5, 5)],
    "jobs die": [(What.KILL_JOBS, 0, 0), (What.START_JOBS, 0.1, 2)],
    "redis is wiped": [(What.WIPE_REDIS, 0, 0)],
    "redis dies": [(What.KILL_REDIS, 0, 0), (What.START_REDIS, 0.1, 1.5)],
    "redis forgets": [(What.COPY_REDIS, -3, -0.3), (What.ROLL_BACK_REDIS, 0, 0), (What.START_REDIS, 0.1, 1)],
    "postgres crashes": [(What.CRASH_POSTGRES, 0, 0), (What.START_POSTGRES, 0.1, 2)],
    # Two at once: what waits for its commit dies with its process; what is asserted anew dies half asserted.
    "postgres crashes, then serve": [
        (What.CRASH_POSTGRES, 0, 0),
        (What.KILL_SERVE, 0.1, 0.8),
        (What.START_POSTGRES, 0.9, 2),
        (What.START_SERVE, 1, 2),
    ],
    "redis is wiped, then serve dies": [
        (What.WIPE_REDIS, 0, 0),
        (What.KILL_SERVE, 0, 0.1),
        (What.START_SERVE, 0.2, 1),
    ],
}


def plan(seed: int, seconds: float, serves: int) -> list[Step]:
    """The steps of a run, in time. Every fault comes once before any comes twice; they may overlap."""
    numbers = random.Random(seed)
    count = max(1, round(seconds / 2))
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += numbers.sample(sorted(FAULTS), len(FAULTS))
    steps: list[Step] = []
    for number, kind in enumerate(kinds[:count]):
        at_s = 1.0 + (seconds - 1.0) * (number + numbers.random()) / count
        target = numbers.randrange(serves)
        for what, low, high in FAULTS[kind]:
            steps.append(Step(max(0.1, round(at_s + numbers.uniform(low, high), 3)), what, target))
    return sorted(steps)
