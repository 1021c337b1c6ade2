"""Launches the demo model of `up` later, where its worker was late or was refused at the start."""

import time
from collections.abc import Callable
from threading import Thread

from gigarouter.supervise import PASSING

PAUSE_FIRST_S, PAUSE_MAX_S = 10.0, 600.0


class LaunchAgain:
    """Tries the launch again while `up` runs, each time after twice the pause, until it passes.

    ``launch`` returns a sentence where it did not pass, and raises where a store is away. A try takes seconds, in which
    dead processes are to be started again: each is in a thread of its own. ``say`` prints a line.
    """

    def __init__(self, launch: Callable[[], str], say: Callable[[str], None], sentence: str) -> None:
        self._launch, self._say, self._sentence = launch, say, sentence
        self._pause_s = PAUSE_FIRST_S
        self._due = time.monotonic() + self._pause_s
        self._thread: Thread | None = None

    def look(self) -> None:
        """Begin a try where one is due."""
        is_trying = self._thread is not None and self._thread.is_alive()
        if self._sentence and not is_trying and time.monotonic() >= self._due:
            self._thread = Thread(target=self._try, name="launch-again", daemon=True)
            self._thread.start()

    def _try(self) -> None:
        try:
            sentence = self._launch()
        except PASSING:
            # A store that is away is started again meanwhile.
            sentence = self._sentence
        if not sentence:
            self._say("The worker's vectors were compared: the model is live.")
        elif sentence != self._sentence:
            self._say(sentence)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        self._sentence, self._due = sentence, time.monotonic() + self._pause_s
