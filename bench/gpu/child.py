"""``python -m bench.gpu.child``: the steps of one group in a process of their own, told by JSON lines on its output.

A failed step is told and the next one begins, unless the device is lost: then the process ends with
:data:`DEVICE_LOST`, and whoever started it goes on in a new one.
"""

import argparse
import gc
import os
import sys
import time
import traceback
from pathlib import Path
from typing import BinaryIO

import torch

from bench.gpu.plan import PLANS, STEP_TIME_MIN_S
from bench.gpu.records import Record, State, line
from bench.gpu.session import Session
from bench.gpu.steps import STEPS

DEVICE_LOST = 3


def main() -> int:
    options = _options()
    # Libraries write what they like to standard output; ours goes out alone.
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    plan = PLANS[options.shape]
    session = Session(options.size, options.device, options.scratch, plan.amount, plan.rows)
    if session.on_gpu and not torch.cuda.is_available():
        sys.exit("this torch sees no CUDA device")
    if not session.on_gpu:
        torch.set_num_threads(options.threads)
    end = time.monotonic() + options.seconds
    for name_and_limit in options.steps:
        name, _, limit = name_and_limit.partition("=")
        left = end - time.monotonic()
        if left < STEP_TIME_MIN_S:
            write(output, Record("end", options.size, name, state="skipped", reason="the time is over"))
            continue
        session.deadline = time.monotonic() + min(float(limit), left)
        if not run(session, name, output) and not answers(session):
            return DEVICE_LOST
        gc.collect()
        if session.on_gpu:
            torch.cuda.empty_cache()
    return 0


def run(session: Session, name: str, output: BinaryIO) -> bool:
    """One step; whether it went to its end."""
    write(output, Record("begin", session.size, name))
    began = time.monotonic()
    reason = ""
    try:
        for figure, values in STEPS[name](session):
            write(output, Record("figure", session.size, name, name=figure, values=values))
    except Exception as error:  # noqa: BLE001 - a step may fail in any way, and the next one must have its turn
        traceback.print_exc()
        reason = f"{type(error).__name__}: {str(error)[:600]}"
    seconds = time.monotonic() - began
    state: State = "failed" if reason else "done"
    write(output, Record("end", session.size, name, state=state, seconds=seconds, reason=reason))
    return not reason


def answers(session: Session) -> bool:
    """Whether the device still computes; after a device assert nothing in this process does."""
    try:
        return float(torch.ones(2, device=session.device).sum()) == 2.0
    except RuntimeError:
        return False


def write(output: BinaryIO, record: Record) -> None:
    """One line, whole and at once."""
    output.write(line(record))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.child", description=__doc__)
    parser.add_argument("--shape", choices=list(PLANS), required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="until everything must have ended")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("steps", nargs="+", metavar="STEP=SECONDS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
