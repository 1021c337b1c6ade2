"""Names how a test of the providers runs a coroutine: the fixture ``run`` gives uvloop's way and the library's."""

from collections.abc import Callable, Coroutine
from typing import Any

Run = Callable[[Coroutine[Any, Any, Any]], Any]
