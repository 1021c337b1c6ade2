"""What an attack says of its cell, and the places that cells share: made when first wanted, ended with the venues."""

import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil

from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.chaos.arena import Arena, arena
from tests.chaos.table import Cell
from tests.harness.processes import free_port
from tests.harness.scarcity import can_mount, on_a_small_disk
from tests.harness.up_command import Up, end_what_is_left


class Outcome(msgspec.Struct, frozen=True):
    """``operations`` calls were made under so many ``faults``; each loss is a sentence. ``skipped`` says why not."""

    operations: int = 0
    faults: int = 0
    losses: list[str] = []
    skipped: str = ""


def dice_of(cell: Cell, seed: int) -> random.Random:
    """All chance of a cell, the same whichever cells ran before it."""
    return random.Random(f"{cell.name}/{seed}")


def reason_of(fault: BaseException) -> str:
    """What an assertion says, and where it stands; of a group, its first."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    place = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{fault!s} ({Path(place.filename).name}:{place.lineno}: {place.line})"


class Venues:
    """``with Venues(seed, say) as venues``: an arena, stores without processes, and folders."""

    def __init__(self, seed: int, say: Callable[[str], None]) -> None:
        self.seed = seed
        self.say = say
        self.folder = Path(tempfile.mkdtemp(prefix="gr-cells-"))
        self._stack = ExitStack()
        self._arenas = ExitStack()
        self._arena: Arena | None = None
        self._stores: Embedded | None = None
        self._up: Up | None = None
        self._numbers = count()

    def arena(self) -> Arena:
        """One that no storm has spoiled."""
        if self._arena is not None and self._arena.is_spoiled:
            self.close_arena()
        if self._arena is None:
            self._arena = self._arenas.enter_context(arena(self.seed, self.say))
        return self._arena

    def close_arena(self) -> None:
        """End its processes, which would take time from other cells."""
        self._arena = None
        self._arenas.close()

    def stores(self) -> tuple[Embedded, str]:
        """Postgres and an emptied Redis, and the URL of a migrated database that is new."""
        self.close_arena()
        if self._stores is None:
            self._stores = self._stack.enter_context(Embedded(self.folder / "stores"))
        name = f"cell_{next(self._numbers)}"
        self._stores.postgres.ensure_database(name)
        url = self._stores.postgres.url(name)
        migrate(url)
        self._stores.redis.command("FLUSHALL")
        return self._stores, url

    def up(self) -> Up:
        """A running `gigarouter up`, on a disk of its own where this user may mount one."""
        self.close_arena()
        if self._up is None:
            folder = self.new_folder()
            started_by = on_a_small_disk(folder) if can_mount() else ()
            self._up = Up(folder / "data", free_port(), started_by=started_by)
        return self._up

    def close_up(self) -> list[str]:
        """End it; what was wrong with its end."""
        running, self._up = self._up, None
        if running is None:
            return []
        rest = running.end(signal.SIGTERM) if running.process.poll() is None else running.said
        is_well = "Stopped." in rest and "Traceback" not in rest
        bury(running)
        return [] if is_well else [f"`up` ended so: {rest}"]

    def new_folder(self) -> Path:
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_arena()
        self.close_up()
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def bury(running: Up) -> None:
    """Whatever became of a `gigarouter up`, nothing of it is left, nor of its files."""
    if running.process.poll() is None:
        for process in running.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
    if running.process.stdout is not None and not running.process.stdout.closed:
        running.bury()
    end_what_is_left(running.folder)
    shutil.rmtree(running.folder, ignore_errors=True)
